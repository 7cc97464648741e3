/** Time, timers, deferral and randomness of the hosts that are real, whatever their runtime. */
import type { Clock, Random, Timer } from "../host.ts";

/**
 * The end-of-turn hook is `setImmediate`. Bun drains microtasks and `process.nextTick` after every socket callback, so
 * with either of them each socket that is readable in one turn of the event loop would be flushed by itself; immediates
 * run once after all of them, and a pending one makes the next poll not wait. One immediate serves all callbacks.
 */
export class SystemClock implements Clock {
  #deferred: (() => void)[] = [];
  #spare: (() => void)[] = [];

  now(): number {
    return performance.now();
  }

  wallMs(): number {
    return Date.now();
  }

  setTimer(delayMs: number, callback: () => void): Timer {
    return new SystemTimer(delayMs, callback);
  }

  defer(callback: () => void): void {
    if (this.#deferred.length === 0) setImmediate(this.#run);
    this.#deferred.push(callback);
  }

  /** Callbacks deferred while this runs wait for the next turn: sockets are looked at in between. */
  readonly #run = (): void => {
    const callbacks = this.#deferred;
    this.#deferred = this.#spare;
    let index = 0;
    try {
      for (; index < callbacks.length; index++) callbacks[index]?.();
    } finally {
      // One that throws is a bug and ends loudly, but it takes no other connection's output with it.
      if (index < callbacks.length) for (const rest of callbacks.slice(index + 1)) this.defer(rest);
      callbacks.length = 0;
      this.#spare = callbacks;
    }
  };
}

class SystemTimer implements Timer {
  readonly #handle: ReturnType<typeof setTimeout>;

  constructor(delayMs: number, callback: () => void) {
    this.#handle = setTimeout(callback, delayMs);
    this.#handle.unref();
  }

  cancel(): void {
    clearTimeout(this.#handle);
  }
}

export const systemRandom: Random = {
  fill(bytes) {
    // The Web Crypto call takes at most 65,536 bytes.
    for (let start = 0; start < bytes.length; start += 65_536) {
      crypto.getRandomValues(bytes.subarray(start, start + 65_536) as Uint8Array<ArrayBuffer>);
    }
  },
  float() {
    return Math.random();
  },
};
