/**
 * HTTP/1.1 messages as bytes (RFC 9112). A field that cannot be said in HTTP/1.1 is never sent: a line break in a value, whoever put
 * it there, would be another field, or another message, to the next parser.
 */
import type { HeaderFields } from "../h2/headers.ts";

/** How the content of a message is framed by whoever writes it. */
export type WrittenFraming = "none" | "counted" | "chunked" | "until_end";

const crlf = new Uint8Array([0x0d, 0x0a]);
/** The last chunk, without trailers. */
export const lastChunk = new Uint8Array([0x30, 0x0d, 0x0a, 0x0d, 0x0a]);

const namePattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const targetPattern = /^[\x21-\x7e\x80-\xff]+$/;

/** Names that were found to be tokens; what is not in it is looked at each time. */
const knownNames = new Set<string>();
const maxKnownNames = 512;

function isName(name: string): boolean {
  if (knownNames.has(name)) return true;
  if (!namePattern.test(name)) return false;
  if (knownNames.size < maxKnownNames) knownNames.add(name);
  return true;
}

/** @returns null when the request cannot be said in HTTP/1.1. @param extra lines about this connection. */
export function encodeRequest(
  method: string,
  path: string,
  authority: string,
  fields: HeaderFields,
  extra: HeaderFields,
): Uint8Array | null {
  if (!isName(method) || !targetPattern.test(path)) return null;
  return block(`${method} ${path} HTTP/1.1`, ["host", authority], fields, extra);
}

/** @returns null when the answer cannot be said in HTTP/1.1. */
export function encodeAnswer(status: number, fields: HeaderFields, extra: HeaderFields): Uint8Array | null {
  return block(statusLine(status), none, fields, extra);
}

/** A chunk whole, for small content. */
export function encodeChunk(content: Uint8Array): Uint8Array {
  const size = content.length.toString(16);
  const bytes = new Uint8Array(size.length + 4 + content.length);
  const at = writeText(size, bytes, 0) + 2;
  bytes[at - 2] = 0x0d;
  bytes[at - 1] = 0x0a;
  bytes.set(content, at);
  bytes[bytes.length - 2] = 0x0d;
  bytes[bytes.length - 1] = 0x0a;
  return bytes;
}

/** What goes before the content of a large chunk; `chunkEnd` goes after it. */
export function encodeChunkHead(length: number): Uint8Array {
  const text = `${length.toString(16)}\r\n`;
  const bytes = new Uint8Array(text.length);
  writeText(text, bytes, 0);
  return bytes;
}

export const chunkEnd: Uint8Array = crlf;

/** The last chunk. @returns null when the trailers cannot be said. */
export function encodeLastChunk(trailers: HeaderFields | null): Uint8Array | null {
  if (trailers === null || trailers.length === 0) return lastChunk;
  return block("0", none, trailers, none);
}

const none: HeaderFields = [];
const firstScratchBytes = 4096;
/** Where a head is written before its length is known. Nothing of it is looked at in the next call. */
const scratch = new Uint8Array(firstScratchBytes);

/** A first line, then fields, then an empty line. Each is judged as it is written. @returns null when one of them cannot be said. */
function block(
  first: string,
  host: HeaderFields,
  fields: HeaderFields,
  extra: HeaderFields,
): Uint8Array | null {
  const most = first.length + 4 + mostBytes(host) + mostBytes(fields) + mostBytes(extra);
  const target = most > scratch.length ? new Uint8Array(most) : scratch;
  let at = writeLineEnd(target, writeText(first, target, 0));
  at = writeFields(extra, target, writeFields(fields, target, writeFields(host, target, at)));
  return at === -1 ? null : target.slice(0, writeLineEnd(target, at));
}

function mostBytes(fields: HeaderFields): number {
  let bytes = 0;
  for (let i = 0; i + 1 < fields.length; i += 2)
    bytes += (fields[i] ?? "").length + (fields[i + 1] ?? "").length + 4;
  return bytes;
}

/** @returns the position behind them, -1 when one of them cannot be said. @param from -1: nothing is written. */
function writeFields(fields: HeaderFields, target: Uint8Array, from: number): number {
  let at = from;
  for (let i = 0; i + 1 < fields.length && at !== -1; i += 2) {
    const name = fields[i] ?? "";
    if (!isName(name)) return -1;
    at = writeText(name, target, at);
    target[at++] = colon;
    target[at++] = space;
    at = writeValue(fields[i + 1] ?? "", target, at);
    if (at !== -1) at = writeLineEnd(target, at);
  }
  return at;
}

const colon = 0x3a;
const space = 0x20;

/** @returns -1 for a control character other than a tab, and for what is no byte (RFC 9110 §5.5). */
function writeValue(value: string, target: Uint8Array, from: number): number {
  for (let i = 0; i < value.length; i++) {
    const code = value.charCodeAt(i);
    if (code < space ? code !== 0x09 : code === 0x7f || code > 0xff) return -1;
    target[from + i] = code;
  }
  return from + value.length;
}

/** @param text of bytes. */
function writeText(text: string, target: Uint8Array, from: number): number {
  for (let i = 0; i < text.length; i++) target[from + i] = text.charCodeAt(i);
  return from + text.length;
}

function writeLineEnd(target: Uint8Array, at: number): number {
  target[at] = 0x0d;
  target[at + 1] = 0x0a;
  return at + 2;
}

function statusLine(status: number): string {
  return `HTTP/1.1 ${status} ${reasons.get(status) ?? ""}`;
}

const reasons: ReadonlyMap<number, string> = new Map([
  [100, "Continue"],
  [101, "Switching Protocols"],
  [103, "Early Hints"],
  [200, "OK"],
  [201, "Created"],
  [202, "Accepted"],
  [204, "No Content"],
  [206, "Partial Content"],
  [301, "Moved Permanently"],
  [302, "Found"],
  [303, "See Other"],
  [304, "Not Modified"],
  [307, "Temporary Redirect"],
  [308, "Permanent Redirect"],
  [400, "Bad Request"],
  [401, "Unauthorized"],
  [403, "Forbidden"],
  [404, "Not Found"],
  [405, "Method Not Allowed"],
  [408, "Request Timeout"],
  [409, "Conflict"],
  [413, "Content Too Large"],
  [417, "Expectation Failed"],
  [421, "Misdirected Request"],
  [426, "Upgrade Required"],
  [429, "Too Many Requests"],
  [431, "Request Header Fields Too Large"],
  [500, "Internal Server Error"],
  [501, "Not Implemented"],
  [502, "Bad Gateway"],
  [503, "Service Unavailable"],
  [504, "Gateway Timeout"],
  [505, "HTTP Version Not Supported"],
]);
