/**
 * Reads the one answer that comes on a connection (RFC 9112 §2.2, §6, §7). Strict, because its sender may be anybody: what is ambiguous about an
 * answer's end is refused, and nothing is kept beyond the caller's bound.
 */
import { MeshError } from "../../base/errors.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { HttpResponse } from "../host.ts";

type State =
  | "head"
  | "counted"
  | "until_end"
  | "chunk_size"
  | "chunk_data"
  | "chunk_end"
  | "trailer"
  | "done";

const fieldLine = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[\t ]*([^\r\n\0]*?)[\t ]*$/;

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
  #statusLine: string | null = null;
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
      } else {
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
  receiveEnd(): HttpResponse {
    if (this.#state === "until_end") this.#state = "done";
    if (this.#state !== "done")
      throw new MeshError("connection_closed", "upstream", "the connection ended before the answer did");
    return this.response;
  }

  get response(): HttpResponse {
    return {
      status: this.#status,
      headers: Object.fromEntries(this.#headers),
      body: this.#body.slice(0, this.#bodyBytes),
    };
  }

  #takeLine(line: string): void {
    switch (this.#state) {
      case "head":
        if (this.#statusLine === null) this.#readStatus(line);
        else if (line === "") this.#endHead();
        else this.#readField(line);
        return;
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

  #readStatus(line: string): void {
    const match = /^HTTP\/1\.[01] ([1-9][0-9]{2})(?: |$)/.exec(line);
    if (match === null) throw protocol("that is no HTTP/1.1 answer");
    this.#statusLine = line;
    this.#status = Number(match[1]);
  }

  #readField(line: string): void {
    const match = fieldLine.exec(line);
    if (match === null) throw protocol("a malformed header line");
    const name = (match[1] ?? "").toLowerCase();
    const value = match[2] ?? "";
    const before = this.#headers.get(name);
    this.#headers.set(name, before === undefined ? value : `${before}, ${value}`);
    if (this.#headers.size > hostLimits.httpAnswerHeaders) throw limit("headers");
  }

  #endHead(): void {
    if (this.#status < 200) {
      if (this.#status === 101) throw protocol("101 without having been asked");
      // An interim answer (RFC 9110 §15.2): the real one follows. The bound on lines counts all of them together.
      this.#statusLine = null;
      this.#headers = new Map();
      return;
    }
    this.#state = this.#bodyState();
    this.#lineBytes = 0;
  }

  /** RFC 9112 §6.3. */
  #bodyState(): State {
    const coding = this.#headers.get("transfer-encoding");
    const length = this.#headers.get("content-length");
    if (this.#status === 204 || this.#status === 304) return "done";
    if (coding !== undefined) {
      if (coding.toLowerCase() !== "chunked") throw protocol("a transfer coding that was not asked for");
      if (length !== undefined) throw protocol("both a length and a transfer coding");
      return "chunk_size";
    }
    if (this.#headers.has("content-encoding") && this.#headers.get("content-encoding") !== "identity")
      throw protocol("a content coding that was not asked for");
    if (length === undefined) return "until_end";
    if (!/^[0-9]{1,15}$/.test(length)) throw protocol("a malformed length");
    this.#leftBytes = Number(length);
    if (this.#leftBytes > this.#maxBodyBytes) throw limit("body");
    return this.#leftBytes === 0 ? "done" : "counted";
  }

  #readChunkSize(line: string): void {
    const match = /^([0-9a-fA-F]{1,12})[\t ]*(?:;.*)?$/.exec(line);
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

function decodeLine(input: Uint8Array, end: number): string {
  const stop = end > 0 && input[end - 1] === 0x0d ? end - 1 : end;
  return new TextDecoder("latin1").decode(input.subarray(0, stop));
}

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
