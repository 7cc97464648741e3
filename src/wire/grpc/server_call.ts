/** One call at the server's end: a machine between an HTTP/2 stream and a handler. */
import { grpcLimits } from "../../base/limits/rpc.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import { type HeaderFields, headerValue } from "../h2/headers.ts";
import type { H2Stream, H2StreamEvents } from "../h2/stream.ts";
import type { CallClock, CallContext } from "./call_context.ts";
import { contentType, readTimeoutMs, statusFields } from "./call_headers.ts";
import { frameMessage, MessageReader } from "./message_reader.ts";
import type { MethodDescription } from "./method.ts";
import type { ServerStream, StreamEvents, StreamHandler } from "./server_stream.ts";
import { GrpcError, grpcCode } from "./status.ts";
import { faultOf } from "./unary_handler.ts";

const responseHeaders: HeaderFields = [":status", "200", "content-type", contentType];

export class ServerCallState<Req, Res, Peer> implements ServerStream<Req, Res, Peer>, H2StreamEvents {
  readonly method: MethodDescription<Req, Res>;
  readonly peer: Peer;
  readonly metadata: HeaderFields;
  readonly deadlineMs: number | null;
  readonly #stream: H2Stream;
  readonly #context: CallContext;
  readonly #eagerHeaders: boolean;
  readonly #reader: MessageReader;
  /** What of the reader is counted in the connection's load. */
  #countedBytes = 0;
  #timer: { cancel(): void } | null = null;
  #requestTimer: { cancel(): void } | null = null;
  /** Monotonic; since when the request, or the message of a stream that is under way, is awaited. Null: none is. */
  #awaitedSinceMs: number | null = null;
  #abort: AbortController | null = null;
  #abortReason: GrpcError | null = null;
  #events: StreamEvents<Req> | null = null;
  #headersSent = false;
  /** Whatever comes from now on is dropped, and nothing more is said. */
  #over = false;
  #closeTold = false;
  #remoteEnded = false;
  #halfCloseTold = false;
  #paused = false;
  #delivering = false;
  /** Bytes of the message that is being decoded in slices; nothing behind it is delivered before it. */
  #decodingBytes = 0;
  /** Decoded while the handler had paused. */
  #ready: { readonly message: Req } | null = null;

  constructor(
    method: MethodDescription<Req, Res>,
    stream: H2Stream,
    headers: HeaderFields,
    peer: Peer,
    context: CallContext,
    eagerHeaders: boolean,
  ) {
    this.method = method;
    this.#stream = stream;
    this.#context = context;
    this.#eagerHeaders = eagerHeaders;
    this.peer = peer;
    this.metadata = headers;
    const encoding = headerValue(headers, "grpc-encoding");
    this.#reader = new MessageReader({ maxMessageBytes: context.maxRequestBytes, encoding, end: "server" });
    stream.events = this;
    this.deadlineMs = this.#armDeadline(readTimeoutMs(headers));
  }

  start(handler: StreamHandler<Req, Res, Peer>, endStream: boolean): void {
    // A deadline that is over before it starts costs no handler.
    if (this.#over) return;
    try {
      this.#events = handler(this);
    } catch (thrown) {
      this.end(faultOf(thrown, this.#context, this.method.path));
      return;
    }
    if (this.#over) this.#tellClose();
    else if (this.#eagerHeaders) this.#sendHeaders();
    if (endStream) this.#onRemoteEnd();
    else this.#awaitRequest(false);
  }

  get cancelled(): AbortSignal {
    this.#abort ??= new AbortController();
    if (this.#abortReason !== null) this.#abort.abort(this.#abortReason);
    return this.#abort.signal;
  }

  get aboveHighWater(): boolean {
    return this.#stream.aboveHighWater;
  }

  send(message: Res): boolean {
    return this.#over ? false : this.sendEncoded(this.method.response.encode(message));
  }

  sendEncoded(bytes: Uint8Array): boolean {
    if (this.#over) return false;
    this.#sendHeaders();
    for (const piece of frameMessage(bytes)) this.#stream.sendData(piece, false);
    return !this.#stream.aboveHighWater;
  }

  end(error?: GrpcError): void {
    if (this.#over) return;
    this.#release();
    const status = statusFields(error ?? null);
    const stream = this.#stream;
    // Trailers-Only where nothing was said before.
    if (this.#headersSent) stream.sendTrailers(status);
    else stream.sendHeaders([...responseHeaders, ...status], true);
    this.#dismissRest();
    this.#tellClose();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#deliver();
  }

  onHeaders(): void {}

  onData(bytes: Uint8Array, endStream: boolean): void {
    if (this.#over) {
      this.#stream.consume(bytes.length);
      if (!endStream) this.#dismissRest();
      return;
    }
    this.#reader.push(bytes);
    if (endStream) this.#remoteEnded = true;
    this.#deliver();
  }

  /** A client's trailers mean nothing in gRPC, but they end its half. */
  onTrailers(): void {
    this.#onRemoteEnd();
  }

  onReset(_code: number, _initiator: string, cause: Error): void {
    this.#abandon(new GrpcError(grpcCode.cancelled, "the call was cancelled", { cause }));
  }

  onWritable(): void {
    if (!this.#over) this.#events?.onWritable();
  }

  onClose(): void {
    this.#release();
    this.#tellClose();
  }

  #onRemoteEnd(): void {
    this.#remoteEnded = true;
    this.#deliver();
  }

  /** Hands over what is whole. Not entered twice: a handler may resume, pause or end from within. */
  #deliver(): void {
    if (this.#delivering) return;
    this.#delivering = true;
    let isNew = false;
    try {
      while (!this.#over && !this.#paused && this.#decodingBytes === 0) {
        const ready = this.#ready;
        this.#ready = null;
        if (ready !== null) {
          this.#tell(ready.message);
          continue;
        }
        const message = this.#reader.next();
        if (message === null) break;
        if (message instanceof GrpcError) this.end(message);
        else this.#handOver(message);
        isNew = true;
        this.#stream.consume(this.#reader.takeReadBytes());
      }
    } finally {
      this.#delivering = false;
    }
    this.#stream.consume(this.#reader.takeReadBytes());
    this.#awaitRequest(isNew);
    if (this.#over || this.#paused) return;
    this.#count();
    if (this.#remoteEnded && this.#decodingBytes === 0) this.#tellHalfClose();
  }

  /** @param isNew whether what is awaited now began just now. */
  #awaitRequest(isNew: boolean): void {
    const { clock, requestTimeoutMs = null } = this.#context;
    if (clock === null || requestTimeoutMs === null) return;
    // A stream may rest between two messages, and is not read while it is paused; a unary call is one request from its start.
    const isHeldUp = this.#paused || this.#decodingBytes > 0;
    const isAwaited = this.#eagerHeaders ? !isHeldUp && !this.#reader.atBoundary : true;
    if (this.#over || this.#remoteEnded || !isAwaited) this.#awaitedSinceMs = null;
    else if (isNew && this.#eagerHeaders) this.#awaitedSinceMs = clock.now();
    else this.#awaitedSinceMs ??= clock.now();
    if (this.#awaitedSinceMs !== null) this.#armRequestTimer(clock, requestTimeoutMs, requestTimeoutMs);
  }

  /** One timer, which looks again when it was early: a message costs none. */
  #armRequestTimer(clock: CallClock, requestTimeoutMs: number, delayMs: number): void {
    this.#requestTimer ??= clock.setTimer(delayMs, () => {
      this.#requestTimer = null;
      if (this.#over || this.#awaitedSinceMs === null) return;
      const restMs = this.#awaitedSinceMs + requestTimeoutMs - clock.now();
      if (restMs > 0) this.#armRequestTimer(clock, requestTimeoutMs, restMs);
      else this.end(new GrpcError(grpcCode.deadlineExceeded, "the request did not come to its end in time"));
    });
  }

  #handOver(bytes: Uint8Array): void {
    const { clock } = this.#context;
    const defer = clock?.defer?.bind(clock) ?? null;
    const codec = this.method.request;
    try {
      if (
        bytes.length <= grpcLimits.decodedAtOnceBytes ||
        codec.decodeInSteps === undefined ||
        defer === null
      )
        this.#tell(codec.decode(bytes));
      else {
        this.#decodingBytes = bytes.length;
        this.#decodeOn(new TimeSlice({ now: () => clock?.now() ?? 0, defer }), codec.decodeInSteps(bytes));
      }
    } catch (thrown) {
      this.#refuse(thrown);
    }
  }

  /** What the handler throws is told as its fault, and not the message's. */
  #tell(message: Req): void {
    try {
      this.#events?.onMessage(message);
    } catch (thrown) {
      this.end(faultOf(thrown, this.#context, this.method.path));
    }
  }

  #decodeOn(slice: TimeSlice, steps: Generator<void, Req>): void {
    const until = this.#untilOver(steps);
    slice.run(until).then(
      (message) => {
        this.#decodingBytes = 0;
        if (message === null) return;
        this.#ready = { message };
        this.#deliver();
      },
      (thrown) => {
        this.#decodingBytes = 0;
        this.#refuse(thrown);
      },
    );
  }

  /** A call that ends meanwhile costs no more. */
  *#untilOver(steps: Generator<void, Req>): Generator<void, Req | null> {
    for (;;) {
      const step = steps.next();
      if (step.done === true) return step.value;
      if (this.#over) return null;
      yield;
    }
  }

  #refuse(thrown: unknown): void {
    const isBound = thrown instanceof GrpcError;
    this.end(isBound ? thrown : new GrpcError(grpcCode.internal, "a request that cannot be decoded"));
  }

  /** A message in pieces is kept here, and one that is being decoded; what came is given back to the window at once, so it is counted instead. */
  #count(): void {
    const { load } = this.#context;
    const kept = this.#over ? 0 : this.#reader.assembledBytes + this.#decodingBytes;
    const added = kept - this.#countedBytes;
    if (load === null || added === 0) return;
    if (load.assemble(added)) this.#countedBytes = kept;
    else this.end(new GrpcError(grpcCode.resourceExhausted, "too many unfinished requests"));
  }

  #tellHalfClose(): void {
    if (this.#halfCloseTold || this.#over) return;
    this.#halfCloseTold = true;
    if (!this.#reader.atBoundary) {
      this.end(new GrpcError(grpcCode.internal, "the request ended within a message"));
      return;
    }
    try {
      this.#events?.onHalfClose();
    } catch (thrown) {
      this.end(faultOf(thrown, this.#context, this.method.path));
    }
  }

  #sendHeaders(): void {
    if (this.#headersSent) return;
    this.#headersSent = true;
    this.#stream.sendHeaders(responseHeaders, false);
  }

  #armDeadline(timeoutMs: number | null): number | null {
    const { clock } = this.#context;
    if (timeoutMs === null || timeoutMs > grpcLimits.maxTimeoutMs) return null;
    if (clock === null) return timeoutMs;
    const deadlineMs = clock.now() + timeoutMs;
    const expire = () => this.#expire();
    if (timeoutMs > 0) this.#timer = clock.setTimer(timeoutMs, expire);
    else this.#expire();
    return deadlineMs;
  }

  #expire(): void {
    const error = new GrpcError(grpcCode.deadlineExceeded, "deadline exceeded");
    this.#cancel(error);
    this.end(error);
  }

  #abandon(reason: GrpcError): void {
    if (!this.#over) this.#cancel(reason);
    this.#release();
    this.#tellClose();
  }

  #cancel(reason: GrpcError): void {
    this.#abortReason = reason;
    this.#abort?.abort(reason);
  }

  #release(): void {
    this.#over = true;
    this.#timer?.cancel();
    this.#timer = null;
    this.#requestTimer?.cancel();
    this.#requestTimer = null;
    this.#stream.consume(this.#reader.drop());
    this.#count();
  }

  /**
   * RFC 9113 §8.1: after a whole answer the rest of the request may be refused. While the answer waits for the client to
   * read it, a reset would drop it, so then the next DATA of the client asks again.
   */
  #dismissRest(): void {
    const stream = this.#stream;
    if (!stream.remoteEnded && stream.queuedBytes === 0) stream.reset(0);
  }

  #tellClose(): void {
    if (this.#closeTold || this.#events === null) return;
    this.#closeTold = true;
    this.#events.onClose();
  }
}
