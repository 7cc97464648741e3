/**
 * The head of an HTTP/1.1 message (RFC 9112 §2 to §6): start line, header lines, and how the body ends. Strict in both directions:
 * what two parsers could read differently is a fault, because a difference between us and the next one is how requests are
 * smuggled. So no bare CR or LF (§2.2), no folded line (§5.2), no white space before a colon (§5.1), one length or one coding (§6.3).
 */
import { h1Limits } from "../../base/limits/h1.ts";
import type { HeaderFields } from "../h2/headers.ts";
import { latin1String } from "../hpack/string.ts";

export interface RequestHead {
  readonly kind: "request";
  readonly method: string;
  /** As it came: origin-form, absolute-form, authority-form or `*` (§3.2). */
  readonly target: string;
  readonly minorVersion: 0 | 1;
  readonly fields: HeaderFields;
}

export interface StatusHead {
  readonly kind: "status";
  readonly status: number;
  readonly minorVersion: 0 | 1;
  readonly fields: HeaderFields;
}

/** What is wrong, in words for whoever sent it. */
export interface HeadFault {
  readonly kind: "fault";
  readonly reason: string;
  /** More fields than `h1Limits.maxFields`: too much rather than wrong. */
  readonly isLimit: boolean;
}

/** How a body ends (§6.3). */
export type Framing =
  | { readonly kind: "none" }
  | { readonly kind: "counted"; readonly bytes: number }
  | { readonly kind: "chunked" }
  /** With the connection; answers alone. */
  | { readonly kind: "until_end" };

export type HeadStep =
  | { readonly kind: "more" }
  | { readonly kind: "too_long" }
  /** `head` without the empty line at its end; `rest` is what came behind it. */
  | { readonly kind: "head"; readonly head: string; readonly rest: Uint8Array };

/** Gathers bytes until a head is whole. Looks at each byte once, however small the pieces are. */
export class HeadReader {
  readonly #maxBytes: number;
  /** Grows by doubling. */
  #held = new Uint8Array(256);
  #length = 0;

  /** @param maxBytes of the head, its end included. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Not to be called again after `head` or `too_long`. */
  receive(bytes: Uint8Array): HeadStep {
    const scanned = Math.max(0, this.#length - 3);
    // Of what is longer than allowed no more is kept than shows that it is.
    const taken = Math.min(bytes.length, this.#maxBytes + 1 - this.#length);
    this.#keep(bytes.subarray(0, taken));
    const end = this.#findEnd(scanned);
    if (end === -1) return this.#length > this.#maxBytes ? { kind: "too_long" } : { kind: "more" };
    if (end > this.#maxBytes) return { kind: "too_long" };
    // What ends with a bare line feed is no head, and does not become one: it is told as it is, for the parser to refuse.
    const isWhole = this.#held[end - 2] === carriageReturn;
    const head = latin1String(this.#held, 0, isWhole ? end - 4 : end);
    return { kind: "head", head, rest: bytes.subarray(taken - (this.#length - end)) };
  }

  /** Whether what has come so far agrees with `prefix`: another protocol is known long before a head would end. */
  agreesWith(prefix: string): boolean {
    const length = Math.min(prefix.length, this.#length);
    return latin1String(this.#held, 0, length) === prefix.slice(0, length);
  }

  #keep(bytes: Uint8Array): void {
    const length = this.#length + bytes.length;
    if (length > this.#held.length) {
      const larger = new Uint8Array(Math.max(length, this.#held.length * 2));
      larger.set(this.#held.subarray(0, this.#length));
      this.#held = larger;
    }
    this.#held.set(bytes, this.#length);
    this.#length = length;
  }

  /** Behind CR LF CR LF, or behind the first bare LF; -1 when neither has come. */
  #findEnd(from: number): number {
    return headEnd(this.#held.subarray(0, this.#length), from, 0);
  }
}

/** @param start of the head: what is before it is another message's, or an empty line that was passed over. */
function headEnd(bytes: Uint8Array, from: number, start: number): number {
  for (let at = bytes.indexOf(lineFeed, from); at !== -1; at = bytes.indexOf(lineFeed, at + 1)) {
    if (at === start || bytes[at - 1] !== carriageReturn) return at + 1;
    if (at >= start + 3 && bytes[at - 2] === lineFeed && bytes[at - 3] === carriageReturn) return at + 1;
  }
  return -1;
}

/** A head that is whole in what has come, which most are: nothing is copied. @returns null when it is not, or is too long. */
export function wholeHead(
  bytes: Uint8Array,
  from: number,
  maxBytes: number,
): { readonly head: string; readonly end: number } | null {
  const end = headEnd(bytes, from, from);
  if (end === -1 || end - from > maxBytes) return null;
  // As in `HeadReader`: what ends with a bare line feed is for the parser to refuse.
  const isWhole = bytes[end - 2] === carriageReturn && end - from >= 4;
  return { head: latin1String(bytes, from, isWhole ? end - 4 : end), end };
}

/** The header lines that came last on a connection: most clients and servers say the same again and again, and are read once. */
export interface LineMemory {
  text: string;
  lines: readonly string[];
  /** Of each line its name and its value. */
  fields: HeaderFields;
}

export function newLineMemory(): LineMemory {
  return { text: "", lines: [], fields: [] };
}

const lineFeed = 0x0a;
const carriageReturn = 0x0d;

const tokenCharacters = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]+";
const requestLine = new RegExp(`^(${tokenCharacters}) ([\\x21-\\x7e]+) HTTP/1\\.([01])$`);
const statusLine = /^HTTP\/1\.([01]) ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?$/;
const fieldLine = new RegExp(`^(${tokenCharacters}):[\\t ]*([\\t\\x20-\\x7e\\x80-\\xff]*?)[\\t ]*$`);

/** @param head without the empty line at its end. */
export function parseRequestHead(head: string, memory: LineMemory | null = null): RequestHead | HeadFault {
  const lineEnd = head.indexOf("\r\n");
  const match = requestLine.exec(lineEnd === -1 ? head : head.slice(0, lineEnd));
  if (match === null) return fault("the request line is not one of HTTP/1.1");
  const fields = fieldsBehind(head, lineEnd, memory);
  if ("kind" in fields) return fields;
  const [, method = "", target = "", minor] = match;
  return { kind: "request", method, target, minorVersion: minor === "0" ? 0 : 1, fields };
}

/** @param head without the empty line at its end. */
export function parseStatusHead(head: string, memory: LineMemory | null = null): StatusHead | HeadFault {
  const lineEnd = head.indexOf("\r\n");
  const match = statusLine.exec(lineEnd === -1 ? head : head.slice(0, lineEnd));
  if (match === null) return fault("the status line is not one of HTTP/1.1");
  const fields = fieldsBehind(head, lineEnd, memory);
  if ("kind" in fields) return fields;
  return { kind: "status", status: Number(match[2]), minorVersion: match[1] === "0" ? 0 : 1, fields };
}

/** Of the lines behind the first one. */
function fieldsBehind(head: string, lineEnd: number, memory: LineMemory | null): HeaderFields | HeadFault {
  if (lineEnd === -1) return [];
  const text = head.slice(lineEnd + 2);
  if (memory !== null && memory.text === text) return memory.fields;
  const lines = text.split("\r\n");
  const fields = parseFields(lines, memory);
  if (memory !== null && !("kind" in fields)) {
    memory.text = text;
    memory.lines = lines;
    memory.fields = fields;
  }
  return fields;
}

/** What must not come after the content: whoever merges trailers into the head would frame or route by them (RFC 9110 §6.5.1). */
const notInTrailers: ReadonlySet<string> = new Set([
  "transfer-encoding",
  "content-length",
  "host",
  "trailer",
  "te",
  "connection",
  "upgrade",
  "authorization",
  "cookie",
  "set-cookie",
]);

/** @param lines of the trailer section, without its empty line. */
export function parseTrailers(lines: readonly string[]): HeaderFields | HeadFault {
  const fields = parseFields(lines);
  if ("kind" in fields) return fields;
  for (let i = 0; i < fields.length; i += 2)
    if (notInTrailers.has(fields[i] ?? "")) return fault(`${fields[i]} among the trailers`);
  return fields;
}

/** A bare CR or LF is in no field's characters, so it needs no look of its own. */
function parseFields(lines: readonly string[], memory: LineMemory | null = null): HeaderFields | HeadFault {
  const fields: string[] = [];
  if (lines.length > h1Limits.maxFields)
    return { kind: "fault", reason: `more than ${h1Limits.maxFields} header lines`, isLimit: true };
  for (let index = 0; index < lines.length; index++) {
    const line = lines[index] ?? "";
    // A line that is as it was in the same place is not read again: of most heads one or two change.
    if (memory !== null && memory.lines[index] === line) {
      fields.push(memory.fields[2 * index] ?? "", memory.fields[2 * index + 1] ?? "");
      continue;
    }
    const match = fieldLine.exec(line);
    if (match === null) return fault(`header line ${index + 1} is malformed`);
    fields.push((match[1] ?? "").toLowerCase(), match[2] ?? "");
  }
  return fields;
}

/** Of a request (§6.3): without a length or a coding it has no body. */
export function requestFraming({ minorVersion, fields }: RequestHead): Framing | HeadFault {
  // §6.1: HTTP/1.0 has no codings, and a peer that says both is not one to guess about.
  if (minorVersion === 0 && fields.some((text, index) => index % 2 === 0 && text === "transfer-encoding"))
    return fault("a transfer coding in HTTP/1.0");
  return framingOf(fields) ?? { kind: "none" };
}

/** Of an answer to anything but HEAD and CONNECT (§6.3). */
export function responseFraming({ status, fields }: StatusHead): Framing | HeadFault {
  if (status < 200 || status === 204 || status === 304) return { kind: "none" };
  return framingOf(fields) ?? { kind: "until_end" };
}

/** Null when neither is said. */
function framingOf(fields: HeaderFields): Framing | HeadFault | null {
  let codings = 0;
  let coding = "";
  let lengths = 0;
  let length = "";
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i];
    if (name === "transfer-encoding") {
      codings++;
      coding = fields[i + 1] ?? "";
    } else if (name === "content-length") {
      lengths++;
      length = fields[i + 1] ?? "";
    }
  }
  if (codings > 0) {
    if (lengths > 0) return fault("both a length and a transfer coding");
    return codings === 1 && coding.toLowerCase() === "chunked"
      ? { kind: "chunked" }
      : fault("a transfer coding other than chunked");
  }
  if (lengths === 0) return null;
  if (lengths > 1) return fault("more than one length");
  return wholeNumber.test(length) ? { kind: "counted", bytes: Number(length) } : fault("a malformed length");
}

const wholeNumber = new RegExp(`^[0-9]{1,${h1Limits.lengthDigits}}$`);

function fault(reason: string): HeadFault {
  return { kind: "fault", reason, isLimit: false };
}
