/**
 * The turns of one event loop, shared by all machines on it. Input is handled at once while the turn has time, and waits for the next
 * one when it has not: whatever a peer sends, the others are looked at in between.
 */
import { hostLimits } from "../limits/host.ts";

/** The part of a clock that is needed here; the host's `Clock` fits. */
export interface TurnClock {
  /** Monotonic milliseconds. */
  now(): number;
  /** Runs `work` after everything else that is ready. */
  defer(work: () => void): void;
}

const shared = new WeakMap<TurnClock, Turns>();

export class Turns {
  readonly #clock: TurnClock;
  #spentMs = 0;
  #ending = false;
  #waiting: (() => void)[] = [];
  readonly #jobs: (() => void)[] = [];
  readonly #next = () => {
    this.#ending = false;
    this.#spentMs = 0;
    this.#callWaiting();
  };

  private constructor(clock: TurnClock) {
    this.#clock = clock;
  }

  static of(clock: TurnClock): Turns {
    const known = shared.get(clock);
    if (known !== undefined) return known;
    const turns = new Turns(clock);
    shared.set(clock, turns);
    return turns;
  }

  /** Whether there is time left in this turn. */
  get hasTime(): boolean {
    return this.#spentMs < hostLimits.turnMs;
  }

  /** Jobs that wait for a turn with time. */
  get waiting(): number {
    return this.#jobs.length;
  }

  /** So much of this turn is gone. */
  spend(ms: number): void {
    this.#spentMs += ms;
    if (this.#spentMs >= hostLimits.uncountedTurnMs) this.#awaitEnd();
  }

  /** Runs `job` as soon as a turn has time for it: now, or after those that wait already. It says what it spent. */
  run(job: () => void): void {
    if (this.#jobs.length === 0 && this.hasTime) {
      job();
      return;
    }
    this.#jobs.push(job);
    this.#awaitEnd();
  }

  /** The same for a job that does not say what it spent. */
  runCounted(job: () => void): void {
    this.run(() => {
      const from = this.#clock.now();
      try {
        job();
      } finally {
        this.spend(this.#clock.now() - from);
      }
    });
  }

  /** Calls back in the next turn, in the order of the calls, whether there is time or not: whoever has none asks again. */
  later(job: () => void): void {
    this.#waiting.push(job);
    this.#awaitEnd();
  }

  /** A bug in one is told as every other, and the jobs of everybody else are done, each once. */
  #callWaiting(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    let called = 0;
    try {
      while (called < waiting.length) waiting[called++]?.();
      this.#runJobs();
    } finally {
      if (called < waiting.length) this.#waiting = [...waiting.slice(called), ...this.#waiting];
      if (this.#waiting.length > 0 || this.#jobs.length > 0) this.#awaitEnd();
    }
  }

  #runJobs(): void {
    let done = 0;
    try {
      while (done < this.#jobs.length && this.hasTime) this.#jobs[done++]?.();
    } finally {
      this.#jobs.splice(0, done);
    }
  }

  #awaitEnd(): void {
    if (this.#ending) return;
    this.#ending = true;
    this.#clock.defer(this.#next);
  }
}
