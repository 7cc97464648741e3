/** Fields as HTTP/2 may say them, whoever put them there. */
import type { HeaderFields } from "../wire/h2/headers.ts";

/** What HTTP/1 says about a connection has no place here (RFC 9113 §8.2.2). */
const connectionFields: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

// biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be sent (RFC 9113 §8.2.1).
const unsafeValue = /[\x00\r\n\u0100-\uffff]/;

const namePattern = /^[!#$%&'*+\-.^_`|~0-9a-z]+$/;
/** Names that were found to be good; there are few of them. */
const goodNames = new Set<string>();
const maxGoodNames = 512;

/** Which may be said on HTTP/2. */
function isName(name: string): boolean {
  if (goodNames.has(name)) return true;
  if (connectionFields.has(name) || !namePattern.test(name)) return false;
  if (goodNames.size < maxGoodNames) goodNames.add(name);
  return true;
}

/** Leaves out also what a stage may have put there that no peer may be told. */
export function withoutConnectionFields(fields: HeaderFields): string[] {
  return addFields([], fields);
}

/** The same at the end of `headers`. */
export function addFields(headers: string[], fields: HeaderFields): string[] {
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i] ?? "";
    const value = fields[i + 1] ?? "";
    if (isName(name) && !unsafeValue.test(value)) headers.push(name, value);
  }
  return headers;
}

export function withoutLength(fields: readonly string[]): string[] {
  const kept: string[] = [];
  for (let i = 0; i + 1 < fields.length; i += 2)
    if (fields[i] !== "content-length") kept.push(fields[i] ?? "", fields[i + 1] ?? "");
  return kept;
}
