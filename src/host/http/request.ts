/** An outgoing HTTP/1.1 request (RFC 9112) as a value: where it goes, and its bytes. Without I/O; both hosts use it. */
import { MeshError } from "../../base/errors.ts";
import { IpAddress } from "../../base/ip.ts";
import { specialAddress } from "../../base/special_addresses.ts";
import type { HttpRequest } from "../host.ts";

export interface HttpTarget {
  readonly isTls: boolean;
  /** A name, or an IP address without brackets. */
  readonly hostname: string;
  readonly port: number;
  /** The Host header (RFC 9112 §3.2): with the port unless it is the scheme's. */
  readonly authority: string;
  /** Path and query. */
  readonly path: string;
}

const methods: ReadonlySet<string> = new Set(["GET", "POST", "PUT", "LIST", "DELETE"]);
const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Visible characters, spaces and tabs: no line break can be smuggled in (RFC 9110 §5.5). */
const fieldValue = /^[\t\x20-\x7e]*$/;
/** Ours to say: who sets them could give the request another end or another host. */
const reserved: ReadonlySet<string> = new Set([
  "host",
  "content-length",
  "transfer-encoding",
  "connection",
  "accept-encoding",
  "te",
  "trailer",
  "upgrade",
  "expect",
  "proxy-connection",
]);

/** @throws MeshError `configuration`, blame local. The URL's query is not repeated: it may hold a secret. */
export function readTarget(request: HttpRequest): HttpTarget {
  const url = parseUrl(request.url);
  if (url.protocol !== "https:" && url.protocol !== "http:")
    throw refuse(`${url.protocol} is no scheme for it`);
  if (url.username !== "" || url.password !== "") throw refuse("a URL must not hold a user name or password");
  const isTls = url.protocol === "https:";
  const port = url.port === "" ? (isTls ? 443 : 80) : Number(url.port);
  // The URL parser has made 0x7f.1 and 2130706433 into 127.0.0.1 and lower-cased the rest.
  const hostname = url.hostname.startsWith("[") ? url.hostname.slice(1, -1) : url.hostname;
  if (hostname === "" || port === 0) throw refuse("a URL has a host and a port");
  return { isTls, hostname, port, authority: url.host, path: `${url.pathname}${url.search}` };
}

function parseUrl(text: string): URL {
  const url = URL.parse(text);
  if (url === null) throw refuse("that is not a URL");
  return url;
}

/** Head and body. @throws MeshError `configuration`, blame local. */
export function encodeRequest(request: HttpRequest, target: HttpTarget): Uint8Array {
  if (!methods.has(request.method)) throw refuse(`${request.method} is not a method that is sent`);
  const lines = [`${request.method} ${target.path} HTTP/1.1`, `Host: ${target.authority}`];
  for (const [name, value] of Object.entries(request.headers ?? {})) {
    if (!token.test(name) || !fieldValue.test(value))
      throw refuse(`the header ${JSON.stringify(name)} cannot be sent`);
    if (reserved.has(name.toLowerCase())) throw refuse(`the header ${name} is not the caller's to set`);
    lines.push(`${name}: ${value}`);
  }
  // Neither kept open nor compressed: a connection belongs to one checked address, and a body's bound is what arrives.
  lines.push("Connection: close", "Accept-Encoding: identity");
  const { body } = request;
  if (body !== undefined || request.method === "POST" || request.method === "PUT")
    lines.push(`Content-Length: ${body?.length ?? 0}`);
  const head = new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`);
  if (body === undefined) return head;
  const bytes = new Uint8Array(head.length + body.length);
  bytes.set(head);
  bytes.set(body, head.length);
  return bytes;
}

/** Those of `addresses` that may be dialled. @throws MeshError `address_forbidden` when none may. */
export function reachableAddresses(
  request: HttpRequest,
  hostname: string,
  addresses: readonly IpAddress[],
): readonly IpAddress[] {
  if (request.reach === "any") return addresses;
  const allowed = addresses.filter((ip) => specialAddress(ip) === null);
  if (allowed.length > 0) return allowed;
  const [first] = addresses;
  const what = first === undefined ? "no address" : `${first.text}, ${specialAddress(first) ?? "public"}`;
  throw new MeshError(
    "address_forbidden",
    "upstream",
    `${hostname} is ${what}; only public addresses are dialled`,
  );
}

/** A name's trailing dot is not part of the name in certificates. */
export function certificateName(target: HttpTarget): string {
  return target.hostname.endsWith(".") ? target.hostname.slice(0, -1) : target.hostname;
}

/** Server Name Indication never carries an address (RFC 6066 §3). */
export function serverNameOf(target: HttpTarget): string | null {
  return IpAddress.parse(target.hostname) === null ? certificateName(target) : null;
}

function refuse(message: string): MeshError {
  return new MeshError("configuration", "local", `HTTP request: ${message}`);
}
