/** Timers of one instant: more are of a program that waits for nothing. */
const mostAtOnce = 1_000;

/** A clock that goes when it is told to, for tests of what renews and what expires. */
import type { Clock, Timer } from "../../host/host.ts";

interface Pending {
  readonly at: number;
  readonly order: number;
  readonly callback: () => void;
}

export class FakeClock implements Clock {
  #now = 0;
  #wallOffset: number;
  #order = 0;
  readonly #pending = new Set<Pending>();
  readonly #isBusy: () => boolean;

  /** @param isBusy whether work is under way on other threads, which time waits for. */
  constructor(wallMs: number, isBusy: () => boolean = () => false) {
    this.#wallOffset = wallMs;
    this.#isBusy = isBusy;
  }

  now(): number {
    return this.#now;
  }

  wallMs(): number {
    return this.#now + this.#wallOffset;
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    const pending = { at: this.#now + delayMs, order: this.#order++, callback };
    this.#pending.add(pending);
    return { cancel: () => this.#pending.delete(pending) };
  }

  defer(callback: () => void): void {
    this.setTimer(0, callback);
  }

  get timers(): number {
    return this.#pending.size;
  }

  /** The wall clock alone jumps; timers know nothing of it. */
  jumpWall(byMs: number): void {
    this.#wallOffset += byMs;
  }

  /** Lets `byMs` pass, firing timers in order; what each one sets going has come to rest before the next. */
  async advance(byMs: number): Promise<void> {
    const end = this.#now + byMs;
    for (let atOnce = 0; ; atOnce++) {
      await this.#settle();
      const due = [...this.#pending]
        .filter((one) => one.at <= end)
        .sort((a, b) => a.at - b.at || a.order - b.order)[0];
      if (due === undefined) break;
      this.#pending.delete(due);
      if (due.at > this.#now) atOnce = 0;
      if (atOnce > mostAtOnce) throw new Error("time stands still: timers without end at one instant");
      this.#now = Math.max(this.#now, due.at);
      due.callback();
    }
    this.#now = end;
    await this.#settle();
  }

  async #settle(): Promise<void> {
    for (let quiet = 0; quiet < 3; quiet++) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      if (this.#isBusy()) quiet = -1;
    }
  }
}
