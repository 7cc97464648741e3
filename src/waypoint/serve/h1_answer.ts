/** The answer to one request of HTTP/1.1: its head with how its content is framed, then the content as it comes. */
import { MeshError } from "../../base/errors.ts";
import { servingLimits } from "../../base/limits/serving.ts";
import {
  chunkEnd,
  encodeAnswer,
  encodeChunk,
  encodeChunkHead,
  encodeLastChunk,
  lastChunk,
  type WrittenFraming,
} from "../../wire/h1/message_writer.ts";
import type { HeaderFields } from "../../wire/h2/headers.ts";
import type { BodySink } from "../body.ts";
import { type Exchange, type Fields, field } from "../exchange.ts";

export interface H1AnswerEvents {
  /** @returns whether there is room for more. */
  write(bytes: Uint8Array): boolean;
  /** The request is upgraded; its head was written. */
  onTunnel(): void;
  onEnd(): void;
  /** It cannot come to its end as its head says. */
  onBroken(error: MeshError): void;
}

export class H1Answer implements BodySink {
  readonly #exchange: Exchange;
  readonly #events: H1AnswerEvents;
  readonly #version: "1.0" | "1.1" | "2";
  #keepAlive: boolean;
  #framing: WrittenFraming = "none";
  /** Of counted content. */
  #left = 0;
  /** Written with the first content when that comes at once. */
  #head: Uint8Array | null = null;
  isTunnel = false;
  isWhole = false;

  constructor(exchange: Exchange, version: "1.0" | "1.1" | "2", keepAlive: boolean, events: H1AnswerEvents) {
    this.#exchange = exchange;
    this.#version = version;
    this.#events = events;
    this.#keepAlive = keepAlive;
    this.#decide();
  }

  /** Whether another request may follow. */
  get keepAlive(): boolean {
    return this.#keepAlive;
  }

  start(): void {
    const { response, responseBody, request } = this.#exchange;
    const status = response?.status ?? 500;
    const fields = this.#fieldsFor(status, response?.fields ?? []);
    const extra: string[] = [];
    if (this.isTunnel) extra.push("connection", "Upgrade", "upgrade", request.protocol ?? "");
    else if (this.#framing === "chunked") extra.push("transfer-encoding", "chunked");
    if (!this.isTunnel && !this.#keepAlive) extra.push("connection", "close");
    else if (!this.isTunnel && this.#version === "1.0") extra.push("connection", "keep-alive");
    const head = encodeAnswer(status, fields, extra);
    if (head === null) {
      responseBody?.cancel(null);
      this.#events.onBroken(
        new MeshError("http_protocol", "upstream", "the answer has a field that HTTP/1.1 cannot say"),
      );
      return;
    }
    if (this.isTunnel) this.#events.onTunnel();
    if (responseBody === null || this.#framing === "none") {
      this.#events.write(head);
      responseBody?.cancel(null);
      this.#whole();
      return;
    }
    this.#head = head;
    responseBody.pipe(this);
    this.#flushHead();
  }

  resume(): void {
    this.#exchange.responseBody?.resume();
  }

  cancel(): void {
    if (!this.isWhole) this.#exchange.responseBody?.cancel(null);
  }

  write(bytes: Uint8Array): boolean {
    if (bytes.length === 0) return true;
    switch (this.#framing) {
      case "counted":
        this.#left -= bytes.length;
        if (this.#left < 0) {
          this.#break("the answer is longer than it said");
          return false;
        }
        return this.#send(bytes);
      case "chunked":
        if (bytes.length <= servingLimits.joinedBytes) return this.#send(encodeChunk(bytes));
        this.#send(encodeChunkHead(bytes.length));
        this.#send(bytes);
        return this.#send(chunkEnd);
      default:
        return this.#send(bytes);
    }
  }

  end(trailers: HeaderFields | null): void {
    if (this.isWhole) return;
    if (this.#framing === "counted" && this.#left > 0) this.#break("the answer is shorter than it said");
    else {
      if (this.#framing === "chunked") this.#send(encodeLastChunk(trailers) ?? lastChunk);
      this.#flushHead();
      this.#whole();
    }
  }

  fail(error: MeshError): void {
    this.#flushHead();
    this.#events.onBroken(error);
  }

  /** RFC 9112 §6.3, §6.1: by length where there is one, in chunks where the client knows them, else by the connection's end. */
  #decide(): void {
    const { response, responseBody, request } = this.#exchange;
    const status = response?.status ?? 500;
    if (status === 101 && request.protocol !== null) {
      this.isTunnel = true;
      this.#framing = "until_end";
      this.#keepAlive = false;
      return;
    }
    if (responseBody === null || request.method === "HEAD" || status === 204 || status === 304) return;
    const length = field(response?.fields ?? [], "content-length");
    if (length !== null && /^[0-9]{1,15}$/.test(length)) {
      this.#framing = "counted";
      this.#left = Number(length);
    } else if (this.#version === "1.1") this.#framing = "chunked";
    else {
      this.#framing = "until_end";
      this.#keepAlive = false;
    }
  }

  #fieldsFor(status: number, fields: Fields): Fields {
    const { request } = this.#exchange;
    const hasNoLength =
      status === 204 || this.isTunnel || this.#framing === "chunked" || this.#framing === "until_end";
    const kept: Fields = [];
    let hasLength = false;
    for (let i = 0; i + 1 < fields.length; i += 2) {
      const name = fields[i] ?? "";
      if (connectionFields.has(name)) continue;
      if (name === "content-length") {
        if (hasNoLength || hasLength) continue;
        hasLength = true;
      }
      kept.push(name, fields[i + 1] ?? "");
    }
    if (
      !hasLength &&
      this.#framing === "none" &&
      status !== 204 &&
      status !== 304 &&
      request.method !== "HEAD"
    )
      kept.push("content-length", "0");
    return kept;
  }

  #send(bytes: Uint8Array): boolean {
    const head = this.#head;
    if (head === null) return this.#events.write(bytes);
    this.#head = null;
    if (bytes.length > servingLimits.joinedBytes) {
      this.#events.write(head);
      return this.#events.write(bytes);
    }
    const joined = new Uint8Array(head.length + bytes.length);
    joined.set(head);
    joined.set(bytes, head.length);
    return this.#events.write(joined);
  }

  #flushHead(): void {
    const head = this.#head;
    this.#head = null;
    if (head !== null) this.#events.write(head);
  }

  #break(reason: string): void {
    const error = new MeshError("http_protocol", "upstream", reason);
    this.#flushHead();
    this.#exchange.responseBody?.cancel(error);
    this.#events.onBroken(error);
  }

  #whole(): void {
    this.isWhole = true;
    this.#events.onEnd();
  }
}

/** Ours to say, whoever put them there. */
const connectionFields: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);
