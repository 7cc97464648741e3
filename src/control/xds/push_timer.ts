/** When changes are pushed: once it has been quiet for a moment, or after a while at the most (istiod's debounce, with shorter times). */
import type { Clock, Timer } from "../../host/host.ts";

export interface PushDelays {
  readonly quietMs: number;
  readonly maxDelayMs: number;
}

export class PushTimer {
  readonly #clock: Pick<Clock, "now" | "setTimer">;
  readonly #delays: PushDelays;
  readonly #push: (sinceMs: number) => void;
  /** Of the first and the last change that wait. */
  #firstMs: number | null = null;
  #lastMs = 0;
  #timer: Timer | null = null;

  /** @param push is told since when the oldest change waited. */
  constructor(clock: Pick<Clock, "now" | "setTimer">, delays: PushDelays, push: (sinceMs: number) => void) {
    this.#clock = clock;
    this.#delays = delays;
    this.#push = push;
  }

  changed(): void {
    this.#lastMs = this.#clock.now();
    this.#firstMs ??= this.#lastMs;
    this.#arm();
  }

  /** Forgets what waits. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#firstMs = null;
  }

  #flush(): void {
    const sinceMs = this.#firstMs;
    this.#firstMs = null;
    if (sinceMs !== null) this.#push(sinceMs);
  }

  #dueMs(firstMs: number): number {
    return Math.min(this.#lastMs + this.#delays.quietMs, firstMs + this.#delays.maxDelayMs);
  }

  /** One timer, which looks again when it was early: a thousand changes do not set a thousand timers. */
  #arm(): void {
    const firstMs = this.#firstMs;
    if (this.#timer !== null || firstMs === null) return;
    const delayMs = Math.max(0, this.#dueMs(firstMs) - this.#clock.now());
    this.#timer = this.#clock.setTimer(delayMs, () => {
      this.#timer = null;
      if (this.#clock.now() < this.#dueMs(firstMs)) this.#arm();
      else this.#flush();
    });
  }
}
