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

  constructor(wallMs: number) {
    this.#wallOffset = wallMs;
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

  /** Lets `byMs` pass, firing timers in order; after each, promises of other threads get the time to settle. */
  async advance(byMs: number): Promise<void> {
    const end = this.#now + byMs;
    for (;;) {
      await settle();
      const due = [...this.#pending]
        .filter((one) => one.at <= end)
        .sort((a, b) => a.at - b.at || a.order - b.order)[0];
      if (due === undefined) break;
      this.#pending.delete(due);
      this.#now = Math.max(this.#now, due.at);
      due.callback();
    }
    this.#now = end;
    await settle();
  }
}

/** WebCrypto works on other threads: a few turns of the event loop until what was begun has come to rest. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 6; turn++) await new Promise<void>((resolve) => setTimeout(resolve, 1));
}
