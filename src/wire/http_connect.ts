/** The CONNECT request of an HTTP/1.1 client that uses us as its proxy (RFC 9110 §9.3.6, RFC 9112 §3.2.3). */
import { type HostPort, IpAddress, parseHostPort, type SocketAddress } from "../base/ip.ts";

export type HttpConnectStep =
  | { readonly kind: "more" }
  | { readonly kind: "connect"; readonly destination: SocketAddress | HostPort; readonly rest: Uint8Array }
  | { readonly kind: "refuse"; readonly status: 400 | 405 | 431; readonly message: string };

/** A request head longer than this is refused with 431. */
const headBytesMax = 8 * 1024;

export class HttpConnectServer {
  #buffer = new Uint8Array(0);

  receive(bytes: Uint8Array): HttpConnectStep {
    const scanned = Math.max(0, this.#buffer.length - 3);
    const joined = new Uint8Array(this.#buffer.length + bytes.length);
    joined.set(this.#buffer);
    joined.set(bytes, this.#buffer.length);
    this.#buffer = joined;
    const end = findHeadEnd(joined, scanned);
    if (end === -1 ? joined.length > headBytesMax : end > headBytesMax) {
      return { kind: "refuse", status: 431, message: "request head too long" };
    }
    if (end === -1) return { kind: "more" };
    return parseHead(new TextDecoder("latin1").decode(joined.subarray(0, end)), joined.subarray(end));
  }
}

function findHeadEnd(bytes: Uint8Array, from: number): number {
  for (let index = from; index + 3 < bytes.length; index++) {
    if (bytes[index] === 13 && bytes[index + 1] === 10 && bytes[index + 2] === 13 && bytes[index + 3] === 10)
      return index + 4;
  }
  return -1;
}

function parseHead(head: string, rest: Uint8Array): HttpConnectStep {
  const line = head.slice(0, head.indexOf("\r\n"));
  const match = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+) (\S+) HTTP\/1\.[01]$/.exec(line);
  if (match === null) return { kind: "refuse", status: 400, message: "not an HTTP/1.1 request" };
  if (match[1] !== "CONNECT")
    return { kind: "refuse", status: 405, message: `only CONNECT is served, not ${match[1]}` };
  const authority = parseHostPort(match[2] ?? "");
  if (authority === null) return { kind: "refuse", status: 400, message: "CONNECT needs host:port" };
  const ip = IpAddress.parse(authority.host);
  if (ip !== null) return { kind: "connect", destination: { ip, port: authority.port }, rest };
  if (!/^[A-Za-z0-9._-]{1,253}$/.test(authority.host))
    return { kind: "refuse", status: 400, message: "bad host name" };
  return { kind: "connect", destination: { host: authority.host.toLowerCase(), port: authority.port }, rest };
}

/** The response to a CONNECT; after 200 the bytes are the tunnel's. `reason` goes into a header's place only after unprintable characters are gone. */
export function httpConnectResponse(status: number, reason: string): Uint8Array {
  const phrase = statusPhrases[status] ?? "Error";
  if (status === 200) return new TextEncoder().encode(`HTTP/1.1 200 ${phrase}\r\n\r\n`);
  const body = `${reason}\n`;
  const length = new TextEncoder().encode(body).length;
  return new TextEncoder().encode(
    `HTTP/1.1 ${status} ${phrase}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: ${length}\r\nconnection: close\r\n\r\n${body}`,
  );
}

const statusPhrases: Readonly<Record<number, string>> = {
  200: "Connection Established",
  400: "Bad Request",
  403: "Forbidden",
  405: "Method Not Allowed",
  431: "Request Header Fields Too Large",
  502: "Bad Gateway",
  503: "Service Unavailable",
  504: "Gateway Timeout",
};
