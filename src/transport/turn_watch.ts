/**
 * How long the event loop was held, by a timer that should fire every 20 ms: what it is late by is a turn that kept everybody waiting,
 * whatever it was spent on, to within those 20 ms. A machine with too few processors for its work makes turns longer, too: that is what
 * callers see.
 */
import { hostLimits } from "../base/limits/host.ts";
import type { Clock, Timer } from "../host/host.ts";

export class TurnWatch {
  readonly #clock: Clock;
  readonly #intervalMs: number;
  #timer: Timer;
  /** When the timer is due, and when the window that is being filled began; monotonic. */
  #dueMs: number;
  #windowMs: number;
  #longestMs = 0;
  #previousMs = 0;

  constructor(clock: Clock, intervalMs: number = hostLimits.turnWatchMs) {
    this.#clock = clock;
    this.#intervalMs = intervalMs;
    this.#windowMs = clock.now();
    this.#dueMs = this.#windowMs + intervalMs;
    this.#timer = this.#arm();
  }

  /** Of the last one to two minutes, milliseconds; a turn that is not over counts as far as it is. */
  get longestMs(): number {
    this.#look();
    return Math.max(this.#longestMs, this.#previousMs);
  }

  /** Begins again, for whoever wants to know of one stretch of time. */
  reset(): void {
    this.#longestMs = 0;
    this.#previousMs = 0;
    this.#windowMs = this.#clock.now();
  }

  close(): void {
    this.#timer.cancel();
  }

  #arm(): Timer {
    return this.#clock.setTimer(this.#intervalMs, () => {
      this.#look();
      this.#dueMs = this.#clock.now() + this.#intervalMs;
      this.#timer = this.#arm();
    });
  }

  #look(): void {
    const now = this.#clock.now();
    if (now - this.#windowMs >= hostLimits.turnWindowMs) {
      // Two windows, so that no scrape comes too late for a turn of a moment ago.
      this.#previousMs = now - this.#windowMs < 2 * hostLimits.turnWindowMs ? this.#longestMs : 0;
      this.#longestMs = 0;
      this.#windowMs = now;
    }
    this.#longestMs = Math.max(this.#longestMs, now - this.#dueMs);
  }
}
