/** One call at the client's end: a machine between an HTTP/2 stream and whoever called. */
import { assert } from "../../base/assert.ts";
import type { MeshError } from "../../base/errors.ts";
import { grpcLimits } from "../../base/limits/rpc.ts";
import { h2ErrorCode } from "../h2/error_code.ts";
import { type HeaderFields, headerValue } from "../h2/headers.ts";
import type { H2Stream, H2StreamEvents, ResetInitiator } from "../h2/stream.ts";
import type { CallClock } from "./call_context.ts";
import { grpcContent, readStatus } from "./call_headers.ts";
import type { ClientStream, ClientStreamEvents } from "./client_stream.ts";
import { frameMessage, MessageReader } from "./message_reader.ts";
import type { MethodDescription } from "./method.ts";
import { GrpcError, grpcCode } from "./status.ts";
import { errorOfHttpStatus, errorOfReset } from "./status_mapping.ts";

export interface ClientCallOptions {
  readonly clock: CallClock;
  readonly timeoutMs: number | null;
  readonly maxResponseBytes: number;
  readonly signal: AbortSignal | null;
}

/** How the server ended the call; told when all messages before it are. */
interface Ending {
  readonly error: GrpcError | null;
  readonly trailers: HeaderFields;
}

export class ClientCallState<Req, Res> implements ClientStream<Req>, H2StreamEvents {
  readonly #method: MethodDescription<Req, Res>;
  readonly #events: ClientStreamEvents<Res>;
  readonly #options: ClientCallOptions;
  #stream: H2Stream | null = null;
  /** Made by the response headers: they say the encoding. */
  #reader: MessageReader | null = null;
  #timer: { cancel(): void } | null = null;
  #sendEnded = false;
  #ending: Ending | null = null;
  #over = false;
  #paused = false;
  #delivering = false;
  readonly #onAbort = () => this.cancel();

  constructor(
    method: MethodDescription<Req, Res>,
    events: ClientStreamEvents<Res>,
    options: ClientCallOptions,
  ) {
    this.#method = method;
    this.#events = events;
    this.#options = options;
  }

  begin(stream: H2Stream): void {
    this.#stream = stream;
    const { clock, timeoutMs, signal } = this.#options;
    if (timeoutMs !== null && timeoutMs <= grpcLimits.maxTimeoutMs)
      this.#timer = clock.setTimer(Math.max(0, timeoutMs), () => this.#expire());
    signal?.addEventListener("abort", this.#onAbort);
    // Not from within the call that makes it: whoever called has no stream yet.
    if (signal?.aborted === true) this.#timer = clock.setTimer(0, this.#onAbort);
  }

  get aboveHighWater(): boolean {
    return this.#stream?.aboveHighWater === true;
  }

  send(message: Req): boolean {
    return this.#over || this.#sendEnded ? false : this.sendEncoded(this.#method.request.encode(message));
  }

  sendEncoded(bytes: Uint8Array): boolean {
    const stream = this.#stream;
    assert(stream !== null, "a call that has not begun");
    if (this.#over || this.#sendEnded || stream.closed) return false;
    for (const piece of frameMessage(bytes)) stream.sendData(piece, false);
    return !stream.aboveHighWater;
  }

  end(): void {
    if (this.#over || this.#sendEnded) return;
    this.#sendEnded = true;
    this.#stream?.sendData(new Uint8Array(0), true);
  }

  cancel(): void {
    this.#fail(new GrpcError(grpcCode.cancelled, "cancelled by the caller"));
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#deliver();
  }

  onHeaders(headers: HeaderFields, endStream: boolean): void {
    const status = headerValue(headers, ":status") ?? "";
    if (this.#over || status.startsWith("1")) return;
    if (endStream) {
      this.#end(headers, errorOfHttpStatus(status));
    } else if (status !== "200") {
      this.#fail(errorOfHttpStatus(status));
    } else if (grpcContent(headers) !== "proto") {
      this.#fail(new GrpcError(grpcCode.unknown, "the answer is not gRPC"));
    } else {
      const encoding = headerValue(headers, "grpc-encoding");
      const maxMessageBytes = this.#options.maxResponseBytes;
      this.#reader = new MessageReader({ maxMessageBytes, encoding, end: "client" });
      this.#events.onHeaders?.(headers);
    }
  }

  onData(bytes: Uint8Array, endStream: boolean): void {
    if (this.#over || this.#reader === null) {
      this.#stream?.consume(bytes.length);
      return;
    }
    this.#reader.push(bytes);
    if (endStream) this.#end([], new GrpcError(grpcCode.unknown, "the answer ended without a status"));
    else this.#deliver();
  }

  onTrailers(trailers: HeaderFields): void {
    this.#end(trailers, new GrpcError(grpcCode.unknown, "the answer ended without a status"));
  }

  onReset(errorCode: number, _initiator: ResetInitiator, cause: MeshError): void {
    if (this.#over) return;
    // A server that has answered may refuse the rest of the request (RFC 9113 §8.1): then the answer is what counts.
    this.#ending ??= { error: errorOfReset(errorCode, cause), trailers: [] };
    this.#deliver();
  }

  onWritable(): void {
    if (!this.#over) this.#events.onWritable?.();
  }

  /** Both directions are through; the status has come before. */
  onClose(): void {}

  #end(trailers: HeaderFields, withoutStatus: GrpcError): void {
    if (this.#over) return;
    const status = readStatus(trailers);
    this.#ending ??= { error: status === "missing" ? withoutStatus : status, trailers };
    this.#deliver();
  }

  #deliver(): void {
    if (this.#delivering) return;
    this.#delivering = true;
    const reader = this.#reader;
    try {
      while (reader !== null && !this.#over && !this.#paused) {
        const message = reader.next();
        if (message === null) break;
        if (message instanceof GrpcError) this.#fail(message);
        else this.#handOver(message);
        this.#stream?.consume(reader.takeReadBytes());
      }
    } finally {
      this.#delivering = false;
    }
    this.#stream?.consume(reader?.takeReadBytes() ?? 0);
    if (this.#ending !== null && !this.#paused) this.#finish(this.#ending);
  }

  #handOver(bytes: Uint8Array): void {
    let message: Res;
    try {
      message = this.#method.response.decode(bytes);
    } catch (cause) {
      this.#fail(new GrpcError(grpcCode.internal, "a response that cannot be decoded", { cause }));
      return;
    }
    this.#events.onMessage(message);
  }

  /** What the server said, after all its messages. Requests that are still to be sent are not wanted. */
  #finish(ending: Ending): void {
    if (this.#over) return;
    const cut = ending.error === null && this.#reader !== null && !this.#reader.atBoundary;
    this.#release();
    this.#endRequests();
    const error = cut ? new GrpcError(grpcCode.internal, "the answer ended within a message") : ending.error;
    this.#events.onEnd(error, ending.trailers);
  }

  #endRequests(): void {
    const stream = this.#stream;
    if (stream === null || stream.localEnded) return;
    if (stream.queuedBytes === 0) stream.sendData(new Uint8Array(0), true);
    else stream.reset(h2ErrorCode.cancel);
  }

  /** We end it: the deadline, the caller, or an answer that breaks the rules. */
  #fail(error: GrpcError): void {
    if (this.#over) return;
    this.#release();
    this.#stream?.reset(h2ErrorCode.cancel);
    this.#events.onEnd(error, []);
  }

  #expire(): void {
    this.#fail(new GrpcError(grpcCode.deadlineExceeded, "deadline exceeded"));
  }

  #release(): void {
    this.#over = true;
    this.#timer?.cancel();
    this.#options.signal?.removeEventListener("abort", this.#onAbort);
    if (this.#reader !== null) this.#stream?.consume(this.#reader.drop());
  }
}
