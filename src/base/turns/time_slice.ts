/** Long work in slices: between two of them, connections have their turn. */

import { meshLimits } from "../limits/mesh.ts";
import { proxyLimits } from "../limits/proxy.ts";

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

  get #isOver(): boolean {
    return this.#clock.now() - this.#startMs >= meshLimits.parseSliceMs;
  }

  /** Comes back at once within a slice, and after everything else that is ready at its end. */
  async giveWay(): Promise<void> {
    if (!this.#isOver) return;
    await new Promise<void>((resolve) => this.#clock.defer(resolve));
    this.#startMs = this.#clock.now();
  }

  /** Runs the steps to their end. */
  async run<T>(steps: Generator<void, T>): Promise<T> {
    for (;;) {
      const step = steps.next();
      if (step.done === true) return step.value;
      // A step is often a microsecond, and a promise costs more than that.
      if (this.#isOver) await this.giveWay();
    }
  }
}

/**
 * Visits each of what is open, since others must not wait for a hundred thousand. The first slice runs now: where there are few, all is
 * done when it returns. Some of them may have ended meanwhile; `visit` looks. What it throws is a fault of ours, and keeps none of the
 * others from its turn.
 */
export function sweep<T>(
  clock: SliceClock,
  items: readonly T[],
  visit: (item: T) => void,
  onDone: () => void = () => {},
): void {
  let index = 0;
  const slice = (): void => {
    const from = index;
    const untilMs = clock.now() + proxyLimits.recheckSliceMs;
    let isOver = false;
    try {
      // The time each time: a visit may be a decision by ten thousand rules.
      while (index < items.length && (index === from || clock.now() < untilMs)) visit(items[index++] as T);
      isOver = index === items.length;
    } finally {
      if (!isOver) clock.defer(slice);
    }
    if (isOver) onDone();
  };
  slice();
}

/** Runs the steps to their end at once: for who has nothing else to serve. */
export function runSteps<T>(steps: Generator<void, T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}
