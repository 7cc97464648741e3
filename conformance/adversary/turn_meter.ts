import { dlopen } from "bun:ffi";

/**
 * The longest turn of this process's event loop, by a timer of 2 ms: a turn is what the timer was late by, but never more than the CPU
 * time that this thread used meanwhile. So a machine that is busy with others makes no turn longer than it was.
 */
export class TurnMeter {
  #atMs = performance.now();
  #cpuMs = cpuMs();
  #longestMs = 0;

  constructor(intervalMs = 2) {
    setInterval(() => {
      const now = performance.now();
      const cpu = cpuMs();
      const turnMs = Math.min(now - this.#atMs - intervalMs, cpu - this.#cpuMs);
      this.#longestMs = Math.max(this.#longestMs, turnMs);
      this.#atMs = now;
      this.#cpuMs = cpu;
    }, intervalMs);
  }

  /** Since the last call. */
  take(): number {
    const longestMs = this.#longestMs;
    this.#longestMs = 0;
    return longestMs;
  }
}

/** CLOCK_THREAD_CPUTIME_ID (time.h): of the thread of the event loop, which is the one that asks; collectors and compilers have their own. */
const threadCpuTime = 3;
const { symbols: libc } = dlopen("libc.so.6", { clock_gettime: { args: ["i32", "ptr"], returns: "i32" } });
const time = new BigInt64Array(2);

function cpuMs(): number {
  libc.clock_gettime(threadCpuTime, time);
  return Number(time[0]) * 1000 + Number(time[1]) / 1_000_000;
}
