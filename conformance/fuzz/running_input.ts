/**
 * The input that a worker is about to run, in memory that outlives it: what hangs, or takes the whole process down, is found there by the
 * one who watches.
 */
import { closeSync, ftruncateSync, openSync } from "node:fs";

const headBytes = 8;
export const maxInputBytes = 256 * 1024;

export class RunningInput {
  readonly #head: Uint32Array;
  readonly #bytes: Uint8Array;

  /** @param path of a file that both processes map; it is made when it is not there. */
  constructor(path: string) {
    const file = openSync(path, "a+");
    ftruncateSync(file, headBytes + maxInputBytes);
    closeSync(file);
    const mapped = Bun.mmap(path, { shared: true });
    this.#head = new Uint32Array(mapped.buffer, mapped.byteOffset, 2);
    this.#bytes = mapped.subarray(headBytes);
  }

  set(input: Uint8Array): void {
    this.#head[1] = Math.min(input.length, maxInputBytes);
    this.#bytes.set(input.subarray(0, maxInputBytes));
    this.#head[0] = ((this.#head[0] ?? 0) + 1) >>> 0;
  }

  /** How many there have been, and the last one. */
  get(): { readonly count: number; readonly input: Uint8Array } {
    return { count: this.#head[0] ?? 0, input: this.#bytes.slice(0, this.#head[1] ?? 0) };
  }
}
