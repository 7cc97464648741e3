/**
 * HTTP/1.1 messages as bytes (RFC 9112). A field that cannot be said in HTTP/1.1 is never sent: a line break in a value, whoever put
 * it there, would be another field, or another message, to the next parser.
 */
import type { HeaderFields } from "../h2/headers.ts";

/** How the content of a message is framed by whoever writes it. */
export type WrittenFraming = "none" | "counted" | "chunked" | "until_end";

const textEncoder = new TextEncoder();
const crlf = new Uint8Array([0x0d, 0x0a]);
/** The last chunk, without trailers. */
export const lastChunk = new Uint8Array([0x30, 0x0d, 0x0a, 0x0d, 0x0a]);

const namePattern = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be sent.
const unsafeValue = /[\x00-\x08\x0a-\x1f\x7f\u0100-\uffff]/;
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
  if (!isName(method) || !targetPattern.test(path) || unsafeValue.test(authority)) return null;
  const lines = fieldLines(fields, extra);
  return lines === null
    ? null
    : latin1Bytes(`${method} ${path} HTTP/1.1\r\nhost: ${authority}\r\n${lines}\r\n`);
}

/** @returns null when the answer cannot be said in HTTP/1.1. */
export function encodeAnswer(status: number, fields: HeaderFields, extra: HeaderFields): Uint8Array | null {
  const lines = fieldLines(fields, extra);
  return lines === null
    ? null
    : latin1Bytes(`HTTP/1.1 ${status} ${reasons.get(status) ?? ""}\r\n${lines}\r\n`);
}

/** A chunk whole, for small content. */
export function encodeChunk(content: Uint8Array): Uint8Array {
  const size = content.length.toString(16);
  const bytes = new Uint8Array(size.length + 4 + content.length);
  const at = writeAscii(size, bytes) + 2;
  bytes[at - 2] = 0x0d;
  bytes[at - 1] = 0x0a;
  bytes.set(content, at);
  bytes[bytes.length - 2] = 0x0d;
  bytes[bytes.length - 1] = 0x0a;
  return bytes;
}

/** What goes before the content of a large chunk; `chunkEnd` goes after it. */
export function encodeChunkHead(length: number): Uint8Array {
  return latin1Bytes(`${length.toString(16)}\r\n`);
}

export const chunkEnd: Uint8Array = crlf;

/** The last chunk. @returns null when the trailers cannot be said. */
export function encodeLastChunk(trailers: HeaderFields | null): Uint8Array | null {
  if (trailers === null || trailers.length === 0) return lastChunk;
  const lines = fieldLines(trailers, []);
  return lines === null ? null : latin1Bytes(`0\r\n${lines}\r\n`);
}

function fieldLines(fields: HeaderFields, extra: HeaderFields): string | null {
  let lines = "";
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i] ?? "";
    const value = fields[i + 1] ?? "";
    if (!isName(name) || unsafeValue.test(value)) return null;
    lines += `${name}: ${value}\r\n`;
  }
  for (let i = 0; i + 1 < extra.length; i += 2) lines += `${extra[i]}: ${extra[i + 1]}\r\n`;
  return lines;
}

function latin1Bytes(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  const { read, written } = textEncoder.encodeInto(text, bytes);
  if (read === text.length && written === text.length) return bytes;
  // Some byte of 0x80 or above, which UTF-8 would make two.
  writeAscii(text, bytes);
  return bytes;
}

function writeAscii(text: string, bytes: Uint8Array): number {
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return text.length;
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
