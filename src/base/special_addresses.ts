/**
 * Addresses that are not on the public Internet. A URL that somebody configures must not reach what is only reachable from
 * here (server-side request forgery): metadata services, neighbours, ourselves. From the IANA special-purpose address
 * registries (RFC 6890), as of the documents cited; what is unassigned fails closed for IPv6, where only 2000::/3 is global unicast.
 */
import { assert } from "./assert.ts";
import { IpAddress } from "./ip.ts";
import { type IpPrefix, parseIpPrefix, prefixContains } from "./prefix.ts";

const ipv4: readonly (readonly [prefix: string, what: string])[] = [
  ["0.0.0.0/8", "this network (RFC 791 §3.2)"],
  ["10.0.0.0/8", "private (RFC 1918)"],
  ["100.64.0.0/10", "shared address space (RFC 6598)"],
  ["127.0.0.0/8", "loopback (RFC 1122 §3.2.1.3)"],
  ["169.254.0.0/16", "link-local (RFC 3927)"],
  ["172.16.0.0/12", "private (RFC 1918)"],
  ["192.0.0.0/24", "IETF protocol assignments (RFC 6890 §2.1)"],
  ["192.0.2.0/24", "documentation (RFC 5737)"],
  ["192.31.196.0/24", "AS112 (RFC 7535)"],
  ["192.52.193.0/24", "automatic multicast tunneling (RFC 7450)"],
  ["192.88.99.0/24", "6to4 relay anycast (RFC 7526)"],
  ["192.168.0.0/16", "private (RFC 1918)"],
  ["192.175.48.0/24", "AS112 (RFC 7534)"],
  ["198.18.0.0/15", "benchmarking (RFC 2544)"],
  ["198.51.100.0/24", "documentation (RFC 5737)"],
  ["203.0.113.0/24", "documentation (RFC 5737)"],
  ["224.0.0.0/4", "multicast (RFC 5771)"],
  ["240.0.0.0/4", "reserved (RFC 1112 §4)"],
];

const ipv6: readonly (readonly [prefix: string, what: string])[] = [
  ["::/128", "unspecified (RFC 4291 §2.5.2)"],
  ["::1/128", "loopback (RFC 4291 §2.5.3)"],
  ["::/96", "IPv4-compatible (RFC 4291 §2.5.5.1)"],
  ["64:ff9b:1::/48", "local-use translation (RFC 8215)"],
  ["100::/64", "discard-only (RFC 6666)"],
  ["fc00::/7", "unique local (RFC 4193)"],
  ["fe80::/10", "link-local (RFC 4291 §2.5.6)"],
  ["fec0::/10", "site-local (RFC 3879)"],
  ["ff00::/8", "multicast (RFC 4291 §2.7)"],
  ["2001::/23", "IETF protocol assignments, Teredo among them (RFC 2928, RFC 4380)"],
  ["2001:db8::/32", "documentation (RFC 3849)"],
  ["2002::/16", "6to4 (RFC 3056)"],
  ["2620:4f:8000::/48", "AS112 (RFC 7534)"],
  ["3fff::/20", "documentation (RFC 9637)"],
];

interface SpecialRange {
  readonly prefix: IpPrefix;
  readonly what: string;
}

const ranges: Readonly<Record<"ipv4" | "ipv6", readonly SpecialRange[]>> = {
  ipv4: ipv4.map(readRange),
  ipv6: ipv6.map(readRange),
};
/** Well-known prefix of NAT64 (RFC 6052 §2.1): the IPv4 address inside is where it goes. */
const nat64 = readPrefix("64:ff9b::/96");
const globalUnicast = readPrefix("2000::/3");

/** @returns what `ip` is, with the document that says so; null for an address of the public Internet. */
export function specialAddress(ip: IpAddress): string | null {
  if (ip.isIpv4) return find(ranges.ipv4, ip);
  if (prefixContains(nat64, ip)) {
    const inside = IpAddress.fromBytes(ip.bytes.subarray(12));
    assert(inside !== null, "four bytes are an IPv4 address");
    const what = specialAddress(inside);
    return what === null ? null : `translated to ${inside.text}, ${what}`;
  }
  const known = find(ranges.ipv6, ip);
  if (known !== null) return known;
  return prefixContains(globalUnicast, ip) ? null : "not global unicast (RFC 4291 §2.4)";
}

function find(among: readonly SpecialRange[], ip: IpAddress): string | null {
  return among.find(({ prefix }) => prefixContains(prefix, ip))?.what ?? null;
}

function readRange([text, what]: readonly [string, string]): SpecialRange {
  return { prefix: readPrefix(text), what };
}

function readPrefix(text: string): IpPrefix {
  const prefix = parseIpPrefix(text);
  assert(prefix !== null, `${text} is a prefix`);
  return prefix;
}
