/** How many connections there are, of all and of each source. */
import { MeshError } from "../../base/errors.ts";

export class ConnectionCounts {
  readonly #maxAll: number;
  readonly #maxPerSource: number;
  readonly #perSource = new Map<string, number>();
  #all = 0;

  constructor(maxAll: number, maxPerSource: number) {
    this.#maxAll = maxAll;
    this.#maxPerSource = maxPerSource;
  }

  /** @returns why one more of `source` is not taken, or null. */
  refusal(source: string): MeshError | null {
    if (this.#all >= this.#maxAll)
      return new MeshError("limit_reached", "local", `there are ${this.#all} connections already`);
    const held = this.#perSource.get(source) ?? 0;
    if (held < this.#maxPerSource) return null;
    return new MeshError("limit_reached", "peer", `${source} holds ${held} connections already`);
  }

  add(source: string): void {
    this.#all++;
    this.#perSource.set(source, (this.#perSource.get(source) ?? 0) + 1);
  }

  remove(source: string): void {
    this.#all--;
    const held = (this.#perSource.get(source) ?? 0) - 1;
    if (held > 0) this.#perSource.set(source, held);
    else this.#perSource.delete(source);
  }
}
