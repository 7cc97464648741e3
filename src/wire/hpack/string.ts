/**
 * Bytes of header names and values to strings, one code unit a byte, and the character rules of RFC 9113 §8.2.1,
 * checked in the same pass. Bytes of 0x80 and above survive as code units 0x80 to 0xff.
 */

const textDecoder = new TextDecoder("latin1");
/** Up to here the call into the decoder costs more than it saves; measured. */
const shortBytes = 8;
/** Scratch for short strings, by length. */
const shortCodes = Array.from({ length: shortBytes + 1 }, (_, length) => new Array<number>(length).fill(0));
/** Most arguments of one call; engines bound them by the stack. */
const applyBytes = 4096;

/** 1 for the bytes a field name may have here: token characters (RFC 9110 §5.6.2) without upper case. */
const isNameByte = new Uint8Array(256);
for (const character of "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") {
  isNameByte[character.charCodeAt(0)] = 1;
}

/** Lower-case token, or a pseudo-header: a colon in front of one. */
export function isWellFormedName(bytes: Uint8Array, from: number, to: number): boolean {
  const start = bytes[from] === 0x3a ? from + 1 : from;
  if (start >= to) return false;
  for (let i = start; i < to; i++) if (isNameByte[bytes[i] ?? 0] !== 1) return false;
  return true;
}

/** No NUL, CR or LF anywhere, no space or tab at either end. */
export function isWellFormedValue(bytes: Uint8Array, from: number, to: number): boolean {
  if (from === to) return true;
  if (isBlank(bytes[from]) || isBlank(bytes[to - 1])) return false;
  for (let i = from; i < to; i++) {
    const byte = bytes[i] ?? 0;
    if (byte <= 0x0d && (byte === 0x0d || byte === 0x0a || byte === 0)) return false;
  }
  return true;
}

/** Longer ones are rarely the same again, and dear to compare. */
const longestKnownBytes = 40;
/** A power of two. */
const knownPlaces = 64;

/**
 * Strings that came not long ago, each at the place that its bytes say: of one connection, since most requests say what the one before said.
 * To compare costs a quarter of what it costs to make a string.
 */
export class KnownStrings {
  #places: string[] = [];

  /** @returns null when it is not known. */
  find(bytes: Uint8Array, from: number, to: number): string | null {
    if (to - from < 1 || to - from > longestKnownBytes) return null;
    const text = this.#places[placeOf(bytes, from, to)];
    if (text === undefined || text.length !== to - from) return null;
    for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) !== bytes[from + i]) return null;
    return text;
  }

  /** @param text of these bytes. */
  keep(text: string, bytes: Uint8Array, from: number, to: number): void {
    if (to - from < 1 || to - from > longestKnownBytes) return;
    if (this.#places.length === 0) this.#places = new Array<string>(knownPlaces).fill("");
    this.#places[placeOf(bytes, from, to)] = text;
  }
}

/** By length, beginning and end: what differs in names, paths, dates and counts. */
function placeOf(bytes: Uint8Array, from: number, to: number): number {
  const middle = (from + to) >>> 1;
  const nearEnd = Math.max(from, to - 2);
  const sum =
    (to - from) * 31 + (bytes[from] ?? 0) * 7 + (bytes[middle] ?? 0) * 5 + (bytes[nearEnd] ?? 0) * 3;
  return (sum + (bytes[to - 1] ?? 0)) & (knownPlaces - 1);
}

function isBlank(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x09;
}

/** One code unit per byte. Never built by concatenation: the ropes would stay in the header table, a node a character. */
export function latin1String(bytes: Uint8Array, from: number, to: number): string {
  // `latin1` in the Encoding standard is windows-1252: right for ASCII only.
  if (to - from > shortBytes && isAscii(bytes, from, to)) return textDecoder.decode(bytes.subarray(from, to));
  if (to - from > applyBytes) {
    return latin1String(bytes, from, from + applyBytes) + latin1String(bytes, from + applyBytes, to);
  }
  const codes = to - from > shortBytes ? new Array<number>(to - from) : (shortCodes[to - from] ?? []);
  for (let i = from; i < to; i++) codes[i - from] = bytes[i] ?? 0;
  return String.fromCharCode.apply(null, codes);
}

function isAscii(bytes: Uint8Array, from: number, to: number): boolean {
  let all = 0;
  for (let i = from; i < to; i++) all |= bytes[i] ?? 0;
  return all < 0x80;
}
