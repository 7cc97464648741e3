/**
 * PROXY protocol as it is written toward an application that asked for it (haproxy proxy-protocol.txt §2; ztunnel `proxy.rs`; Envoy
 * `proxy_protocol_header.cc`).
 */
import type { IpAddress, SocketAddress } from "../base/ip.ts";

const signature = [0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d, 0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a];
const versionAndProxyCommand = 0x21;
const versionAndLocalCommand = 0x20;
const tcpOverIpv4 = 0x11;
const tcpOverIpv6 = 0x21;

/** The TLV in which Istio carries the peer's SPIFFE URI. */
export const peerIdentityTlv = 0xd0;

/** Version 1. @param destination null when it is not known: then the line tells no addresses. */
export function encodeProxyLine(source: SocketAddress, destination: SocketAddress | null): Uint8Array {
  if (destination === null) return new TextEncoder().encode("PROXY UNKNOWN\r\n");
  const ipv4 = source.ip.isIpv4 && destination.ip.isIpv4;
  const [from, to] = [source.ip, destination.ip].map(({ isIpv4, text }) =>
    isIpv4 && !ipv4 ? `::ffff:${text}` : text,
  );
  return new TextEncoder().encode(
    `PROXY ${ipv4 ? "TCP4" : "TCP6"} ${from} ${to} ${source.port} ${destination.port}\r\n`,
  );
}

/**
 * Version 2: the header that precedes the application's bytes. Addresses of two families are both written as IPv6, the IPv4 one mapped.
 *
 * @param destination null when it is not known: then the header tells no addresses.
 * @param identity the peer's SPIFFE URI; null for plaintext, and then there is no TLV.
 */
export function encodeProxyHeader(
  source: SocketAddress,
  destination: SocketAddress | null,
  identity: string | null,
): Uint8Array {
  if (destination === null) return Uint8Array.from([...signature, versionAndLocalCommand, 0, 0, 0]);
  const ipv4 = source.ip.isIpv4 && destination.ip.isIpv4;
  const addresses = ipv4
    ? [...source.ip.bytes, ...destination.ip.bytes]
    : [...asIpv6(source.ip), ...asIpv6(destination.ip)];
  const value = identity === null ? new Uint8Array(0) : new TextEncoder().encode(identity);
  const tlv = identity === null ? [] : [peerIdentityTlv, value.length >> 8, value.length & 0xff, ...value];
  const length = addresses.length + 4 + tlv.length;
  return Uint8Array.from([
    ...signature,
    versionAndProxyCommand,
    ipv4 ? tcpOverIpv4 : tcpOverIpv6,
    length >> 8,
    length & 0xff,
    ...addresses,
    source.port >> 8,
    source.port & 0xff,
    destination.port >> 8,
    destination.port & 0xff,
    ...tlv,
  ]);
}

function asIpv6(ip: IpAddress): Uint8Array {
  if (!ip.isIpv4) return ip.bytes;
  const mapped = new Uint8Array(16);
  mapped.set([0xff, 0xff], 10);
  mapped.set(ip.bytes, 12);
  return mapped;
}
