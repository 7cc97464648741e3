/** A clock that goes when it is told to. */
import type { Clock, Timer } from "../../../host/host.ts";

export class ManualClock implements Clock {
  #nowMs = 1000;
  readonly #timers = new Set<{ readonly atMs: number; readonly run: () => void }>();

  /** Above 0, time goes on by this much with each look at it: everything takes long. */
  costOfLookMs = 0;

  now(): number {
    this.#nowMs += this.costOfLookMs;
    return this.#nowMs;
  }

  wallMs(): number {
    return 1_767_225_600_000 + this.#nowMs;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const timer = { atMs: this.#nowMs + delayMs, run: callback };
    this.#timers.add(timer);
    return { cancel: () => void this.#timers.delete(timer) };
  }

  defer(callback: () => void): void {
    this.setTimer(0, callback);
  }

  get pending(): number {
    return this.#timers.size;
  }

  /** Runs what falls due on the way, in order. */
  advance(byMs: number): void {
    const untilMs = this.#nowMs + byMs;
    for (;;) {
      const [next] = [...this.#timers].filter(({ atMs }) => atMs <= untilMs).sort((a, b) => a.atMs - b.atMs);
      if (next === undefined) break;
      this.#timers.delete(next);
      this.#nowMs = Math.max(this.#nowMs, next.atMs);
      next.run();
    }
    this.#nowMs = untilMs;
  }
}
