/**
 * What an HTTP/1.1 request says, once its lines are read (RFC 9112 §3, RFC 9110 §7.2, §7.6.1): whom it is for, and without what concerned
 * this connection alone. Refused is what the next parser could read differently from this one.
 */
import type { HeaderFields } from "../h2/headers.ts";
import type { RequestHead } from "./head.ts";

export interface ReadRequest {
  readonly method: string;
  /** `Host`, which an absolute target has to agree with; "" in HTTP/1.0 without one. */
  readonly authority: string;
  /** Origin-form, or `*` of OPTIONS. */
  readonly path: string;
  readonly version: "1.0" | "1.1";
  /** End to end: without Host and what Connection names. `te: trailers` is kept. */
  readonly fields: string[];
  /** The protocol of a valid Upgrade, lower case; null without one. */
  readonly upgrade: string | null;
  /** Whether the client will send another request on this connection. */
  readonly keepAlive: boolean;
  readonly expectsContinue: boolean;
}

export interface RequestRefusal {
  readonly status: 400 | 405 | 417 | 505;
  readonly reason: string;
}

/** Named by the RFC, whether or not Connection names them (RFC 9110 §7.6.1). */
const hopByHop: ReadonlySet<string> = new Set([
  "connection",
  "keep-alive",
  "proxy-connection",
  "transfer-encoding",
  "te",
  "upgrade",
  "http2-settings",
]);
/** A Connection that names one of these would have the next hop see another message than this one did. */
const notHopByHop: ReadonlySet<string> = new Set([
  "host",
  "content-length",
  "transfer-encoding",
  "authorization",
  "cookie",
]);

const hostPattern = /^(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::[0-9]{0,5})?$/;
const absoluteForm = /^(https?):\/\/([^/?#]*)(.*)$/i;
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** What the header lines say, without the request line. */
interface ReadLines {
  readonly host: string | null;
  /** What is wrong, in the order in which it is looked for: before the request line is, and after. */
  readonly first: RequestRefusal | null;
  readonly last: RequestRefusal | null;
  readonly fields: HeaderFields;
  readonly upgrade: string | null;
  readonly keepAlive: boolean;
  readonly expectsContinue: boolean;
}

/** What came last on a connection. Lines that are the same (`LineMemory`) say the same, and are looked at once. */
export interface RequestMemory {
  lines: HeaderFields | null;
  minorVersion: 0 | 1;
  read: ReadLines | null;
}

export function readRequest(
  head: RequestHead,
  memory: RequestMemory | null = null,
): ReadRequest | RequestRefusal {
  const { method, target, fields, minorVersion } = head;
  let read = memory?.lines === fields && memory.minorVersion === minorVersion ? memory.read : null;
  if (read === null) {
    read = readLines(fields, minorVersion);
    if (memory !== null) {
      memory.lines = fields;
      memory.minorVersion = minorVersion;
      memory.read = read;
    }
  }
  if (read.first !== null) return read.first;
  const path = pathOf(method, target, read.host);
  if (typeof path !== "string") return path;
  if (read.last !== null) return read.last;
  return {
    method,
    authority: read.host ?? "",
    path,
    version: minorVersion === 1 ? "1.1" : "1.0",
    // Of its own: stages change it.
    fields: read.fields.slice(),
    upgrade: read.upgrade,
    keepAlive: read.keepAlive,
    expectsContinue: read.expectsContinue,
  };
}

function readLines(fields: HeaderFields, minorVersion: 0 | 1): ReadLines {
  let host: string | null = null;
  let connection = "";
  let upgrade = "";
  let te = "";
  let expect: string | null = null;
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const value = fields[i + 1] ?? "";
    switch (fields[i]) {
      case "host":
        if (host !== null) return refusedFirst(400, "more than one Host");
        host = value;
        break;
      case "connection":
        connection = connection === "" ? value : `${connection},${value}`;
        break;
      case "upgrade":
        upgrade = upgrade === "" ? value : `${upgrade},${value}`;
        break;
      case "te":
        te = te === "" ? value : `${te},${value}`;
        break;
      case "expect":
        expect = expect === null ? value : `${expect},${value}`;
        break;
      case "http2-settings":
        return refusedFirst(400, "an upgrade to h2c");
      // A gateway interface that makes environment variables of names (CGI, WSGI) reads these as the ones with a dash.
      case "content_length":
      case "transfer_encoding":
        return refusedFirst(400, "an underscore in a name that frames the message");
    }
  }
  if (host === null && minorVersion === 1) return refusedFirst(400, "Host is missing");
  if (host !== null && !hostPattern.test(host)) return refusedFirst(400, "a malformed Host");
  if (expect !== null && expect.toLowerCase() !== "100-continue")
    return refusedFirst(417, "an expectation other than 100-continue");
  const named = connection === "" ? noNames : namesOf(connection);
  const notOurs = named === null ? undefined : [...named].find((name) => notHopByHop.has(name));
  const last =
    named === null
      ? refuse(400, "a malformed Connection")
      : notOurs !== undefined
        ? refuse(400, `Connection names ${notOurs}`)
        : upgrade.toLowerCase().includes("h2c")
          ? refuse(400, "an upgrade to h2c")
          : null;
  const names = named ?? noNames;
  return {
    host,
    first: null,
    last,
    fields: endToEnd(fields, names, te, minorVersion),
    upgrade: minorVersion === 1 && upgrade !== "" && names.has("upgrade") ? upgrade.toLowerCase() : null,
    keepAlive: minorVersion === 1 ? !names.has("close") : names.has("keep-alive"),
    expectsContinue: expect !== null && minorVersion === 1,
  };
}

function refusedFirst(status: RequestRefusal["status"], reason: string): ReadLines {
  return {
    ...{ host: null, first: refuse(status, reason), last: null, fields: [] },
    ...{ upgrade: null, keepAlive: false, expectsContinue: false },
  };
}

/** As `RequestMemory`, of answers. */
export interface AnswerMemory {
  lines: HeaderFields | null;
  read: ReadAnswer | null;
}

interface ReadAnswer {
  readonly fields: HeaderFields;
  readonly close: boolean;
}

/** `answerFields` of lines that may be the last ones again. */
export function readAnswer(
  fields: HeaderFields,
  memory: AnswerMemory,
): { readonly fields: string[]; readonly close: boolean } | null {
  if (memory.lines !== fields) {
    memory.lines = fields;
    memory.read = answerFields(fields);
  }
  return memory.read === null ? null : { fields: memory.read.fields.slice(), close: memory.read.close };
}

/** End to end: without what concerns one connection alone. For answers, whose Connection is read in the same way. @returns null for a malformed Connection. */
export function answerFields(
  fields: HeaderFields,
): { readonly fields: string[]; readonly close: boolean } | null {
  let connection = "";
  for (let i = 0; i + 1 < fields.length; i += 2)
    if (fields[i] === "connection")
      connection = connection === "" ? (fields[i + 1] ?? "") : `${connection},${fields[i + 1]}`;
  const named = connection === "" ? noNames : namesOf(connection);
  if (named === null) return null;
  const kept: string[] = [];
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i] ?? "";
    if (!hopByHop.has(name) && (!named.has(name) || notHopByHop.has(name)))
      kept.push(name, fields[i + 1] ?? "");
  }
  return { fields: kept, close: named.has("close") };
}

const noNames: ReadonlySet<string> = new Set();

/** @returns null when the list has what is no token. */
function namesOf(connection: string): ReadonlySet<string> | null {
  const lower = connection.toLowerCase();
  if (lower === "keep-alive" || lower === "close" || lower === "upgrade") return new Set([lower]);
  const names = new Set<string>();
  for (const part of lower.split(",")) {
    const name = part.trim();
    if (name === "") continue;
    if (!token.test(name)) return null;
    names.add(name);
  }
  return names;
}

function endToEnd(
  fields: HeaderFields,
  named: ReadonlySet<string>,
  te: string,
  minorVersion: 0 | 1,
): string[] {
  const kept: string[] = [];
  for (let i = 0; i + 1 < fields.length; i += 2) {
    const name = fields[i] ?? "";
    if (name === "host" || hopByHop.has(name) || (named !== noNames && named.has(name))) continue;
    // A client of HTTP/1.0 does not wait for 100 (RFC 9110 §10.1.1).
    if (name === "expect" && minorVersion === 0) continue;
    kept.push(name, fields[i + 1] ?? "");
  }
  if (te !== "" && /(?:^|[,\s])trailers(?:$|[,;\s])/i.test(te)) kept.push("te", "trailers");
  return kept;
}

/** RFC 9112 §3.2. */
function pathOf(method: string, target: string, host: string | null): string | RequestRefusal {
  if (method === "CONNECT") return refuse(405, "CONNECT is not served");
  if (target.includes("#")) return refuse(400, "a fragment in the target");
  if (target.charCodeAt(0) === 0x2f) return target;
  if (target === "*") return method === "OPTIONS" ? target : refuse(400, "* is for OPTIONS alone");
  const absolute = absoluteForm.exec(target);
  if (absolute === null) return refuse(400, "the target is neither a path nor a URI");
  const [, scheme = "", authority = "", rest = ""] = absolute;
  // The connection is not TLS: whoever says https means another one.
  if (scheme.toLowerCase() !== "http") return refuse(400, "the target is a URI of another scheme");
  if (authority.toLowerCase() !== (host ?? authority).toLowerCase() || !hostPattern.test(authority))
    return refuse(400, "the target's authority is not Host");
  if (rest === "") return method === "OPTIONS" ? "*" : "/";
  return rest.startsWith("/") ? rest : `/${rest}`;
}

function refuse(status: RequestRefusal["status"], reason: string): RequestRefusal {
  return { status, reason };
}
