/** Writes one section of a policy image: u32 words, little-endian as WebAssembly reads them, offsets in bytes. */
import { assert } from "../../base/assert.ts";

/**
 * Typed arrays are in the machine's byte order and WebAssembly is little-endian: on a machine of the other order every policy would be
 * read wrong.
 * @param one the bytes of the word 1, as the machine has them.
 */
export function assertLittleEndian(one: Uint8Array): void {
  assert(one[0] === 1, "a big-endian machine");
}
assertLittleEndian(new Uint8Array(Uint32Array.of(1).buffer));

export class WordWriter {
  #words = new Uint32Array(256);
  #count = 0;

  /** Bytes written; where the next word goes. */
  get offset(): number {
    return this.#count * 4;
  }

  push(word: number): void {
    this.#makeRoom(1);
    this.#words[this.#count++] = word;
  }

  pushAll(words: ArrayLike<number>): void {
    this.#makeRoom(words.length);
    this.#words.set(words, this.#count);
    this.#count += words.length;
  }

  /** Leaves `count` zero words for `set` to fill. @returns their offset. */
  reserve(count: number): number {
    const offset = this.offset;
    this.#makeRoom(count);
    this.#count += count;
    return offset;
  }

  set(offset: number, word: number): void {
    assert(offset % 4 === 0 && offset < this.offset, "a word that was not reserved");
    this.#words[offset / 4] = word;
  }

  /** Pads to a multiple of 8 bytes, where a u64 may be. @returns the offset. */
  align(): number {
    if (this.#count % 2 === 1) this.push(0);
    return this.offset;
  }

  /** A view of what was written, a multiple of 8 bytes; valid until the next write. */
  finish(): Uint32Array {
    this.align();
    return this.#words.subarray(0, this.#count);
  }

  /** Starts over, keeping the memory. */
  clear(): void {
    this.#words.fill(0, 0, this.#count);
    this.#count = 0;
  }

  #makeRoom(count: number): void {
    const needed = this.#count + count;
    if (needed <= this.#words.length) return;
    const words = new Uint32Array(2 * needed);
    words.set(this.#words);
    this.#words = words;
  }
}
