/** One request on a stream of HTTP/2 through the waypoint, the client's side. */
import type { MeshError } from "../../base/errors.ts";
import { type Listed, notListed } from "../../base/roster.ts";
import { h2ErrorCode } from "../../wire/h2/error_code.ts";
import type { HeaderFields } from "../../wire/h2/headers.ts";
import type { H2Stream, H2StreamEvents, ResetInitiator } from "../../wire/h2/stream.ts";
import { Body, type BodySink } from "../body.ts";
import { type Downstream, Exchange, type RequestHead } from "../exchange.ts";
import { addFields, withoutConnectionFields, withoutLength } from "../h2_fields.ts";
import { grpcStatusOf, replyBody, replyHead } from "../local_reply.ts";
import { clientGone, type Serving } from "../serving.ts";

const nothing = new Uint8Array(0);

export class H2Exchange implements H2StreamEvents, BodySink, Listed {
  rosterAt = notListed;
  readonly #serving: Serving;
  readonly #stream: H2Stream;
  readonly #body: Body | null;
  readonly #exchange: Exchange;
  /** Of the request's content: not given on yet. */
  #heldBytes = 0;
  #isAnswering = false;
  #isOver = false;
  onOver: (() => void) | null = null;
  /** Monotonic; of the last content either way. */
  activeAtMs: number;

  constructor(
    serving: Serving,
    stream: H2Stream,
    head: RequestHead,
    endStream: boolean,
    downstream: Downstream,
  ) {
    this.#serving = serving;
    this.#stream = stream;
    this.activeAtMs = serving.clock.now();
    this.#body = endStream
      ? null
      : new Body({ onResume: () => this.#release(), onCancel: () => this.#release() });
    this.#exchange = new Exchange(downstream, head, this.#body, this.activeAtMs);
  }

  /** Whether the client has to move, and has not. A gRPC stream may be silent for as long as its two ends like. */
  get isStalled(): boolean {
    if (this.#stream.aboveHighWater) return true;
    const owesContent =
      this.#body !== null && !this.#body.isEnded && this.#heldBytes === 0 && !this.#isAnswering;
    return owesContent && !this.#exchange.isGrpc && this.#exchange.request.protocol === null;
  }

  start(): void {
    const exchange = this.#exchange;
    exchange.onInterim = ({ status, fields }) => {
      if (!this.#isAnswering && !this.#stream.closed)
        this.#stream.sendHeaders([":status", String(status), ...withoutConnectionFields(fields)], false);
    };
    exchange.onAbort((error) => this.#onAbort(error));
    this.#serving.answer(exchange, () => this.#respond());
  }

  /** From outside: neither end moves. */
  cut(error: MeshError): void {
    if (!this.#stream.closed) this.#stream.reset(h2ErrorCode.cancel);
    this.#over(error);
  }

  onHeaders(): void {}

  onData(bytes: Uint8Array, endStream: boolean): void {
    this.activeAtMs = this.#serving.clock.now();
    if (bytes.length > 0) {
      this.#heldBytes += bytes.length;
      if (this.#body === null || this.#body.push(bytes)) this.#release();
    }
    if (endStream) this.#body?.finish(null);
  }

  onTrailers(headers: HeaderFields): void {
    this.#body?.finish(headers);
  }

  onReset(_errorCode: number, _initiator: ResetInitiator, error: MeshError): void {
    if (!this.#isOver) this.#over(error.blame === "local" ? error : clientGone());
  }

  onWritable(): void {
    this.activeAtMs = this.#serving.clock.now();
    this.#exchange.responseBody?.resume();
  }

  onClose(): void {}

  write(bytes: Uint8Array): boolean {
    if (this.#stream.closed) return true;
    this.activeAtMs = this.#serving.clock.now();
    this.#stream.sendData(bytes, false);
    return !this.#stream.aboveHighWater;
  }

  end(trailers: HeaderFields | null): void {
    if (this.#stream.closed || this.#stream.localEnded) return;
    if (trailers === null || trailers.length === 0) this.#stream.sendData(nothing, true);
    else this.#stream.sendTrailers(withoutConnectionFields(trailers));
    this.#whole();
  }

  fail(error: MeshError): void {
    const { isGrpc } = this.#exchange;
    if (!this.#stream.closed && !this.#stream.localEnded) {
      // gRPC has a place for it; for others half an answer must not look like a whole one.
      if (isGrpc)
        this.#stream.sendTrailers([
          "grpc-status",
          String(grpcStatusOf(503)),
          "grpc-message",
          "upstream connection broke",
        ]);
      else this.#stream.resetAfterData(h2ErrorCode.internalError);
    }
    this.#over(error);
  }

  #respond(): void {
    const { response, responseBody, request } = this.#exchange;
    if (this.#isOver || this.#isAnswering || this.#stream.closed) return;
    this.#isAnswering = true;
    const isUpgraded = response?.status === 101 && request.protocol !== null;
    const status = isUpgraded ? 200 : (response?.status ?? 500);
    const hasBody =
      responseBody !== null &&
      (isUpgraded || (request.method !== "HEAD" && status !== 204 && status !== 304));
    const fields = response?.fields ?? [];
    const headers = addFields([":status", String(status)], isUpgraded ? withoutLength(fields) : fields);
    this.#stream.sendHeaders(headers, !hasBody);
    if (hasBody) responseBody.pipe(this);
    else {
      responseBody?.cancel(null);
      this.#whole();
    }
  }

  #onAbort(error: MeshError): void {
    if (this.#isOver) return;
    const exchange = this.#exchange;
    this.#body?.fail(error);
    if (this.#isAnswering || exchange.reply === null) {
      if (!this.#stream.closed) {
        const { isGrpc } = exchange;
        if (isGrpc && this.#isAnswering && !this.#stream.localEnded && exchange.reply !== null) {
          // Its own reason, where gRPC has a place for it.
          const [, status = "", , message = ""] = grpcReason(exchange);
          this.#stream.sendTrailers(["grpc-status", status, "grpc-message", message]);
          if (!this.#stream.closed && !this.#stream.remoteEnded)
            this.#stream.resetAfterData(h2ErrorCode.noError);
        } else this.#stream.reset(h2ErrorCode.cancel);
      }
      exchange.responseBody?.cancel(error);
      this.#over(error);
      return;
    }
    exchange.response = replyHead(exchange, exchange.reply);
    exchange.responseBody = replyBody(exchange, exchange.reply);
    this.#respond();
  }

  /** The answer is whole. A request that is not is read no further (RFC 9113 §8.1). */
  #whole(): void {
    this.#over(null);
    if (!this.#stream.closed && !this.#stream.remoteEnded) this.#stream.resetAfterData(h2ErrorCode.noError);
  }

  #over(error: MeshError | null): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.onOver?.();
    this.#serving.over(this.#exchange, error);
    if (error !== null) {
      this.#body?.fail(error);
      this.#exchange.responseBody?.cancel(error);
    } else this.#body?.cancel(null);
    this.#release();
  }

  #release(): void {
    const held = this.#heldBytes;
    this.#heldBytes = 0;
    if (held > 0) this.#stream.consume(held);
  }
}

function grpcReason(exchange: Exchange): readonly string[] {
  const { reply } = exchange;
  const fields = reply === null ? [] : replyHead(exchange, reply).fields;
  const value = (name: string) => {
    const at = fields.indexOf(name);
    return at === -1 ? "" : (fields[at + 1] ?? "");
  };
  return ["grpc-status", value("grpc-status"), "grpc-message", value("grpc-message")];
}
