/** A request on one stream of HTTP/2, answered by whoever takes the web's Request and gives a Response: an application of Hono's, say. */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { controlHttpLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import type { Clock, Timer } from "../../host/host.ts";
import { h2ErrorCode } from "../../wire/h2/error_code.ts";
import type { HeaderFields } from "../../wire/h2/headers.ts";
import type { H2Stream, H2StreamEvents } from "../../wire/h2/stream.ts";
import { IncomingBody } from "./incoming_body.ts";
import { readRequestHead } from "./request_head.ts";
import { writeResponse } from "./response_writer.ts";

/** Answers one request, and has read of its body what it wants when it gives the response. The request's signal aborts when the client is gone; what it throws is a bug and becomes 500. */
export type HttpHandler<Peer> = (request: Request, peer: Peer) => Response | Promise<Response>;

export interface HttpServing<Peer> {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly handler: HttpHandler<Peer>;
}

/** To be called from `onRequest`: takes the stream and everything that happens on it. */
export function serveHttp<Peer>(
  serving: HttpServing<Peer>,
  stream: H2Stream,
  headers: HeaderFields,
  endStream: boolean,
  peer: Peer,
): void {
  const exchange = new Exchange(serving, stream);
  stream.events = exchange;
  const head = readRequestHead(headers);
  if ("status" in head) {
    void exchange.answer(Promise.resolve(plainText(head.status, head.message)), false);
    if (endStream) exchange.onData(new Uint8Array(0), true);
    return;
  }
  const { method, url } = head;
  const bodyless = endStream || method === "GET" || method === "HEAD";
  const request = new Request(url, {
    method,
    headers: head.headers,
    signal: exchange.signal,
    ...(bodyless ? {} : { body: exchange.body.stream, duplex: "half" }),
  });
  if (bodyless) exchange.body.discard();
  if (endStream) exchange.onData(new Uint8Array(0), true);
  // The handler runs after the engine is done with this event, as everything asynchronous does.
  const answer = Promise.resolve().then(() => serving.handler(request, peer));
  void exchange.answer(answer, method === "HEAD");
}

function plainText(status: number, message: string): Response {
  return new Response(`${message}\n`, { status, headers: { "content-type": "text/plain; charset=utf-8" } });
}

class Exchange implements H2StreamEvents {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #stream: H2Stream;
  readonly #abort = new AbortController();
  readonly body: IncomingBody;
  #requestTimer: Timer | null;
  #discardedBytes = 0;
  /** Who waits for room in the stream's queue. */
  #waiting: { readonly resolve: () => void; readonly reject: (error: MeshError) => void } | null = null;

  constructor(serving: HttpServing<never>, stream: H2Stream) {
    this.#clock = serving.clock;
    this.#logger = serving.logger;
    this.#stream = stream;
    this.body = new IncomingBody((bytes) => stream.consume(bytes));
    this.#requestTimer = serving.clock.setTimer(controlHttpLimits.requestTimeoutMs, () =>
      this.#giveUp(new MeshError("idle_timeout", "peer", "the request did not come to its end in time")),
    );
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  async answer(answer: Promise<Response>, isHead: boolean): Promise<void> {
    const response = await answer.catch((thrown: unknown) => this.#reportBug(thrown));
    if (this.#stream.closed) {
      await response.body?.cancel().catch(() => {});
      return;
    }
    // The request is read no further once it is answered; what still comes is dropped, within bounds.
    this.body.discard();
    try {
      await writeResponse(this.#stream, response, isHead, () => this.#writable());
    } catch (thrown) {
      this.#failResponse(thrown);
    }
  }

  onHeaders(): void {}

  onData(bytes: Uint8Array, endStream: boolean): void {
    if (!this.body.push(bytes)) this.#discarded(bytes.length);
    if (endStream) this.#requestEnded();
  }

  onTrailers(): void {
    this.#requestEnded();
  }

  onWritable(): void {
    this.#waiting?.resolve();
    this.#waiting = null;
  }

  onReset(_errorCode: number, _initiator: "user" | "library" | "remote", error: MeshError): void {
    this.#requestTimer?.cancel();
    this.body.fail(error);
    this.#abort.abort(error);
    this.#waiting?.reject(error);
    this.#waiting = null;
  }

  onClose(): void {}

  #requestEnded(): void {
    this.#requestTimer?.cancel();
    this.#requestTimer = null;
    this.body.end();
  }

  /** RFC 9113 §8.1: a server that has answered may ask the client to stop sending, by RST_STREAM with NO_ERROR. */
  #discarded(bytes: number): void {
    this.#discardedBytes += bytes;
    if (this.#discardedBytes > controlHttpLimits.maxDiscardedBytes && !this.#stream.closed)
      this.#stream.reset(this.#stream.localEnded ? h2ErrorCode.noError : h2ErrorCode.cancel);
  }

  #writable(): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = this.#clock.setTimer(controlHttpLimits.stalledResponseMs, () =>
        this.#giveUp(new MeshError("idle_timeout", "peer", "the client does not read the response")),
      );
      this.#waiting = {
        resolve: () => {
          timer.cancel();
          resolve();
        },
        reject: (error) => {
          timer.cancel();
          reject(error);
        },
      };
    });
  }

  #giveUp(error: MeshError): void {
    this.body.fail(error);
    if (!this.#stream.closed) this.#stream.reset(h2ErrorCode.cancel);
  }

  #failResponse(thrown: unknown): void {
    if (this.#stream.closed) return;
    const { message } = asMeshError(thrown, "io", "local");
    this.#logger.log("error", "http", "a response broke off", { error: message });
    this.#stream.reset(h2ErrorCode.internalError);
  }

  /** Says nothing of it to the outside. */
  #reportBug(thrown: unknown): Response {
    if (!this.#stream.closed) {
      const error = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
      this.#logger.log(
        "error",
        "bug",
        "please report this bug of fairlead: a request could not be answered",
        { error },
      );
    }
    return plainText(500, "something went wrong here; the control plane's log has the reason");
  }
}
