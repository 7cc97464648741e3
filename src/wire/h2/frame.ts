/** Frame types and flags (RFC 9113 §6), and the nine bytes in front of every frame (§4.1). */
export const frameType = {
  data: 0x0,
  headers: 0x1,
  priority: 0x2,
  rstStream: 0x3,
  settings: 0x4,
  pushPromise: 0x5,
  ping: 0x6,
  goAway: 0x7,
  windowUpdate: 0x8,
  continuation: 0x9,
} as const;

export const frameFlag = {
  endStream: 0x1,
  ack: 0x1,
  endHeaders: 0x4,
  padded: 0x8,
  priority: 0x20,
} as const;

export const frameHeadBytes = 9;
/** The smallest and largest SETTINGS_MAX_FRAME_SIZE (RFC 9113 §4.2). */
export const minimumMaxFrameBytes = 16_384;
export const maximumMaxFrameBytes = 16_777_215;
/** The largest window and the largest stream identifier: 31 bits (RFC 9113 §6.9.1, §5.1.1). */
export const maxWindowBytes = 0x7fffffff;
export const maxStreamId = 0x7fffffff;
export const defaultWindowBytes = 65_535;

/** What a client says first, before its SETTINGS (RFC 9113 §3.4). */
export const clientPreface = /* @__PURE__ */ new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

/** Writes the nine bytes at `at`; there must be room. */
export function writeFrameHead(
  target: Uint8Array,
  at: number,
  length: number,
  type: number,
  flags: number,
  streamId: number,
): void {
  target[at] = length >>> 16;
  target[at + 1] = length >>> 8;
  target[at + 2] = length;
  target[at + 3] = type;
  target[at + 4] = flags;
  writeUint32(target, at + 5, streamId);
}

export function writeUint32(target: Uint8Array, at: number, value: number): void {
  target[at] = value >>> 24;
  target[at + 1] = value >>> 16;
  target[at + 2] = value >>> 8;
  target[at + 3] = value;
}

/** An unsigned 32-bit number in network order. Bytes beyond the end count as zero: the caller has checked the length. */
export function readUint32(source: Uint8Array, at: number): number {
  return (readUint31(source, at) | ((source[at] ?? 0) & 0x80 ? 0x80000000 : 0)) >>> 0;
}

/** The same without the reserved first bit: stream identifiers and window increments. */
export function readUint31(source: Uint8Array, at: number): number {
  return (
    (((source[at] ?? 0) & 0x7f) << 24) |
    ((source[at + 1] ?? 0) << 16) |
    ((source[at + 2] ?? 0) << 8) |
    (source[at + 3] ?? 0)
  );
}
