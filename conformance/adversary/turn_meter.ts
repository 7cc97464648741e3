/**
 * The longest turn of this process's event loop, by a timer of 2 ms: a turn is what the timer was late by, but never more than the CPU
 * time that the process used meanwhile. So a machine that is busy with others makes no turn longer than it was.
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

function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
