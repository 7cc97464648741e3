/** A clock whose time is how often it was asked, so that a slice is a number of steps; a turn is run when a test says so. */
import type { SliceClock } from "../../base/turns/time_slice.ts";

export class Turns implements SliceClock {
  #now = 0;
  readonly #waiting: (() => void)[] = [];
  /** How often the clock was asked in the turn that took most. */
  most = 0;
  /** Whether one of them is under way. */
  isRunning = false;

  now(): number {
    return this.#now++;
  }

  defer(work: () => void): void {
    this.#waiting.push(work);
  }

  get isOver(): boolean {
    return this.#waiting.length === 0;
  }

  /** @returns how many there were. */
  run(most = Number.POSITIVE_INFINITY): number {
    let count = 0;
    for (; count < most; count++) {
      const work = this.#waiting.shift();
      if (work === undefined) break;
      const before = this.#now;
      this.isRunning = true;
      try {
        work();
      } finally {
        this.isRunning = false;
      }
      this.most = Math.max(this.most, this.#now - before);
    }
    return count;
  }
}
