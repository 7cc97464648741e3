/** IP addresses as values: parsed once, compared by text, handed to policy as bytes. */

/** An IPv4 (4 bytes) or IPv6 (16 bytes) address. An IPv4-mapped IPv6 address (`::ffff:a.b.c.d`) is always held as IPv4. */
export class IpAddress {
  /** Network byte order, 4 or 16 bytes. Not to be written to. */
  readonly bytes: Uint8Array;
  /** Canonical text (RFC 5952), usable as a map key. */
  readonly text: string;

  private constructor(bytes: Uint8Array, text: string) {
    this.bytes = bytes;
    this.text = text;
  }

  get isIpv4(): boolean {
    return this.bytes.length === 4;
  }

  get isLoopback(): boolean {
    return this.isIpv4 ? this.bytes[0] === 127 : this.text === "::1";
  }

  /** @returns null when `bytes` is neither 4 nor 16 bytes long. */
  static fromBytes(bytes: Uint8Array): IpAddress | null {
    if (bytes.length === 4) return new IpAddress(bytes.slice(), formatIpv4(bytes));
    if (bytes.length !== 16) return null;
    if (isMappedIpv4(bytes)) {
      const ipv4 = bytes.slice(12);
      return new IpAddress(ipv4, formatIpv4(ipv4));
    }
    return new IpAddress(bytes.slice(), formatIpv6(bytes));
  }

  /** Strict parsing: dotted quad without leading zeros, or RFC 4291 §2.2 text without a zone. @returns null when it is neither. */
  static parse(text: string): IpAddress | null {
    const bytes = text.includes(":") ? parseIpv6(text) : parseIpv4(text);
    return bytes === null ? null : IpAddress.fromBytes(bytes);
  }

  /** 127.0.0.1 or ::1. */
  static loopback(isIpv4: boolean): IpAddress {
    const bytes = new Uint8Array(isIpv4 ? 4 : 16);
    if (isIpv4) bytes[0] = 127;
    bytes[bytes.length - 1] = 1;
    return new IpAddress(bytes, isIpv4 ? "127.0.0.1" : "::1");
  }

  equals(other: IpAddress): boolean {
    return this.text === other.text;
  }

  toString(): string {
    return this.text;
  }
}

export interface SocketAddress {
  readonly ip: IpAddress;
  /** 0 to 65535. */
  readonly port: number;
}

/** `10.0.0.1:80` or `[2001:db8::1]:80`. */
export function formatSocketAddress(address: SocketAddress): string {
  return address.ip.isIpv4 ? `${address.ip.text}:${address.port}` : `[${address.ip.text}]:${address.port}`;
}

/** A host and port as they are in an authority (RFC 3986 §3.2); the host is not looked at. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** An address, or a name with its port. */
export function formatAddress(address: SocketAddress | HostPort): string {
  return "ip" in address ? formatSocketAddress(address) : `${address.host}:${address.port}`;
}

/** Splits `host:port` or `[v6]:port`. @returns null without a port, with a port out of range, or with an empty host. */
export function parseHostPort(text: string): HostPort | null {
  const colon = text.lastIndexOf(":");
  if (colon <= 0) return null;
  const port = parsePort(text.slice(colon + 1));
  if (port === null) return null;
  const host = text.slice(0, colon);
  if (host.startsWith("["))
    return host.endsWith("]") && host.length > 2 ? { host: host.slice(1, -1), port } : null;
  return host.includes(":") ? null : { host, port };
}

/** @returns null unless `text` is an IP address with a port. */
export function parseSocketAddress(text: string): SocketAddress | null {
  const parts = parseHostPort(text);
  if (parts === null) return null;
  const ip = IpAddress.parse(parts.host);
  return ip === null || ip.isIpv4 === text.startsWith("[") ? null : { ip, port: parts.port };
}

/** Decimal digits only, 0 to 65535. */
export function parsePort(text: string): number | null {
  if (!/^[0-9]{1,5}$/.test(text)) return null;
  const port = Number(text);
  return port <= 65535 ? port : null;
}

function isMappedIpv4(bytes: Uint8Array): boolean {
  for (let index = 0; index < 10; index++) if (bytes[index] !== 0) return false;
  return bytes[10] === 0xff && bytes[11] === 0xff;
}

function formatIpv4(bytes: Uint8Array): string {
  return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
}

function formatIpv6(bytes: Uint8Array): string {
  const groups: number[] = [];
  for (let index = 0; index < 16; index += 2)
    groups.push(((bytes[index] ?? 0) << 8) | (bytes[index + 1] ?? 0));
  // RFC 5952 §4.2: the longest run of two or more zero groups, the first of equals, becomes "::".
  let bestStart = -1;
  let bestLength = 1;
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (end < 8 && groups[end] === 0) end++;
    if (end - start > bestLength) {
      bestStart = start;
      bestLength = end - start;
    }
    if (end > start) start = end;
  }
  const hex = groups.map((group) => group.toString(16));
  if (bestStart === -1) return hex.join(":");
  return `${hex.slice(0, bestStart).join(":")}::${hex.slice(bestStart + bestLength).join(":")}`;
}

function parseIpv4(text: string): Uint8Array | null {
  const parts = text.split(".");
  if (parts.length !== 4) return null;
  const bytes = new Uint8Array(4);
  for (let index = 0; index < 4; index++) {
    const part = parts[index] ?? "";
    if (!/^(0|[1-9][0-9]{0,2})$/.test(part)) return null;
    const value = Number(part);
    if (value > 255) return null;
    bytes[index] = value;
  }
  return bytes;
}

function parseIpv6(text: string): Uint8Array | null {
  let source = text;
  // A dotted quad may stand for the last two groups (RFC 4291 §2.2 form 3).
  const lastColon = source.lastIndexOf(":");
  const tail = source.slice(lastColon + 1);
  if (tail.includes(".")) {
    const ipv4 = parseIpv4(tail);
    if (ipv4 === null) return null;
    const high = (((ipv4[0] ?? 0) << 8) | (ipv4[1] ?? 0)).toString(16);
    const low = (((ipv4[2] ?? 0) << 8) | (ipv4[3] ?? 0)).toString(16);
    source = `${source.slice(0, lastColon + 1)}${high}:${low}`;
  }
  const halves = source.split("::");
  if (halves.length > 2) return null;
  const head = parseGroups(halves[0] ?? "");
  if (head === null) return null;
  if (halves.length === 1) return head.length === 8 ? groupsToBytes(head) : null;
  const rest = parseGroups(halves[1] ?? "");
  if (rest === null || head.length + rest.length > 7) return null;
  return groupsToBytes([...head, ...new Array<number>(8 - head.length - rest.length).fill(0), ...rest]);
}

function parseGroups(text: string): number[] | null {
  if (text === "") return [];
  const groups: number[] = [];
  for (const part of text.split(":")) {
    if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return null;
    groups.push(Number.parseInt(part, 16));
  }
  return groups;
}

function groupsToBytes(groups: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(16);
  for (let index = 0; index < 8; index++) {
    const group = groups[index] ?? 0;
    bytes[index * 2] = group >> 8;
    bytes[index * 2 + 1] = group & 0xff;
  }
  return bytes;
}
