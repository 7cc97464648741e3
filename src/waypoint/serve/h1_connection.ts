/** A connection of HTTP/1.1 through the waypoint, the client's side: its requests in their order, each answered before the next is read. */
import { MeshError } from "../../base/errors.ts";
import { servingLimits } from "../../base/limits/serving.ts";
import type { Socket, SocketHandler } from "../../host/host.ts";
import type { Framing, RequestHead as H1Head, HeadFault } from "../../wire/h1/head.ts";
import { encodeAnswer } from "../../wire/h1/message_writer.ts";
import { type ReadRequest, type RequestMemory, readRequest } from "../../wire/h1/request_rules.ts";
import { H1ServerMachine } from "../../wire/h1/server_machine.ts";
import type { HeaderFields } from "../../wire/h2/headers.ts";
import { Body } from "../body.ts";
import { type Downstream, Exchange } from "../exchange.ts";
import { localReply, replyBody, replyHead } from "../local_reply.ts";
import { clientGone, type Served, type Serving } from "../serving.ts";
import { H1Answer } from "./h1_answer.ts";

interface Current {
  readonly exchange: Exchange;
  readonly request: ReadRequest;
  readonly body: Body | null;
  answer: H1Answer | null;
}

export class H1Connection implements SocketHandler, Served {
  readonly #serving: Serving;
  readonly #socket: Socket;
  readonly #downstream: Downstream;
  readonly #onOver: (error: MeshError | null) => void;
  readonly #machine: H1ServerMachine;
  readonly #lines: RequestMemory = { lines: null, minorVersion: 1, read: null };
  #current: Current | null = null;
  /** Received and not read: requests that were sent ahead. */
  #unread: Uint8Array | null = null;
  /** What the socket did not take yet. */
  #blocked: Uint8Array[] = [];
  #isFull = false;
  #requestIsWhole = true;
  #clientEnded = false;
  /** Monotonic. */
  #endedAtMs = 0;
  #closesAfter = false;
  #isOver = false;
  /** Monotonic; of the last byte either way. */
  #activeAtMs: number;
  #headSinceMs: number | null = null;

  /** @param onOver exactly once. To be given the socket's events from then on. */
  constructor(
    serving: Serving,
    socket: Socket,
    downstream: Downstream,
    onOver: (error: MeshError | null) => void,
  ) {
    this.#serving = serving;
    this.#socket = socket;
    this.#downstream = downstream;
    this.#onOver = onOver;
    this.#activeAtMs = serving.clock.now();
    this.#machine = new H1ServerMachine({
      onRequest: (head, framing) => this.#onRequest(head, framing),
      onContent: (bytes) => {
        if (this.#current?.body?.push(bytes) === false) this.#hold();
      },
      onRequestEnd: (trailers) => this.#onRequestEnd(trailers),
      onFault: (fault) => this.#onFault(fault),
    });
    serving.add(this);
  }

  onData(bytes: Uint8Array): void {
    this.#activeAtMs = this.#serving.clock.now();
    if (this.#closesAfter && this.#current === null) return;
    if (this.#unread === null) this.#read(bytes);
    else {
      const joined = new Uint8Array(this.#unread.length + bytes.length);
      joined.set(this.#unread);
      joined.set(bytes, this.#unread.length);
      this.#unread = joined;
    }
  }

  onDrain(): void {
    this.#activeAtMs = this.#serving.clock.now();
    while (this.#blocked.length > 0) {
      const bytes = this.#blocked[0];
      if (bytes === undefined) break;
      const taken = this.#socket.write(bytes);
      if (taken < bytes.length) {
        this.#blocked[0] = bytes.subarray(taken);
        return;
      }
      this.#blocked.shift();
    }
    this.#current?.answer?.resume();
  }

  onEnd(): void {
    this.#clientEnded = true;
    this.#endedAtMs = this.#serving.clock.now();
    const current = this.#current;
    if (current?.answer?.isTunnel === true) {
      current.body?.finish(null);
      if (current.answer.isWhole) this.#onAnswerEnd(current);
    } else if (current === null || this.#closesAfter) this.#close();
    else if (!this.#requestIsWhole)
      this.#cut(new MeshError("connection_closed", "peer", "the request broke off"));
  }

  onClose(error: MeshError | null): void {
    this.#end(error ?? (this.#current === null ? null : clientGone()));
  }

  sweep(now: number): void {
    const still = now - this.#activeAtMs;
    if (this.#headSinceMs !== null && now - this.#headSinceMs > servingLimits.headTimeoutMs)
      this.#refuse(408, "the head of the request did not come to its end in time", true);
    else if (this.#current === null) {
      if (still > servingLimits.idleTimeoutMs) this.#close();
    } else if (
      this.#clientEnded &&
      this.#current.answer?.isTunnel !== true &&
      this.#blocked.length === 0 &&
      now - Math.max(this.#activeAtMs, this.#endedAtMs) > servingLimits.endedClientMs
    )
      this.#cut(clientGone());
    else if (
      still > servingLimits.stalledMs &&
      (this.#blocked.length > 0 || (!this.#requestIsWhole && !this.#isFull))
    )
      this.#cut(new MeshError("idle_timeout", "peer", "the client has stood still for too long"));
  }

  readonly tellsClients = false;

  drain(): void {
    if (this.#current === null && !this.#machine.isInMessage) this.#close();
  }

  #read(bytes: Uint8Array): void {
    const taken = this.#machine.receive(bytes);
    if (taken < bytes.length && !this.#isOver) {
      this.#unread = bytes.subarray(taken);
      this.#socket.pause();
    }
    if (this.#current === null && this.#machine.isInMessage) this.#headSinceMs ??= this.#activeAtMs;
  }

  #onRequest(head: H1Head, framing: Framing): void {
    this.#headSinceMs = null;
    this.#requestIsWhole = false;
    const request = readRequest(head, this.#lines);
    if ("status" in request) {
      this.#refuse(request.status, request.reason, true);
      return;
    }
    const path = this.#serving.normalise(request.path);
    if (path === null) {
      this.#refuse(400, "a malformed path", true);
      return;
    }
    const isUpgrade = request.upgrade === "websocket";
    if (isUpgrade && framing.kind !== "none") {
      this.#refuse(400, "an upgrade with content", true);
      return;
    }
    const body =
      framing.kind === "none" && !isUpgrade
        ? null
        : new Body({ onResume: () => this.#resume(), onCancel: () => this.#resume() });
    const exchange = new Exchange(
      this.#downstream,
      {
        method: request.method,
        scheme: "http",
        authority: request.authority,
        path,
        fields: request.fields,
        version: request.version,
        protocol: isUpgrade ? "websocket" : null,
      },
      body,
      this.#activeAtMs,
    );
    const current: Current = { exchange, request, body, answer: null };
    this.#current = current;
    exchange.onInterim = ({ status, fields }) => {
      const bytes =
        request.version === "1.0" || current.answer !== null ? null : encodeAnswer(status, fields, []);
      if (bytes !== null) this.#write(bytes);
    };
    exchange.onAbort((error) => this.#onAbort(current, error));
    this.#serving.answer(exchange, () => this.#respond(current));
  }

  #respond(current: Current): void {
    if (this.#isOver || this.#current !== current || current.answer !== null) return;
    const { exchange, request } = current;
    // Without the rest of a request that is answered early the next one would not be found (RFC 9112 §9.3).
    const keepAlive =
      request.keepAlive && this.#requestIsWhole && !this.#serving.isDraining && !this.#clientEnded;
    const answer = new H1Answer(exchange, request.version, keepAlive, {
      write: (bytes) => this.#write(bytes),
      onTunnel: () => this.#machine.tunnel(),
      onEnd: () => this.#onAnswerEnd(current),
      onBroken: (error) => this.#cut(error),
    });
    current.answer = answer;
    this.#closesAfter = !answer.keepAlive;
    answer.start();
    // The tunnel's first bytes may be here already.
    if (answer.isTunnel) this.#readOn();
  }

  #onRequestEnd(trailers: HeaderFields | null): void {
    this.#requestIsWhole = true;
    const current = this.#current;
    if (current === null) return;
    // Of an upgraded request the content begins with the answer.
    if (current.exchange.request.protocol === null) current.body?.finish(trailers);
    if (current.answer?.isWhole === true) this.#onAnswerEnd(current);
  }

  #onAnswerEnd(current: Current): void {
    if (this.#current !== current || this.#isOver) return;
    if (current.answer?.isTunnel === true && !this.#clientEnded) {
      // The upstream has said its last; the client may go on.
      this.#socket.end();
      if (current.body?.isEnded !== true) return;
    }
    this.#serving.over(current.exchange, null);
    if (this.#closesAfter || this.#clientEnded) {
      this.#current = null;
      this.#close();
      return;
    }
    this.#current = null;
    this.#isFull = false;
    this.#machine.next();
    this.#readOn();
  }

  /** The exchange was cut from outside: with an answer as long as none has begun. */
  #onAbort(current: Current, error: MeshError): void {
    if (this.#current !== current || this.#isOver) return;
    const { exchange } = current;
    current.body?.fail(error);
    if (current.answer !== null || exchange.reply === null) {
      this.#cut(error);
      return;
    }
    exchange.response = replyHead(exchange, exchange.reply);
    exchange.responseBody = replyBody(exchange, exchange.reply);
    this.#requestIsWhole = false;
    this.#respond(current);
  }

  #onFault(fault: HeadFault): void {
    this.#headSinceMs = null;
    const current = this.#current;
    if (current !== null && !this.#requestIsWhole) {
      const error = new MeshError("http_protocol", "peer", fault.reason);
      // Its content is wrong, and part of it may have been sent on: both ends are cut.
      current.body?.fail(error);
      if (current.answer === null) {
        current.exchange.reply ??= localReply(400, "DPE", fault.reason, fault.reason);
        current.exchange.abort(error);
      } else this.#cut(error);
      return;
    }
    this.#refuse(fault.isLimit ? 431 : 400, fault.reason, true);
  }

  /** An answer without the pipeline: the bytes are no request. */
  #refuse(status: number, reason: string, closes: boolean): void {
    this.#closesAfter = closes;
    this.#headSinceMs = null;
    const text = new TextEncoder().encode(reason);
    const extra = [
      "content-type",
      "text/plain",
      "content-length",
      String(text.length),
      "connection",
      "close",
    ];
    const head = encodeAnswer(status, [], extra);
    if (head !== null) this.#write(head);
    this.#write(text);
    this.#close();
  }

  #write(bytes: Uint8Array): boolean {
    if (this.#isOver) return true;
    this.#activeAtMs = this.#serving.clock.now();
    if (this.#blocked.length > 0) this.#blocked.push(bytes);
    else {
      const taken = this.#socket.write(bytes);
      if (taken < bytes.length) this.#blocked.push(bytes.subarray(taken));
    }
    return this.#blocked.length === 0;
  }

  #hold(): void {
    this.#isFull = true;
    this.#socket.pause();
  }

  /** The request's content has room again. */
  #resume(): void {
    if (!this.#isFull) return;
    this.#isFull = false;
    this.#readOn();
  }

  /** What waits is read first. */
  #readOn(): void {
    const unread = this.#unread;
    this.#unread = null;
    if (unread !== null) this.#read(unread);
    if (this.#unread === null && !this.#isFull && !this.#isOver) this.#socket.resume();
  }

  /** In order, after what was written: the client reads it before what it still sends is refused (RFC 9112 §9.6). */
  #close(): void {
    if (this.#isOver) return;
    this.#closesAfter = true;
    this.#socket.end();
    this.#serving.remove(this);
    this.#serving.clock.setTimer(this.#clientEnded ? 0 : servingLimits.lingerMs, () => {
      if (this.#isOver) return;
      this.#socket.close();
      this.#end(null);
    });
  }

  /** Not in order: the client must not take what it has for the whole. */
  #cut(error: MeshError): void {
    if (this.#isOver) return;
    // First: the socket may tell its end from within.
    this.#end(error);
    this.#socket.resetAfterSent();
  }

  #end(error: MeshError | null): void {
    if (this.#isOver) return;
    this.#isOver = true;
    const current = this.#current;
    this.#current = null;
    this.#serving.remove(this);
    if (current !== null) {
      current.body?.fail(error ?? clientGone());
      this.#serving.over(current.exchange, error ?? clientGone());
      current.answer?.cancel();
    }
    this.#onOver(error);
  }
}
