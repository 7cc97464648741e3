/** Lets a bounded number of tasks run at one time; the others wait in order. */
import { assert } from "./assert.ts";

export class Gate {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(size: number) {
    assert(size > 0, "a gate lets at least one through");
    this.#free = size;
  }

  async run<T>(task: () => Promise<T>): Promise<T> {
    // Whoever leaves hands its place to the first in the queue, so that none can slip in between.
    if (this.#free > 0) this.#free--;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await task();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}
