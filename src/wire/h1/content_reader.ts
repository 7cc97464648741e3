/**
 * The content of an HTTP/1.1 message, counted, chunked or up to the connection's end (RFC 9112 §6, §7.1). Chunk extensions are dropped,
 * as §7.1.1 has it for whoever does not know them; a size that two parsers could read differently is a fault.
 */
import { h1Limits } from "../../base/limits/h1.ts";
import type { HeaderFields } from "../h2/headers.ts";
import { latin1String } from "../hpack/string.ts";
import { type Framing, type HeadFault, parseTrailers } from "./head.ts";

export interface ContentEvents {
  /** A view into what `receive` was given. */
  onContent(bytes: Uint8Array): void;
  /** The message is whole. @param trailers null without any. */
  onContentEnd(trailers: HeaderFields | null): void;
  onContentFault(fault: HeadFault): void;
}

type State = "idle" | "counted" | "until_end" | "size" | "chunk" | "chunk_end" | "trailers" | "failed";

const lineFeed = 0x0a;
const carriageReturn = 0x0d;
const sizeLine = new RegExp(
  `^([0-9A-Fa-f]{1,${h1Limits.chunkSizeDigits}})(?:;[\\t\\x20-\\x7e\\x80-\\xff]*)?$`,
);

export class ContentReader {
  readonly #events: ContentEvents;
  #state: State = "idle";
  /** Of the counted content or the chunk. */
  #left = 0;
  /** A line that has not come to its end. */
  #line = "";
  #trailers: string[] = [];
  #trailerBytes = 0;

  constructor(events: ContentEvents) {
    this.#events = events;
  }

  get isIdle(): boolean {
    return this.#state === "idle";
  }

  /** The head is read; `onContentEnd` may follow from within. */
  begin(framing: Framing): void {
    switch (framing.kind) {
      case "none":
        this.#end(null);
        return;
      case "counted":
        this.#left = framing.bytes;
        if (framing.bytes === 0) this.#end(null);
        else this.#state = "counted";
        return;
      case "chunked":
        this.#state = "size";
        return;
      case "until_end":
        this.#state = "until_end";
    }
  }

  /** @returns where the message ended, or the length of `bytes` while it goes on, or after a fault. */
  receive(bytes: Uint8Array, from: number): number {
    let at = from;
    while (at < bytes.length) {
      switch (this.#state) {
        case "idle":
          return at;
        case "failed":
          return bytes.length;
        case "until_end":
          this.#events.onContent(at === 0 ? bytes : bytes.subarray(at));
          return bytes.length;
        case "counted":
        case "chunk":
          at = this.#takeCounted(bytes, at);
          break;
        default:
          at = this.#takeLine(bytes, at);
      }
    }
    return at;
  }

  /** The connection has ended. @returns whether that was the content's end. */
  receiveEnd(): boolean {
    if (this.#state === "until_end") this.#end(null);
    return this.#state === "idle";
  }

  #takeCounted(bytes: Uint8Array, at: number): number {
    const to = Math.min(bytes.length, at + this.#left);
    this.#left -= to - at;
    const isChunk = this.#state === "chunk";
    const isLast = this.#left === 0 && !isChunk;
    if (this.#left === 0 && isChunk) this.#state = "chunk_end";
    this.#events.onContent(at === 0 && to === bytes.length ? bytes : bytes.subarray(at, to));
    if (isLast && this.#state === "counted") this.#end(null);
    return to;
  }

  #takeLine(bytes: Uint8Array, at: number): number {
    const end = bytes.indexOf(lineFeed, at);
    const to = end === -1 ? bytes.length : end;
    const bound = this.#state === "trailers" ? h1Limits.trailerBytes : h1Limits.chunkLineBytes;
    if (this.#line.length + to - at > bound)
      return this.#fail("a chunk's line or the trailers are too long", true, bytes);
    this.#line += latin1String(bytes, at, to);
    if (end === -1) return to;
    const line = this.#line;
    this.#line = "";
    // RFC 9112 §2.2 lets a recipient take a bare LF; a chunk's size is the place where doing so smuggles requests.
    if (line.charCodeAt(line.length - 1) !== carriageReturn)
      return this.#fail("a bare line feed", false, bytes);
    this.#onLine(line.slice(0, -1));
    return this.#state === "failed" ? bytes.length : end + 1;
  }

  #onLine(line: string): void {
    if (this.#state === "chunk_end") {
      if (line === "") this.#state = "size";
      else this.#fault("a chunk is longer than it said", false);
    } else if (this.#state === "size") this.#onSize(line);
    else if (line === "") this.#onTrailers();
    else {
      this.#trailerBytes += line.length + 2;
      if (this.#trailerBytes > h1Limits.trailerBytes) this.#fault("the trailers are too long", true);
      else this.#trailers.push(line);
    }
  }

  #onSize(line: string): void {
    const match = sizeLine.exec(line);
    if (match === null) {
      this.#fault("a malformed chunk size", false);
      return;
    }
    this.#left = Number.parseInt(match[1] ?? "", 16);
    this.#state = this.#left === 0 ? "trailers" : "chunk";
  }

  #onTrailers(): void {
    const lines = this.#trailers;
    this.#trailers = [];
    this.#trailerBytes = 0;
    if (lines.length === 0) {
      this.#end(null);
      return;
    }
    const fields = parseTrailers(lines);
    if ("kind" in fields) this.#fault(fields.reason, fields.isLimit);
    else this.#end(fields);
  }

  #end(trailers: HeaderFields | null): void {
    this.#state = "idle";
    this.#events.onContentEnd(trailers);
  }

  #fail(reason: string, isLimit: boolean, bytes: Uint8Array): number {
    this.#fault(reason, isLimit);
    return bytes.length;
  }

  #fault(reason: string, isLimit: boolean): void {
    this.#state = "failed";
    this.#events.onContentFault({ kind: "fault", reason, isLimit });
  }
}
