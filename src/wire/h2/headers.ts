/**
 * Flat list name, value, name, value, …; names lower case; pseudo-headers first. Values are latin1 strings: one code unit
 * a byte, 0x80 to 0xff survive.
 */
export type HeaderFields = readonly string[];

/** The first value of `name` (lower case), or null. */
export function headerValue(fields: HeaderFields, name: string): string | null {
  for (let i = 0; i + 1 < fields.length; i += 2) if (fields[i] === name) return fields[i + 1] ?? null;
  return null;
}

const colon = 0x3a;

/** What HTTP/1 says about a connection has no place here (RFC 9113 §8.2.2). */
const connectionSpecific: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "upgrade",
]);

/**
 * Checks a request's fields against RFC 9113 §8.2 and §8.3; characters were checked when they were decoded.
 *
 * @param extendedConnect whether we have offered RFC 8441 (`:protocol`).
 * @returns what makes the request malformed, or null.
 */
export function requestFault(fields: HeaderFields, extendedConnect: boolean): string | null {
  let method: string | null = null;
  let scheme: string | null = null;
  let path: string | null = null;
  let authority: string | null = null;
  let protocol: string | null = null;
  let i = 0;
  for (; i + 1 < fields.length; i += 2) {
    const name = fields[i] ?? "";
    const value = fields[i + 1] ?? "";
    if (name.charCodeAt(0) !== colon) break;
    if (name === ":method" && method === null) method = value;
    else if (name === ":scheme" && scheme === null) scheme = value;
    else if (name === ":path" && path === null) path = value;
    else if (name === ":authority" && authority === null) authority = value;
    else if (name === ":protocol" && protocol === null && extendedConnect) protocol = value;
    else return `${name} is repeated or not for requests`;
  }
  const fault = regularFieldsFault(fields, i);
  if (fault !== null) return fault;
  if (method === null || !isToken(method)) return ":method is missing or not a token";
  if (hasBlank(scheme) || hasBlank(path) || hasBlank(authority))
    return "a blank in :scheme, :path or :authority";
  if (authority !== null) {
    const host = hostFault(fields, i, authority);
    if (host !== null) return host;
  }
  if (method === "CONNECT" && protocol === null) return connectFault(authority, scheme, path);
  if (protocol !== null && (method !== "CONNECT" || authority === null))
    return ":protocol without CONNECT or :authority";
  return targetFault(method, scheme, path, authority);
}

/** RFC 9110 §5.6.2. */
function isToken(text: string): boolean {
  return /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/.test(text);
}

/** Space or control: an HTTP/1 hop behind us would read it as the end of the field or line (RFC 9113 §10.3). */
function hasBlank(text: string | null): boolean {
  if (text === null) return false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code <= 0x20 || code === 0x7f) return true;
  }
  return false;
}

/** RFC 9113 §8.5: a plain CONNECT names an authority and nothing else. */
function connectFault(authority: string | null, scheme: string | null, path: string | null): string | null {
  if (scheme !== null || path !== null) return "CONNECT with :scheme or :path";
  return authority === null || authority === "" ? "CONNECT without :authority" : null;
}

/** RFC 9113 §8.3.1. */
function targetFault(
  method: string,
  scheme: string | null,
  path: string | null,
  authority: string | null,
): string | null {
  if (scheme === null) return ":scheme is missing";
  if (path === null) return ":path is missing";
  if (scheme !== "http" && scheme !== "https") return null;
  if (authority?.includes("@")) return ":authority with user information";
  if (path.charCodeAt(0) === 0x2f) return null;
  return path === "*" && method === "OPTIONS" ? null : ":path is neither absolute nor * for OPTIONS";
}

/** A Host that says something else than :authority would let two parties see two requests (RFC 9113 §8.3.1). */
function hostFault(fields: HeaderFields, from: number, authority: string): string | null {
  for (let i = from; i + 1 < fields.length; i += 2) {
    if (fields[i] !== "host" || fields[i + 1] === authority) continue;
    if ((fields[i + 1] ?? "").toLowerCase() !== authority.toLowerCase())
      return "host differs from :authority";
  }
  return null;
}

/** @returns what makes the response malformed, or null (RFC 9113 §8.3.2). */
export function responseFault(fields: HeaderFields): string | null {
  if (fields[0] !== ":status") return ":status is missing or not first";
  const status = fields[1] ?? "";
  if (!/^[1-9][0-9][0-9]$/.test(status)) return ":status is not three digits";
  // RFC 9113 §8.6.
  if (status === "101") return ":status 101 is not for HTTP/2";
  return regularFieldsFault(fields, 2);
}

/** A 2xx status, which turns CONNECT into a tunnel (RFC 9113 §8.5). */
export function isSuccess(status: string | undefined): boolean {
  return status?.charCodeAt(0) === 0x32;
}

/** @returns what makes the trailers malformed, or null (RFC 9113 §8.1). */
export function trailersFault(fields: HeaderFields): string | null {
  return regularFieldsFault(fields, 0);
}

/** No pseudo-header from here on, and nothing about the connection. */
function regularFieldsFault(fields: HeaderFields, from: number): string | null {
  for (let i = from; i + 1 < fields.length; i += 2) {
    const name = fields[i] ?? "";
    if (name.charCodeAt(0) === colon) return `${name} is out of place`;
    if (connectionSpecific.has(name)) return `${name} is specific to HTTP/1 connections`;
    if (name === "te" && fields[i + 1] !== "trailers") return "te is not trailers";
  }
  return null;
}

/** Larger than any honest content, and exact in a double. */
const maxContentDigits = 15;

/** What content-length says: bytes, -1 when there is none, -2 when it is no number or two that differ (RFC 9110 §8.6). */
export function declaredContentBytes(fields: HeaderFields): number {
  let declared = -1;
  for (let i = 0; i + 1 < fields.length; i += 2) {
    if (fields[i] !== "content-length") continue;
    const text = fields[i + 1] ?? "";
    if (!/^[0-9]+$/.test(text) || text.length > maxContentDigits) return -2;
    const bytes = Number(text);
    if (declared !== -1 && declared !== bytes) return -2;
    declared = bytes;
  }
  return declared;
}
