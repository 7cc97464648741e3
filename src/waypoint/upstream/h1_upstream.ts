/** A connection of HTTP/1.1 to an endpoint: one request at a time, and kept for the next one when it may be. */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { servingLimits } from "../../base/limits/serving.ts";
import { websocketAccept, websocketKey } from "../../base/websocket.ts";
import type { Socket, SocketHandler } from "../../host/host.ts";
import { H1ClientMachine } from "../../wire/h1/client_machine.ts";
import type { Framing, HeadFault, StatusHead } from "../../wire/h1/head.ts";
import {
  chunkEnd,
  encodeChunk,
  encodeChunkHead,
  encodeLastChunk,
  encodeRequest,
  lastChunk,
} from "../../wire/h1/message_writer.ts";
import { type AnswerMemory, answerFields, readAnswer } from "../../wire/h1/request_rules.ts";
import type { HeaderFields } from "../../wire/h2/headers.ts";
import type { Body, BodySink } from "../body.ts";
import { type Exchange, field } from "../exchange.ts";
import { type PendingOutcome, upstreamGone } from "./pending_outcome.ts";

export interface H1UpstreamEvents {
  /** It may take another request. */
  onIdle(upstream: H1Upstream): void;
  /** It takes none any more. */
  onGone(upstream: H1Upstream): void;
}

export class H1Upstream implements SocketHandler, BodySink {
  readonly #socket: Socket;
  readonly #events: H1UpstreamEvents;
  readonly #machine: H1ClientMachine;
  readonly #lines: AnswerMemory = { lines: null, read: null };
  #attempt: PendingOutcome | null = null;
  /** Of the answer. */
  #body: Body | null = null;
  #trailers: HeaderFields | null = null;
  #blocked: Uint8Array[] = [];
  #isChunked = false;
  #head: Uint8Array | null = null;
  #requestIsWhole = true;
  #answerIsWhole = true;
  #mayReuse = true;
  #isTunnel = false;
  #isGone = false;
  #isPaused = false;
  #uses = 0;
  readonly madeAtMs: number;
  /** Monotonic; set by the pool. */
  idleSinceMs = 0;

  /** @param madeAtMs monotonic. */
  constructor(socket: Socket, madeAtMs: number, events: H1UpstreamEvents) {
    this.madeAtMs = madeAtMs;
    this.#socket = socket;
    this.#events = events;
    this.#machine = new H1ClientMachine({
      onInterim: (head) => this.#onInterim(head),
      onAnswer: (head, framing) => this.#onAnswer(head, framing),
      onContent: (bytes) => {
        if (this.#body?.push(bytes) === false) this.#pause();
      },
      onAnswerEnd: (trailers) => {
        this.#answerIsWhole = true;
        this.#trailers = trailers;
      },
      onFault: (fault) => this.#onFault(fault),
    });
    socket.setHandler(this);
  }

  get isGone(): boolean {
    return this.#isGone;
  }

  /** Requests that it has carried: a connection that was used before may be closing just now (RFC 9112 §9.3.1). */
  get uses(): number {
    return this.#uses;
  }

  /** Only while it is idle. */
  send(attempt: PendingOutcome): void {
    const { exchange } = attempt;
    const { request, body } = exchange;
    const extra = this.#framingFields(exchange);
    const bytes = encodeRequest(request.method, request.path, request.authority, h1Fields(exchange), extra);
    if (bytes === null) {
      // Nothing was sent: the connection is as it was.
      const error = new MeshError(
        "http_protocol",
        "peer",
        "the request has a field that HTTP/1.1 cannot say",
      );
      attempt.fail(error, "UPE", false);
      this.#events.onIdle(this);
      return;
    }
    this.#uses++;
    this.#attempt = attempt;
    this.#body = null;
    this.#answerIsWhole = false;
    this.#requestIsWhole = body === null;
    this.#machine.request(request.method, request.protocol !== null);
    attempt.onCancel = () => this.abort();
    if (body === null || request.protocol !== null) {
      // What a client of an upgraded connection says comes after the answer.
      this.#write(bytes);
      return;
    }
    this.#head = bytes;
    body.pipe(this);
    this.#flushHead();
  }

  /** It is of no use any more: idle for too long, or replaced. */
  close(): void {
    if (this.#isGone) return;
    this.#mayReuse = false;
    if (this.#attempt === null) this.#gone(true);
  }

  abort(): void {
    if (this.#isGone) return;
    // First: the socket may tell its end from within.
    this.#gone(false);
    this.#socket.reset();
  }

  write(bytes: Uint8Array): boolean {
    if (this.#isGone) return true;
    if (bytes.length === 0) return this.#blocked.length === 0;
    if (!this.#isChunked) return this.#send(bytes);
    if (bytes.length <= servingLimits.joinedBytes) return this.#send(encodeChunk(bytes));
    this.#send(encodeChunkHead(bytes.length));
    this.#send(bytes);
    return this.#send(chunkEnd);
  }

  end(trailers: HeaderFields | null): void {
    if (this.#isGone) return;
    if (this.#isTunnel) {
      this.#socket.end();
      this.#requestIsWhole = true;
      this.#release();
      return;
    }
    if (this.#isChunked) this.#send(encodeLastChunk(trailers) ?? lastChunk);
    this.#flushHead();
    this.#requestIsWhole = true;
    this.#release();
  }

  /** The client broke off: the endpoint must not take what it has for the whole. */
  fail(error: MeshError): void {
    const attempt = this.#attempt;
    this.abort();
    attempt?.fail(error, "UR", true);
  }

  onData(bytes: Uint8Array): void {
    if (this.#isGone) return;
    this.#machine.receive(bytes);
    // Not from within: what follows the answer must be seen before the connection is given to another request.
    this.#complete();
  }

  onDrain(): void {
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
    this.#attempt?.exchange.body?.resume();
  }

  onEnd(): void {
    this.#onOver(null);
  }

  onClose(error: MeshError | null): void {
    this.#onOver(error);
  }

  #onOver(error: MeshError | null): void {
    if (this.#isGone) return;
    if (this.#isTunnel && error === null) {
      this.#answerIsWhole = true;
      this.#body?.finish(null);
      this.#mayReuse = false;
      this.#release();
      return;
    }
    this.#mayReuse = false;
    // Within it the answer may come to its orderly end, and everything be released.
    const isCut = this.#machine.receiveEnd() || error !== null;
    if (error === null) this.#complete();
    if (this.#isGone) return;
    const attempt = this.#attempt;
    this.#gone(error === null);
    if (isCut || attempt !== null)
      attempt?.fail(error === null ? upstreamGone() : asMeshError(error, "io", "upstream"), "UC", true);
  }

  #onInterim(head: StatusHead): void {
    const read = answerFields(head.fields);
    if (read !== null) this.#attempt?.interim({ status: head.status, fields: read.fields });
  }

  #onAnswer(head: StatusHead, framing: Framing): void {
    const attempt = this.#attempt;
    const read = readAnswer(head.fields, this.#lines);
    if (attempt === null || read === null) {
      this.#onFault({ kind: "fault", reason: "a malformed Connection in the answer", isLimit: false });
      return;
    }
    this.#isTunnel = head.status === 101;
    if (read.close || head.minorVersion === 0 || framing.kind === "until_end") this.#mayReuse = false;
    if (this.#isTunnel) this.#checkUpgrade(attempt, head, read.fields);
    if (this.#isGone) return;
    const source =
      framing.kind === "none"
        ? null
        : { onResume: () => this.#resume(), onCancel: () => this.#onAnswerCancelled() };
    this.#body = attempt.answered({ status: head.status, fields: read.fields }, source);
    if (this.#isTunnel) attempt.exchange.body?.pipe(this);
  }

  #checkUpgrade(attempt: PendingOutcome, head: StatusHead, fields: string[]): void {
    const { request } = attempt.exchange;
    const upgraded = field([...head.fields], "upgrade")?.toLowerCase();
    if (upgraded !== request.protocol) {
      this.#onFault({ kind: "fault", reason: "101 to another protocol", isLimit: false });
      return;
    }
    if (request.version !== "2") return;
    // RFC 8441 §5: the key is of HTTP/1.1 alone, so it was ours, and so is the check.
    const at = fields.indexOf("sec-websocket-accept");
    if (at === -1 || fields[at + 1] !== websocketAccept(keyOf(attempt.exchange)))
      this.#onFault({ kind: "fault", reason: "101 with a wrong Sec-WebSocket-Accept", isLimit: false });
    else fields.splice(at, 2);
  }

  /** The client takes no more of it. */
  #onAnswerCancelled(): void {
    if (!this.#answerIsWhole) this.abort();
  }

  #onFault(fault: HeadFault): void {
    this.#mayReuse = false;
    // What follows a whole answer ends the connection; the answer is as good as it was.
    if (this.#answerIsWhole) {
      if (this.#attempt === null) this.abort();
      return;
    }
    const attempt = this.#attempt;
    this.abort();
    attempt?.fail(new MeshError("http_protocol", "upstream", fault.reason), "UPE", true);
  }

  /** The answer is: first the connection is given back, then its content ends, and another request may come of it. */
  #complete(): void {
    if (!this.#answerIsWhole || this.#attempt === null || this.#isTunnel) return;
    const body = this.#body;
    const trailers = this.#trailers;
    this.#release();
    body?.finish(trailers);
  }

  /** Both messages are whole: the connection is free, or done. */
  #release(): void {
    if (!this.#answerIsWhole || this.#isGone || this.#attempt === null) return;
    if (!this.#requestIsWhole) {
      // Answered before the request's end: what is left of it is not sent, and the connection cannot be used again.
      if (this.#isTunnel) return;
      const { body } = this.#attempt.exchange;
      this.#detach();
      body?.cancel(null);
      this.#gone(true);
      return;
    }
    this.#detach();
    // The last of the answer may have filled whoever takes it: the next answer is another's to read.
    this.#resume();
    if (this.#mayReuse && !this.#isTunnel) this.#events.onIdle(this);
    else this.#gone(true);
  }

  #detach(): void {
    if (this.#attempt !== null) this.#attempt.onCancel = null;
    this.#attempt = null;
    this.#body = null;
  }

  #gone(inOrder: boolean): void {
    if (this.#isGone) return;
    this.#isGone = true;
    this.#blocked = [];
    this.#detach();
    if (inOrder) this.#socket.close();
    this.#events.onGone(this);
  }

  #framingFields(exchange: Exchange): HeaderFields {
    const { request, body } = exchange;
    this.#isChunked = false;
    if (request.protocol !== null) {
      const fields = ["connection", "Upgrade", "upgrade", request.protocol];
      if (request.version === "2") fields.push("sec-websocket-key", keyOf(exchange));
      return fields;
    }
    const hasLength = field(request.fields, "content-length") !== null;
    if (body !== null && !hasLength) {
      this.#isChunked = true;
      return ["transfer-encoding", "chunked"];
    }
    // RFC 9110 §8.6: a method that has content says that there is none.
    return body === null && !hasLength && methodsWithContent.has(request.method)
      ? ["content-length", "0"]
      : [];
  }

  #send(bytes: Uint8Array): boolean {
    const head = this.#head;
    if (head === null) return this.#write(bytes);
    this.#head = null;
    if (bytes.length > servingLimits.joinedBytes) {
      this.#write(head);
      return this.#write(bytes);
    }
    const joined = new Uint8Array(head.length + bytes.length);
    joined.set(head);
    joined.set(bytes, head.length);
    return this.#write(joined);
  }

  #flushHead(): void {
    const head = this.#head;
    this.#head = null;
    if (head !== null) this.#write(head);
  }

  #write(bytes: Uint8Array): boolean {
    if (this.#blocked.length > 0) this.#blocked.push(bytes);
    else {
      const taken = this.#socket.write(bytes);
      if (taken < bytes.length) this.#blocked.push(bytes.subarray(taken));
    }
    return this.#blocked.length === 0;
  }

  #pause(): void {
    this.#isPaused = true;
    this.#socket.pause();
  }

  #resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#socket.resume();
  }
}

/** Of a WebSocket whose client speaks HTTP/2, which has none (RFC 8441 §5). */
function keyOf({ startedAtMs, request }: Exchange): string {
  return websocketKey(`${startedAtMs} ${request.authority} ${request.path}`);
}

const methodsWithContent: ReadonlySet<string> = new Set(["POST", "PUT", "PATCH"]);

/** `te` is about one connection (RFC 9110 §10.1.4), and a WebSocket's key is HTTP/1.1's alone. */
function h1Fields({ request }: Exchange): HeaderFields {
  const { fields } = request;
  if (!fields.includes("te")) return fields;
  const kept: string[] = [];
  for (let i = 0; i + 1 < fields.length; i += 2)
    if (fields[i] !== "te") kept.push(fields[i] ?? "", fields[i + 1] ?? "");
  return kept;
}
