/** A unary method as a stream of one message each way (grpc/doc/statuscodes.md says what other numbers are called). */
import type { CallContext } from "./call_context.ts";
import type { ServerStream, StreamEvents, UnaryHandler } from "./server_stream.ts";
import { GrpcError, grpcCode } from "./status.ts";

/** The handler runs when the client has said all it has to say. */
export function unaryAsStream<Req, Res, Peer>(
  stream: ServerStream<Req, Res, Peer>,
  handler: UnaryHandler<Req, Res, Peer>,
  context: CallContext,
  path: string,
): StreamEvents<Req> {
  const requests: Req[] = [];
  return {
    onMessage(message) {
      if (requests.length === 0) requests.push(message);
      else stream.end(new GrpcError(grpcCode.unimplemented, "a unary call with more than one request"));
    },
    onHalfClose() {
      const [request] = requests;
      if (requests.length === 0 || request === undefined) {
        stream.end(new GrpcError(grpcCode.unimplemented, "a unary call without a request"));
      } else void answer(stream, request, handler, context, path);
    },
    onWritable() {},
    onClose() {},
  };
}

async function answer<Req, Res, Peer>(
  stream: ServerStream<Req, Res, Peer>,
  request: Req,
  handler: UnaryHandler<Req, Res, Peer>,
  context: CallContext,
  path: string,
): Promise<void> {
  const { load } = context;
  if (load !== null && !load.handlerStarts()) {
    stream.end(new GrpcError(grpcCode.resourceExhausted, "too many calls are under way"));
    return;
  }
  try {
    stream.send(await handler(request, stream));
    stream.end();
  } catch (thrown) {
    stream.end(faultOf(thrown, context, path));
  } finally {
    load?.handlerEnded();
  }
}

/** What the client is told of it. The rest is ours to log: reasons of a refusal help who is refused. */
export function faultOf(thrown: unknown, context: CallContext, path: string): GrpcError {
  if (thrown instanceof GrpcError) return thrown;
  context.onFault?.(path, thrown);
  return new GrpcError(grpcCode.internal, "internal error");
}
