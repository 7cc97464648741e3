/** The client's end of gRPC (grpc/doc/PROTOCOL-HTTP2.md) on one HTTP/2 connection. */
import { assert } from "../../base/assert.ts";
import { grpcLimits } from "../../base/limits/rpc.ts";
import type { H2Connection } from "../h2/connection.ts";
import type { HeaderFields } from "../h2/headers.ts";
import type { CallClock } from "./call_context.ts";
import { contentType, formatTimeout, isCustomMetadata } from "./call_headers.ts";
import { ClientCallState } from "./client_call.ts";
import type { ClientStream, ClientStreamEvents } from "./client_stream.ts";
import type { MethodDescription } from "./method.ts";
import { GrpcError, grpcCode } from "./status.ts";

export interface CallOptions {
  /** Flat list name, value, …; names lower case, values latin1; those of `-bin` fields from `encodeBinaryMetadata`. */
  readonly metadata?: HeaderFields;
  /** From now; also told to the server. Null or absent: none. */
  readonly timeoutMs?: number | null;
  /** A larger response ends the call with RESOURCE_EXHAUSTED; default `grpcLimits.maxResponseBytes`. */
  readonly maxResponseBytes?: number;
  /** Aborting it cancels the call. */
  readonly signal?: AbortSignal;
}

export interface GrpcClientOptions {
  /** `:authority`. */
  readonly authority: string;
  readonly scheme: "https" | "http";
  readonly clock: CallClock;
  readonly userAgent: string;
}

export class GrpcClient {
  readonly #connection: H2Connection;
  readonly #options: GrpcClientOptions;

  constructor(connection: H2Connection, options: GrpcClientOptions) {
    this.#connection = connection;
    this.#options = options;
  }

  /** Whether a call can be made now: neither GOAWAY nor the server's limit is in the way. */
  get hasRoom(): boolean {
    const { acceptsRequests, openStreams, remoteMaxConcurrentStreams } = this.#connection;
    return acceptsRequests && openStreams < remoteMaxConcurrentStreams;
  }

  /** @throws GrpcError UNAVAILABLE when no stream can be opened: check `hasRoom`. Otherwise the end comes by `onEnd`. */
  stream<Req, Res>(
    method: MethodDescription<Req, Res>,
    events: ClientStreamEvents<Res>,
    options: CallOptions = {},
  ): ClientStream<Req> {
    const call = new ClientCallState(method, events, {
      clock: this.#options.clock,
      timeoutMs: options.timeoutMs ?? null,
      maxResponseBytes: options.maxResponseBytes ?? grpcLimits.maxResponseBytes,
      signal: options.signal ?? null,
    });
    const stream = this.#connection.request(this.#headers(method.path, options), false, call);
    if (stream === null) throw new GrpcError(grpcCode.unavailable, "the connection takes no more calls");
    call.begin(stream);
    return call;
  }

  /** @returns the one response. @throws GrpcError. */
  unary<Req, Res>(
    method: MethodDescription<Req, Res>,
    request: Req,
    options: CallOptions = {},
  ): Promise<Res> {
    return new Promise((resolve, reject) => {
      const responses: Res[] = [];
      const stream = this.stream<Req, Res>(
        method,
        {
          onMessage(message) {
            responses.push(message);
            if (responses.length > 1) stream.cancel();
          },
          onEnd(error) {
            const [response] = responses;
            // grpc/doc/statuscodes.md: a response cardinality violation.
            if (responses.length > 1) reject(cardinality("more than one response"));
            else if (error !== null) reject(error);
            else if (responses.length === 0) reject(cardinality("no response"));
            else resolve(response as Res);
          },
        },
        options,
      );
      stream.send(request);
      stream.end();
    });
  }

  #headers(path: string, options: CallOptions): HeaderFields {
    const { authority, scheme, userAgent } = this.#options;
    const { metadata = [], timeoutMs = null } = options;
    for (let index = 0; index < metadata.length; index += 2)
      assert(isCustomMetadata(metadata[index] ?? ""), `metadata cannot be named ${metadata[index]}`);
    const timeout = timeoutMs === null ? [] : ["grpc-timeout", formatTimeout(timeoutMs)];
    return [
      ...[":method", "POST", ":scheme", scheme, ":path", path, ":authority", authority],
      ...["te", "trailers", "content-type", contentType, "user-agent", userAgent],
      ...timeout,
      ...metadata,
    ];
  }
}

function cardinality(what: string): GrpcError {
  return new GrpcError(grpcCode.unimplemented, `${what} to a unary call`);
}
