/** Long work in slices: between two of them, connections have their turn. */

import { meshLimits } from "./limits/mesh.ts";

/** The part of a clock that is needed here; the host's `Clock` fits. */
export interface SliceClock {
  /** Monotonic milliseconds. */
  now(): number;
  /** Runs `work` after everything else that is ready. */
  defer(work: () => void): void;
}

export class TimeSlice {
  readonly #clock: SliceClock;
  #startMs: number;

  constructor(clock: SliceClock) {
    this.#clock = clock;
    this.#startMs = clock.now();
  }

  /** Comes back at once within a slice, and after everything else that is ready at its end. */
  async giveWay(): Promise<void> {
    if (this.#clock.now() - this.#startMs < meshLimits.parseSliceMs) return;
    await new Promise<void>((resolve) => this.#clock.defer(resolve));
    this.#startMs = this.#clock.now();
  }

  /** Runs the steps to their end. */
  async run<T>(steps: Generator<void, T>): Promise<T> {
    for (;;) {
      const step = steps.next();
      if (step.done === true) return step.value;
      await this.giveWay();
    }
  }
}

/** Runs the steps to their end at once: for who has nothing else to serve. */
export function runSteps<T>(steps: Generator<void, T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}
