/** SOCKS5 (RFC 1928) as a server sees it: CONNECT without authentication. Bytes in, a request or bytes to answer out. */
import { type HostPort, IpAddress, type SocketAddress } from "../base/ip.ts";

/** RFC 1928 §6. */
export const socks5Reply = {
  succeeded: 0,
  generalFailure: 1,
  notAllowed: 2,
  networkUnreachable: 3,
  hostUnreachable: 4,
  connectionRefused: 5,
  ttlExpired: 6,
  commandNotSupported: 7,
  addressTypeNotSupported: 8,
} as const;

export type Socks5Reply = (typeof socks5Reply)[keyof typeof socks5Reply];

/** `answer`, when not empty, is to be written first. */
export type Socks5Step =
  /** Bytes are missing. */
  | { readonly kind: "more"; readonly answer: Uint8Array }
  /** The client wants this destination; `rest` came after the request and belongs to the application. */
  | {
      readonly kind: "connect";
      readonly answer: Uint8Array;
      readonly destination: SocketAddress | HostPort;
      readonly rest: Uint8Array;
    }
  /** Write `answer`, then close. */
  | { readonly kind: "refuse"; readonly answer: Uint8Array; readonly message: string };

const version = 5;
const noAuthentication = 0;
const noAcceptableMethod = 0xff;
const connectCommand = 1;
/** The largest request: greeting 2+255, request 4+1+255+2. A client that sends more before it is answered is refused. */
const bufferedBytesMax = 1024;
const nothing = new Uint8Array(0);

export class Socks5Server {
  #buffer: Uint8Array = nothing;
  #greeted = false;

  receive(bytes: Uint8Array): Socks5Step {
    this.#buffer = this.#buffer.length === 0 ? bytes : concatenate(this.#buffer, bytes);
    if (this.#greeted) return this.#request(nothing);
    const greeting = this.#greeting();
    if (!this.#greeted || this.#buffer.length === 0) return greeting;
    // A client that does not wait for the method is served too.
    return this.#request(greeting.answer);
  }

  /** The reply to the request (RFC 1928 §6); the bound address is not told. */
  static reply(code: Socks5Reply): Uint8Array {
    return Uint8Array.from([version, code, 0, 1, 0, 0, 0, 0, 0, 0]);
  }

  #waitForMore(answer: Uint8Array): Socks5Step {
    if (this.#buffer.length <= bufferedBytesMax) return { kind: "more", answer };
    return { kind: "refuse", answer: nothing, message: "SOCKS5 request too long" };
  }

  #greeting(): Socks5Step {
    const buffer = this.#buffer;
    if (buffer.length > 0 && buffer[0] !== version)
      return { kind: "refuse", answer: nothing, message: "not SOCKS5" };
    const methods = buffer[1];
    if (methods === undefined || buffer.length < 2 + methods) return this.#waitForMore(nothing);
    const offered = buffer.subarray(2, 2 + methods);
    if (!offered.includes(noAuthentication)) {
      const answer = Uint8Array.from([version, noAcceptableMethod]);
      return { kind: "refuse", answer, message: "SOCKS5 client insists on authentication" };
    }
    this.#greeted = true;
    this.#buffer = buffer.subarray(2 + methods);
    return { kind: "more", answer: Uint8Array.from([version, noAuthentication]) };
  }

  #request(answer: Uint8Array): Socks5Step {
    const buffer = this.#buffer;
    if (buffer.length < 5) return this.#waitForMore(answer);
    if (buffer[0] !== version) return refuse(answer, socks5Reply.generalFailure, "not SOCKS5");
    if (buffer[1] !== connectCommand)
      return refuse(answer, socks5Reply.commandNotSupported, "only CONNECT is served");
    const addressLength = this.#addressLength();
    if (addressLength === null)
      return refuse(answer, socks5Reply.addressTypeNotSupported, "unknown address type");
    const end = 4 + addressLength + 2;
    if (buffer.length < end) return this.#waitForMore(answer);
    const port = ((buffer[end - 2] ?? 0) << 8) | (buffer[end - 1] ?? 0);
    const destination = this.#destination(buffer.subarray(4, end - 2), port);
    if (destination === null)
      return refuse(answer, socks5Reply.addressTypeNotSupported, "bad destination name");
    this.#buffer = nothing;
    return { kind: "connect", answer, destination, rest: buffer.subarray(end) };
  }

  #addressLength(): number | null {
    switch (this.#buffer[3]) {
      case 1:
        return 4;
      case 3:
        return 1 + (this.#buffer[4] ?? 0);
      case 4:
        return 16;
      default:
        return null;
    }
  }

  #destination(address: Uint8Array, port: number): SocketAddress | HostPort | null {
    if (this.#buffer[3] !== 3) {
      const ip = IpAddress.fromBytes(address);
      return ip === null ? null : { ip, port };
    }
    const host = String.fromCharCode(...address.subarray(1));
    // Clients pass literal addresses as names too (curl --socks5-hostname).
    const ip = IpAddress.parse(host);
    if (ip !== null) return { ip, port };
    return /^[A-Za-z0-9._-]{1,253}$/.test(host) ? { host: host.toLowerCase(), port } : null;
  }
}

function refuse(answer: Uint8Array, code: Socks5Reply, message: string): Socks5Step {
  return { kind: "refuse", answer: concatenate(answer, Socks5Server.reply(code)), message };
}

function concatenate(first: Uint8Array, second: Uint8Array): Uint8Array {
  const joined = new Uint8Array(first.length + second.length);
  joined.set(first);
  joined.set(second, first.length);
  return joined;
}
