/**
 * HPACK's Huffman code (RFC 7541 §5.2, Appendix B). The code is canonical: symbols sorted by length, then by value, get
 * consecutive codes. So the lengths say everything and the table of the RFC need not be written out; the test compares
 * with the RFC's own examples.
 */

/** Code length in bits of each byte value; EOS, the 257th symbol, has 30. */
// biome-ignore format: a table
const codeLengths: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
  28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
  5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
  7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
  6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
  24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
  21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
  19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
  26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

const endOfString = 256;
const longestCode = 30;
const firstLookupBits = 8;

const lengthOf = new Uint8Array(257);
const codeOf = new Uint32Array(257);
/** Per code length: the first code, how many there are, and where their symbols start in `symbols`. */
const firstCode = new Uint32Array(longestCode + 1);
const codeCount = new Uint16Array(longestCode + 1);
const firstSymbol = new Uint16Array(longestCode + 1);
const symbols = new Uint16Array(257);
/** By the next eight bits: symbol << 4 | length for codes of at most eight bits, else 0. */
const shortCodes = new Uint16Array(1 << firstLookupBits);

buildTables();

function buildTables(): void {
  lengthOf.set(codeLengths);
  lengthOf[endOfString] = longestCode;
  let code = 0;
  let sorted = 0;
  for (let bits = 1; bits <= longestCode; bits++) {
    code *= 2;
    firstCode[bits] = code;
    firstSymbol[bits] = sorted;
    for (let symbol = 0; symbol <= endOfString; symbol++) {
      if (lengthOf[symbol] !== bits) continue;
      codeOf[symbol] = code;
      symbols[sorted++] = symbol;
      if (bits <= firstLookupBits) fillShortCodes(symbol, code, bits);
      code++;
    }
    codeCount[bits] = sorted - (firstSymbol[bits] ?? 0);
  }
}

function fillShortCodes(symbol: number, code: number, bits: number): void {
  const spare = firstLookupBits - bits;
  for (let tail = 0; tail < 1 << spare; tail++) shortCodes[(code << spare) | tail] = (symbol << 4) | bits;
}

/** How many bytes `text` (code units 0 to 255) takes when Huffman coded, padding included. */
export function huffmanLength(text: string): number {
  let bits = 0;
  for (let i = 0; i < text.length; i++) bits += lengthOf[text.charCodeAt(i)] ?? 0;
  return (bits + 7) >>> 3;
}

/** Writes `text` (code units 0 to 255) at `at`, where `huffmanLength(text)` bytes must be free. @returns the position after it. */
export function huffmanEncode(text: string, target: Uint8Array, at: number): number {
  // The accumulator never holds more than 7 + 30 bits, so a code is split in two parts to stay within 32-bit integers.
  let pending = 0;
  let pendingBits = 0;
  for (let i = 0; i < text.length; i++) {
    const symbol = text.charCodeAt(i);
    const code = codeOf[symbol] ?? 0;
    let left = lengthOf[symbol] ?? 0;
    while (left > 0) {
      const room = Math.min(left, 24 - pendingBits);
      left -= room;
      pending = (pending << room) | ((code >>> left) & ((1 << room) - 1));
      pendingBits += room;
      while (pendingBits >= 8) {
        pendingBits -= 8;
        target[at++] = pending >>> pendingBits;
      }
      pending &= 0xff;
    }
  }
  // Padding is the start of EOS: ones (RFC 7541 §5.2).
  if (pendingBits > 0) target[at++] = (pending << (8 - pendingBits)) | (0xff >>> pendingBits);
  return at;
}

/**
 * Decodes `source[from, to)` into `target`, which needs room for 8/5 of the input (the shortest code has five bits).
 *
 * @returns how many bytes were written, or -1: EOS inside, padding of more than seven bits, or padding that is not ones
 *   (RFC 7541 §5.2 wants each treated as a decoding error).
 */
export function huffmanDecode(source: Uint8Array, from: number, to: number, target: Uint8Array): number {
  let written = 0;
  let window = 0;
  let bits = 0;
  let at = from;
  for (;;) {
    while (bits <= 16 && at < to) {
      window = ((window << 8) | (source[at++] ?? 0)) & 0xffffff;
      bits += 8;
    }
    if (bits < 8) break;
    const entry = shortCodes[(window >>> (bits - 8)) & 0xff] ?? 0;
    if (entry !== 0) {
      bits -= entry & 15;
      target[written++] = entry >>> 4;
      continue;
    }
    // A code of more than eight bits: rare in headers, so it is read bit by bit from the source.
    const long = decodeLong(source, at * 8 - bits, to * 8);
    // Eight bits or more that are no symbol cannot be padding.
    if (long < 0) return -1;
    target[written++] = long >>> 5;
    const next = at * 8 - bits + (long & 31);
    at = (next + 7) >>> 3;
    bits = at * 8 - next;
    window = bits > 0 ? (source[at - 1] ?? 0) : 0;
  }
  return finish(window, bits, target, written);
}

/** The last seven bits or fewer: perhaps one more symbol, then padding. */
function finish(window: number, bits: number, target: Uint8Array, written: number): number {
  while (bits >= 5) {
    const padded = ((window << (8 - bits)) | (0xff >>> bits)) & 0xff;
    const entry = shortCodes[padded] ?? 0;
    const length = entry & 15;
    if (entry === 0 || length > bits) break;
    bits -= length;
    target[written++] = entry >>> 4;
  }
  return (window & ((1 << bits) - 1)) === (1 << bits) - 1 ? written : -1;
}

/** @returns symbol << 5 | length, or -1 when the bits run out or spell EOS. */
function decodeLong(source: Uint8Array, fromBit: number, toBit: number): number {
  let code = 0;
  for (let bits = 1; bits <= longestCode && fromBit + bits <= toBit; bits++) {
    const position = fromBit + bits - 1;
    code = code * 2 + (((source[position >>> 3] ?? 0) >>> (7 - (position & 7))) & 1);
    const offset = code - (firstCode[bits] ?? 0);
    if (offset < (codeCount[bits] ?? 0)) {
      const symbol = symbols[(firstSymbol[bits] ?? 0) + offset] ?? endOfString;
      return symbol === endOfString ? -1 : (symbol << 5) | bits;
    }
  }
  return -1;
}
