/** Byte chunks in order, kept by reference in a ring: no node per chunk, no copy. */
export class ChunkQueue {
  #ring: (Uint8Array | undefined)[] = [undefined, undefined];
  #head = 0;
  #count = 0;
  /** Bytes of the first chunk that are gone already. */
  #offset = 0;

  push(chunk: Uint8Array): void {
    if (this.#count === this.#ring.length) this.#grow();
    this.#ring[(this.#head + this.#count) & (this.#ring.length - 1)] = chunk;
    this.#count++;
  }

  get first(): Uint8Array | undefined {
    return this.#ring[this.#head];
  }

  get offset(): number {
    return this.#offset;
  }

  /** Drops `bytes` of the first chunk, which has as many. */
  advance(bytes: number): void {
    this.#offset += bytes;
    if (this.#offset < (this.first?.length ?? 0)) return;
    this.#ring[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#ring.length - 1);
    this.#count--;
    this.#offset = 0;
  }

  #grow(): void {
    const ring = new Array<Uint8Array | undefined>(this.#ring.length * 2).fill(undefined);
    for (let i = 0; i < this.#count; i++) ring[i] = this.#ring[(this.#head + i) & (this.#ring.length - 1)];
    this.#ring = ring;
    this.#head = 0;
  }
}
