/** The server's end of gRPC (grpc/doc/PROTOCOL-HTTP2.md), on one HTTP/2 stream at a time: which method, and who handles it. */
import { assert } from "../../base/assert.ts";
import { grpcLimits } from "../../base/limits/rpc.ts";
import { type HeaderFields, headerValue } from "../h2/headers.ts";
import type { H2Stream } from "../h2/stream.ts";
import type { CallContext } from "./call_context.ts";
import { contentType, grpcContent, readTimeoutMs, statusFields } from "./call_headers.ts";
import type { MethodDescription } from "./method.ts";
import { ServerCallState } from "./server_call.ts";
import type { StreamHandler, UnaryHandler } from "./server_stream.ts";
import { GrpcError, grpcCode } from "./status.ts";
import { unaryAsStream } from "./unary_handler.ts";

type Accept<Peer> = (
  stream: H2Stream,
  headers: HeaderFields,
  endStream: boolean,
  peer: Peer,
  context: CallContext,
) => void;

const bareContext: CallContext = {
  clock: null,
  load: null,
  maxRequestBytes: grpcLimits.maxRequestBytes,
  onFault: null,
};

export class GrpcService<Peer> {
  readonly #methods = new Map<string, Accept<Peer>>();

  unary<Req, Res>(method: MethodDescription<Req, Res>, handler: UnaryHandler<Req, Res, Peer>): this {
    return this.#add(method, (stream, headers, endStream, peer, context) => {
      const call = new ServerCallState(method, stream, headers, peer, context, false);
      call.start((each) => unaryAsStream(each, handler, context, method.path), endStream);
    });
  }

  /** @param bounds of this method, in place of the server's. */
  stream<Req, Res>(
    method: MethodDescription<Req, Res>,
    handler: StreamHandler<Req, Res, Peer>,
    bounds: Partial<Pick<CallContext, "maxRequestBytes">> = {},
  ): this {
    return this.#add(method, (stream, headers, endStream, peer, context) => {
      const call = new ServerCallState(method, stream, headers, peer, { ...context, ...bounds }, true);
      call.start(handler, endStream);
    });
  }

  get paths(): readonly string[] {
    return [...this.#methods.keys()];
  }

  /** @returns whether the request is gRPC and was taken; otherwise nothing was done to the stream. */
  handle(
    stream: H2Stream,
    headers: HeaderFields,
    endStream: boolean,
    peer: Peer,
    context: CallContext = bareContext,
  ): boolean {
    const content = grpcContent(headers);
    if (content === null || headerValue(headers, ":method") !== "POST") return false;
    const accept = this.#methods.get(headerValue(headers, ":path") ?? "");
    const refusal = refusalOf(headers, content, accept !== undefined);
    if (refusal !== null) refuse(stream, endStream, refusal);
    else accept?.(stream, headers, endStream, peer, context);
    return true;
  }

  #add<Req, Res>(method: MethodDescription<Req, Res>, accept: Accept<Peer>): this {
    assert(!this.#methods.has(method.path), `${method.path} has a handler already`);
    this.#methods.set(method.path, accept);
    return this;
  }
}

function refusalOf(headers: HeaderFields, content: "proto" | "other", known: boolean): GrpcError | null {
  if (content === "other") return new GrpcError(grpcCode.unimplemented, "messages are Protocol Buffers here");
  if (!known) return new GrpcError(grpcCode.unimplemented, "no such method");
  // PROTOCOL-HTTP2.md: a proxy that does not know trailers would lose the status, and takes this field away.
  if (headerValue(headers, "te") === null) return new GrpcError(grpcCode.internal, "te: trailers is missing");
  try {
    readTimeoutMs(headers);
    return null;
  } catch (error) {
    if (error instanceof GrpcError) return error;
    throw error;
  }
}

/** Trailers-Only, to a stream that has no listener. */
function refuse(stream: H2Stream, endStream: boolean, error: GrpcError): void {
  stream.events = {
    onHeaders() {},
    onData: (bytes) => stream.consume(bytes.length),
    onTrailers() {},
    onReset() {},
    onWritable() {},
    onClose() {},
  };
  stream.sendHeaders([":status", "200", "content-type", contentType, ...statusFields(error)], true);
  // RFC 9113 §8.1: the answer is complete, the rest of the request is not wanted.
  if (!endStream) stream.reset(0);
}
