/**
 * Reads the one answer that comes on a connection (RFC 9112 §2.2, §6, §7). Strict, because its sender may be any server: what is ambiguous about an
 * answer's end is refused, and nothing is kept beyond the caller's bound.
 */
import { MeshError } from "../../base/errors.ts";
import { h1Limits } from "../../base/limits/h1.ts";
import { hostLimits } from "../../base/limits/host.ts";
import { latin1String } from "../hpack/string.ts";
import { type HeadFault, HeadReader, parseStatusHead, responseFraming, type StatusHead } from "./head.ts";

/** `HttpResponse` of the Host is of this shape. */
export interface AnswerParts {
  readonly status: number;
  /** Names lower case; several of one name joined by ", ". */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
}

type State =
  | "head"
  | "counted"
  | "until_end"
  | "chunk_size"
  | "chunk_data"
  | "chunk_end"
  | "trailer"
  | "done";

export class HttpAnswer {
  readonly #maxBodyBytes: number;
  /** Grows by doubling: a body may come a byte at a time. */
  #body = new Uint8Array(0);
  #state: State = "head";
  /** Received and not read: part of a line. */
  #rest: Uint8Array = new Uint8Array(0);
  #bodyBytes = 0;
  /** Of the counted body or of the chunk. */
  #leftBytes = 0;
  #lineBytes = 0;
  #head = new HeadReader(hostLimits.httpAnswerHeadBytes);
  /** Of interim answers, and then of the answer's head. */
  #headBytes = 0;
  #status = 0;
  #headers = new Map<string, string>();

  constructor(maxBodyBytes: number) {
    this.#maxBodyBytes = maxBodyBytes;
  }

  get done(): boolean {
    return this.#state === "done";
  }

  /** @throws MeshError `http_protocol` or `limit_reached`, blame upstream. */
  receive(bytes: Uint8Array): void {
    let input = this.#rest.length === 0 ? bytes : join(this.#rest, bytes);
    this.#rest = new Uint8Array(0);
    while (input.length > 0 && this.#state !== "done") {
      if (this.#state === "counted" || this.#state === "chunk_data") input = this.#takeCounted(input);
      else if (this.#state === "until_end") {
        this.#keep(input);
        return;
      } else if (this.#state === "head") input = this.#takeHead(input);
      else {
        const end = input.indexOf(0x0a);
        if (end === -1) {
          this.#holdLine(input);
          return;
        }
        this.#countLine(end + 1);
        this.#takeLine(decodeLine(input, end));
        input = input.subarray(end + 1);
      }
    }
  }

  /** The connection has ended. @throws MeshError `connection_closed` when the answer had not. */
  receiveEnd(): AnswerParts {
    if (this.#state === "until_end") this.#state = "done";
    if (this.#state !== "done")
      throw new MeshError("connection_closed", "upstream", "the connection ended before the answer did");
    return this.response;
  }

  get response(): AnswerParts {
    return {
      status: this.#status,
      headers: Object.fromEntries(this.#headers),
      body: this.#body.slice(0, this.#bodyBytes),
    };
  }

  #takeLine(line: string): void {
    switch (this.#state) {
      case "chunk_size":
        this.#readChunkSize(line);
        return;
      case "chunk_end":
        if (line !== "") throw protocol("a chunk is longer than it said");
        this.#state = "chunk_size";
        return;
      default:
        // Trailers are counted and not kept (RFC 9112 §7.1.2).
        if (line === "") this.#state = "done";
    }
  }

  #takeHead(input: Uint8Array): Uint8Array {
    const step = this.#head.receive(input);
    if (step.kind === "too_long") throw limit("head");
    if (step.kind === "more") {
      if (!this.#head.agreesWith("HTTP/1.")) throw protocol("that is not HTTP/1.1");
      return nothing;
    }
    this.#headBytes += step.head.length + 4;
    this.#endHead(refuseFault(parseStatusHead(step.head)));
    return step.rest;
  }

  #endHead(head: StatusHead): void {
    if (head.status < 200) {
      if (head.status === 101) throw protocol("101 without having been asked");
      // An interim answer (RFC 9110 §15.2): the real one follows. The bound on the head counts all of them together.
      const left = hostLimits.httpAnswerHeadBytes - this.#headBytes;
      if (left <= 0) throw limit("head");
      this.#head = new HeadReader(left);
      return;
    }
    this.#status = head.status;
    this.#headers = joined(head.fields);
    if (this.#headers.size > hostLimits.httpAnswerHeaders) throw limit("headers");
    this.#state = this.#bodyState(head);
  }

  #bodyState(head: StatusHead): State {
    const framing = refuseFault(responseFraming(head));
    if (framing.kind === "none") return "done";
    if (framing.kind === "chunked") return "chunk_size";
    const coding = this.#headers.get("content-encoding");
    if (coding !== undefined && coding !== "identity")
      throw protocol("a content coding that was not asked for");
    if (framing.kind === "until_end") return "until_end";
    this.#leftBytes = framing.bytes;
    if (this.#leftBytes > this.#maxBodyBytes) throw limit("body");
    return this.#leftBytes === 0 ? "done" : "counted";
  }

  #readChunkSize(line: string): void {
    const match = chunkLine.exec(line);
    if (match === null) throw protocol("a malformed chunk");
    this.#leftBytes = Number.parseInt(match[1] ?? "", 16);
    if (this.#leftBytes > this.#maxBodyBytes - this.#bodyBytes) throw limit("body");
    this.#state = this.#leftBytes === 0 ? "trailer" : "chunk_data";
  }

  #takeCounted(input: Uint8Array): Uint8Array {
    const part = input.subarray(0, this.#leftBytes);
    this.#keep(part);
    this.#leftBytes -= part.length;
    if (this.#leftBytes === 0) this.#state = this.#state === "counted" ? "done" : "chunk_end";
    return input.subarray(part.length);
  }

  #keep(part: Uint8Array): void {
    const bytes = this.#bodyBytes + part.length;
    if (bytes > this.#maxBodyBytes) throw limit("body");
    if (bytes > this.#body.length) {
      const larger = new Uint8Array(Math.min(this.#maxBodyBytes, Math.max(bytes, this.#body.length * 2)));
      larger.set(this.#body.subarray(0, this.#bodyBytes));
      this.#body = larger;
    }
    this.#body.set(part, this.#bodyBytes);
    this.#bodyBytes = bytes;
  }

  #holdLine(input: Uint8Array): void {
    if (this.#lineBytes + input.length > hostLimits.httpAnswerHeadBytes) throw limit("head");
    this.#rest = input.slice();
  }

  /** Lines of the head, and then those between chunks: an endless row of tiny chunks is bounded by the body's bound and this. */
  #countLine(bytes: number): void {
    if (bytes > hostLimits.httpAnswerHeadBytes) throw limit("head");
    if (this.#state === "chunk_size" || this.#state === "chunk_end") return;
    this.#lineBytes += bytes;
    if (this.#lineBytes > hostLimits.httpAnswerHeadBytes) throw limit("head");
  }
}

/** Without its CR LF. A bare LF ends no line here (RFC 9112 §2.2 allows a recipient to refuse it). */
function decodeLine(input: Uint8Array, end: number): string {
  if (input[end - 1] !== 0x0d) throw protocol("a line that ends without CR");
  return latin1String(input, 0, end - 1);
}

const chunkLine = new RegExp(`^([0-9a-fA-F]{1,${h1Limits.chunkSizeDigits}})[\\t ]*(?:;[^\\r\\n]*)?$`);

function joined(fields: StatusHead["fields"]): Map<string, string> {
  const headers = new Map<string, string>();
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const [name = "", value = ""] = [fields[i], fields[i + 1]];
    const before = headers.get(name);
    headers.set(name, before === undefined ? value : `${before}, ${value}`);
  }
  return headers;
}

function refuseFault<T>(parsed: T | HeadFault): T {
  if (!isFault(parsed)) return parsed;
  throw parsed.isLimit ? limit("headers") : protocol(parsed.reason);
}

function isFault(parsed: unknown): parsed is HeadFault {
  return typeof parsed === "object" && parsed !== null && "kind" in parsed && parsed.kind === "fault";
}

const nothing = new Uint8Array(0);

function join(a: Uint8Array, b: Uint8Array): Uint8Array {
  const joined = new Uint8Array(a.length + b.length);
  joined.set(a);
  joined.set(b, a.length);
  return joined;
}

function protocol(message: string): MeshError {
  return new MeshError("http_protocol", "upstream", `HTTP answer: ${message}`);
}

function limit(what: string): MeshError {
  return new MeshError("limit_reached", "upstream", `HTTP answer: the ${what} is longer than allowed`);
}
