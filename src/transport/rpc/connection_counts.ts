/** How many connections there are, of all and of each source. */
import { MeshError } from "../../base/errors.ts";

export class ConnectionCounts {
  readonly #maxAll: number;
  readonly #maxPerSource: number;
  readonly #what: string;
  readonly #perSource = new Map<string, number>();
  #all = 0;

  /** @param what in the plural, for messages. */
  constructor(maxAll: number, maxPerSource: number, what: string) {
    this.#maxAll = maxAll;
    this.#maxPerSource = maxPerSource;
    this.#what = what;
  }

  /** @returns why one more of `source` is not taken, or null. */
  refusal(source: string): MeshError | null {
    if (this.#all >= this.#maxAll)
      return new MeshError("limit_reached", "local", `there are ${this.#all} ${this.#what} already`);
    const held = this.of(source);
    if (held < this.#maxPerSource) return null;
    return new MeshError("limit_reached", "peer", `${source} holds ${held} ${this.#what} already`);
  }

  of(source: string): number {
    return this.#perSource.get(source) ?? 0;
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
