/** So many bytes that no compression, repetition or lost chunk can fake: a counter in each block of pseudo-random ones. */

const blockBytes = 64 * 1024;

export class ByteSource {
  readonly #block = new Uint8Array(blockBytes);
  readonly #hasher = new Bun.CryptoHasher("sha256");
  #left: number;
  #count = 0;

  constructor(bytes: number) {
    this.#left = bytes;
    let state = 0x9e3779b9;
    for (let index = 0; index < blockBytes; index++) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      this.#block[index] = state >>> 24;
    }
  }

  /** A chunk of its own; null after the last. */
  next(): Uint8Array | null {
    if (this.#left === 0) return null;
    const chunk = this.#block.slice(0, Math.min(blockBytes, this.#left));
    new DataView(chunk.buffer).setUint32(0, this.#count++);
    this.#hasher.update(chunk);
    this.#left -= chunk.length;
    return chunk;
  }

  /** SHA-256 of what was given, in hexadecimal; once. */
  digest(): string {
    return this.#hasher.digest("hex");
  }
}
