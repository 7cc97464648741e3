/** The CONNECT request of an HTTP/1.1 client that uses us as its proxy (RFC 9110 §9.3.6, RFC 9112 §3.2.3). */
import { type HostPort, IpAddress, parseHostPort, type SocketAddress } from "../../base/ip.ts";
import { h1Limits } from "../../base/limits/h1.ts";
import { HeadReader, parseRequestHead } from "./head.ts";

export type HttpConnectStep =
  | { readonly kind: "more" }
  | { readonly kind: "connect"; readonly destination: SocketAddress | HostPort; readonly rest: Uint8Array }
  | { readonly kind: "refuse"; readonly status: 400 | 405 | 431; readonly message: string };

export class HttpConnectServer {
  readonly #head = new HeadReader(h1Limits.connectHeadBytes);

  receive(bytes: Uint8Array): HttpConnectStep {
    const step = this.#head.receive(bytes);
    if (step.kind === "more") return step;
    if (step.kind === "too_long") return refuse(431, "request head too long");
    return readConnect(step.head, step.rest);
  }
}

function readConnect(text: string, rest: Uint8Array): HttpConnectStep {
  const head = parseRequestHead(text);
  if (head.kind === "fault") return refuse(head.isLimit ? 431 : 400, head.reason);
  if (head.method !== "CONNECT") return refuse(405, `only CONNECT is served, not ${head.method}`);
  const authority = parseHostPort(head.target);
  if (authority === null) return refuse(400, "CONNECT needs host:port");
  const ip = IpAddress.parse(authority.host);
  if (ip !== null) return { kind: "connect", destination: { ip, port: authority.port }, rest };
  if (!/^[A-Za-z0-9._-]{1,253}$/.test(authority.host)) return refuse(400, "bad host name");
  return { kind: "connect", destination: { host: authority.host.toLowerCase(), port: authority.port }, rest };
}

function refuse(status: 400 | 405 | 431, message: string): HttpConnectStep {
  return { kind: "refuse", status, message };
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
