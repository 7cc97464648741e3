/** Address prefixes: their text, what they hold, and their network address. The one place that masks. */
import { assert } from "./assert.ts";
import { IpAddress } from "./ip.ts";

/** An address prefix such as `10.0.0.0/8`. */
export interface IpPrefix {
  readonly ip: IpAddress;
  /** Prefix length in bits: 0 to 32 or 0 to 128. */
  readonly length: number;
}

/** Parses `a.b.c.d/n`, `v6/n`, or a bare address as /32 or /128. Host bits are kept as written; matching ignores them. */
export function parseIpPrefix(text: string): IpPrefix | null {
  const slash = text.indexOf("/");
  const ip = IpAddress.parse(slash === -1 ? text : text.slice(0, slash));
  if (ip === null) return null;
  const bits = ip.bytes.length * 8;
  if (slash === -1) return { ip, length: bits };
  const digits = text.slice(slash + 1);
  if (!/^(0|[1-9][0-9]{0,2})$/.test(digits)) return null;
  const length = Number(digits);
  return length <= bits ? { ip, length } : null;
}

/** Whether `ip` lies in `prefix`; addresses of another family never do. */
export function prefixContains(prefix: IpPrefix, ip: IpAddress): boolean {
  const network = prefix.ip.bytes;
  const bytes = ip.bytes;
  if (network.length !== bytes.length) return false;
  const whole = prefix.length >> 3;
  for (let index = 0; index < whole; index++) if (network[index] !== bytes[index]) return false;
  const rest = prefix.length & 7;
  if (rest === 0) return true;
  const mask = byteMask(prefix.length, whole);
  return ((network[whole] ?? 0) & mask) === ((bytes[whole] ?? 0) & mask);
}

/** Whether it holds one address only. */
export function isSingleAddress(prefix: IpPrefix): boolean {
  return prefix.length === prefix.ip.bytes.length * 8;
}

/** `10.1.2.3/8` as it was written, the host bits included. */
export function formatPrefix(prefix: IpPrefix): string {
  return `${prefix.ip.text}/${prefix.length}`;
}

/** The same without host bits, as nft and iptables want it: `10.0.0.0/8`. Two prefixes that hold the same addresses have the same text. */
export function formatNetwork(prefix: IpPrefix): string {
  return `${networkAddress(prefix).text}/${prefix.length}`;
}

/** The first address of the prefix. */
export function networkAddress(prefix: IpPrefix): IpAddress {
  const bytes = prefix.ip.bytes.map((byte, index) => byte & byteMask(prefix.length, index));
  const ip = IpAddress.fromBytes(bytes);
  assert(ip !== null, "masking keeps the length");
  return ip;
}

/** What of byte `index` of an address belongs to a prefix of `length` bits. Also for prefixes of other things than addresses. */
export function byteMask(length: number, index: number): number {
  const bits = Math.min(8, Math.max(0, length - index * 8));
  return 0xff & (0xff << (8 - bits));
}
