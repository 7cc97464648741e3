/**
 * Sends packets that no socket would: `packets.ts KIND FROM SPORT TO DPORT`. Kinds: `ack` (bare, with a TCP-MD5 option, which a kernel
 * without a key for it swallows), `syn`, and each as `-fragments` (in two fragments) or `-options` (IPv6 destination options before TCP).
 */
import { dlopen } from "bun:ffi";
import { assert } from "../../src/base/assert.ts";
import { IpAddress } from "../../src/base/ip.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_RAW = 3;
const IPPROTO_RAW = 255;

const { symbols: libc } = dlopen("libc.so.6", {
  socket: { args: ["i32", "i32", "i32"], returns: "i32" },
  sendto: { args: ["i32", "ptr", "u64", "i32", "ptr", "u32"], returns: "i64" },
});

const [, , kind = "", fromText = "", sport = "0", toText = "", dport = "0"] = process.argv;
const from = address(fromText);
const to = address(toText);
const tcp = segment(kind.startsWith("syn"));
const packets = from.isIpv4 ? ipv4Packets(tcp, kind) : ipv6Packets(tcp, kind);
for (const packet of packets) send(packet);

function address(text: string): IpAddress {
  const ip = IpAddress.parse(text);
  assert(ip !== null, `not an address: ${text}`);
  return ip;
}

function segment(isSyn: boolean): Uint8Array {
  // RFC 2385: kind 19, length 18, then a digest of 16 bytes; two NOPs fill it up.
  const options = isSyn ? new Array<number>(12).fill(1) : [19, 18, ...new Array<number>(16).fill(0xaa), 1, 1];
  const bytes = new Uint8Array(20 + options.length);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, Number(sport));
  view.setUint16(2, Number(dport));
  view.setUint32(4, 1000);
  view.setUint32(8, isSyn ? 0 : 2000);
  bytes[12] = (bytes.length / 4) << 4;
  bytes[13] = isSyn ? 0x02 : 0x10;
  view.setUint16(14, 64240);
  bytes.set(options, 20);
  const pseudo = [...from.bytes, ...to.bytes, 0, 6, bytes.length >> 8, bytes.length & 0xff];
  view.setUint16(16, checksum([...pseudo, ...bytes]));
  return bytes;
}

function checksum(bytes: readonly number[]): number {
  let sum = 0;
  for (let index = 0; index < bytes.length; index += 2)
    sum += ((bytes[index] ?? 0) << 8) | (bytes[index + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

/** A first fragment of eight bytes holds the ports and no flags. */
function ipv4Packets(payload: Uint8Array, how: string): Uint8Array[] {
  const parts: [Uint8Array, number][] = how.includes("fragments")
    ? [
        [payload.subarray(0, 8), 0x2000],
        [payload.subarray(8), 1],
      ]
    : [[payload, 0]];
  return parts.map(([part, fragment]) => {
    const bytes = new Uint8Array(20 + part.length);
    const view = new DataView(bytes.buffer);
    bytes[0] = 0x45;
    view.setUint16(2, bytes.length);
    view.setUint16(4, Number(sport));
    view.setUint16(6, fragment);
    bytes[8] = 64;
    bytes[9] = 6;
    bytes.set(from.bytes, 12);
    bytes.set(to.bytes, 16);
    view.setUint16(10, checksum([...bytes.subarray(0, 20)]));
    bytes.set(part, 20);
    return bytes;
  });
}

/** Linux drops a first fragment that does not hold the whole of TCP's header (RFC 7112). */
function ipv6Packets(payload: Uint8Array, how: string): Uint8Array[] {
  const fragment = (offset: number, more: number): number[] => [
    6,
    0,
    offset >> 8,
    offset | more,
    0,
    0,
    0,
    Number(sport) & 0xff,
  ];
  const parts: [first: number, header: number[], Uint8Array][] = how.includes("fragments")
    ? [
        [44, fragment(0, 1), payload.subarray(0, 24)],
        [44, fragment(24, 0), payload.subarray(24)],
      ]
    : how.includes("options")
      ? // Eight bytes: TCP follows, no further eight, one PadN option of four.
        [[60, [6, 0, 1, 4, 0, 0, 0, 0], payload]]
      : [[6, [], payload]];
  return parts.map(([first, header, part]) => {
    const bytes = new Uint8Array(40 + header.length + part.length);
    const view = new DataView(bytes.buffer);
    bytes[0] = 0x60;
    view.setUint16(4, header.length + part.length);
    bytes[6] = first;
    bytes[7] = 64;
    bytes.set(from.bytes, 8);
    bytes.set(to.bytes, 24);
    bytes.set(header, 40);
    bytes.set(part, 40 + header.length);
    return bytes;
  });
}

function send(packet: Uint8Array): void {
  const family = from.isIpv4 ? AF_INET : AF_INET6;
  const socket = libc.socket(family, SOCK_RAW, IPPROTO_RAW);
  assert(socket >= 0, "raw sockets need root");
  const where = new Uint8Array(28);
  where[0] = family;
  where.set(to.bytes, from.isIpv4 ? 4 : 8);
  const sent = libc.sendto(socket, packet, packet.length, 0, where, from.isIpv4 ? 16 : 28);
  assert(Number(sent) === packet.length, `sendto gave ${sent}`);
}
