/**
 * SHA-256 (FIPS 180-4), synchronous: WebCrypto's answers later, which neither a transaction nor a machine can wait for. For
 * content addresses and chains; keys and signatures are `pki/`'s.
 */

const roundConstants = Int32Array.from(fractions(64, 3));
const initialHash = fractions(8, 2);
const blockBytes = 64;
/** The padding's least: the one bit, and the length in 64 bits. */
const trailerBytes = 9;

/** @returns 32 bytes. */
export function sha256(...parts: readonly Uint8Array[]): Uint8Array {
  const message = padded(parts);
  const view = new DataView(message.buffer);
  const hash = Int32Array.from(initialHash);
  const schedule = new Int32Array(64);
  for (let offset = 0; offset < message.length; offset += blockBytes) compress(hash, schedule, view, offset);
  const digest = new Uint8Array(32);
  const words = new DataView(digest.buffer);
  hash.forEach((word, index) => void words.setInt32(index * 4, word));
  return digest;
}

export function sha256Hex(...parts: readonly Uint8Array[]): string {
  return sha256(...parts).toHex();
}

/** §5.1.1 */
function padded(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const blocks = Math.ceil((length + trailerBytes) / blockBytes);
  const message = new Uint8Array(blocks * blockBytes);
  let offset = 0;
  for (const part of parts) {
    message.set(part, offset);
    offset += part.length;
  }
  message[length] = 0x80;
  new DataView(message.buffer).setBigUint64(message.length - 8, BigInt(length) * 8n);
  return message;
}

/** §6.2.2. Plain assignments: turning the registers round as an array costs thirty times as much. */
function compress(hash: Int32Array, schedule: Int32Array, view: DataView, offset: number): void {
  for (let t = 0; t < 16; t++) schedule[t] = view.getInt32(offset + t * 4);
  for (let t = 16; t < 64; t++) {
    const w15 = word(schedule, t - 15);
    const w2 = word(schedule, t - 2);
    const s0 = rotate(w15, 7) ^ rotate(w15, 18) ^ (w15 >>> 3);
    const s1 = rotate(w2, 17) ^ rotate(w2, 19) ^ (w2 >>> 10);
    schedule[t] = (word(schedule, t - 16) + s0 + word(schedule, t - 7) + s1) | 0;
  }
  let a = word(hash, 0);
  let b = word(hash, 1);
  let c = word(hash, 2);
  let d = word(hash, 3);
  let e = word(hash, 4);
  let f = word(hash, 5);
  let g = word(hash, 6);
  let h = word(hash, 7);
  for (let t = 0; t < 64; t++) {
    const s1 = rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25);
    const choice = (e & f) ^ (~e & g);
    const t1 = (h + s1 + choice + word(roundConstants, t) + word(schedule, t)) | 0;
    const s0 = rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22);
    const majority = (a & b) ^ (a & c) ^ (b & c);
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b;
    b = a;
    a = (t1 + s0 + majority) | 0;
  }
  hash[0] = word(hash, 0) + a;
  hash[1] = word(hash, 1) + b;
  hash[2] = word(hash, 2) + c;
  hash[3] = word(hash, 3) + d;
  hash[4] = word(hash, 4) + e;
  hash[5] = word(hash, 5) + f;
  hash[6] = word(hash, 6) + g;
  hash[7] = word(hash, 7) + h;
}

/** In signed 32 bits, which is what the arithmetic of the language is fast on. */
function word(words: Int32Array, index: number): number {
  return (words[index] ?? 0) | 0;
}

function rotate(word: number, bits: number): number {
  return (word >>> bits) | (word << (32 - bits));
}

/** The first 32 bits of the fractional parts of the `root`th roots of the first primes (§4.2.2, §5.3.3), in whole numbers. */
function fractions(count: number, root: 2 | 3): Uint32Array {
  const words = new Uint32Array(count);
  let found = 0;
  for (let candidate = 2; found < count; candidate++) {
    if (!isPrime(candidate)) continue;
    words[found++] = Number(integerRoot(BigInt(candidate) << BigInt(32 * root), root) & 0xffff_ffffn);
  }
  return words;
}

function isPrime(candidate: number): boolean {
  for (let divisor = 2; divisor * divisor <= candidate; divisor++)
    if (candidate % divisor === 0) return false;
  return true;
}

/** The largest whole number whose `root`th power is not more than `value`, by bisection. */
function integerRoot(value: bigint, root: 2 | 3): bigint {
  let low = 0n;
  let high = 1n << 40n;
  while (low < high) {
    const middle = (low + high + 1n) / 2n;
    if (middle ** BigInt(root) <= value) low = middle;
    else high = middle - 1n;
  }
  return low;
}
