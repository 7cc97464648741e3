/** Which suites run at a time. */

export interface Queued {
  /** How many processors it keeps busy, as an average over its time. */
  readonly cores: number;
}

/** Each of them holds memory, and has something that waits for a turn. */
export const maxAtATime = 4;

/**
 * The first that waits for whom there is room. What needs all processors runs alone, and nothing waits for ever: what is too large for any
 * company starts when all others are over.
 * @returns null when what runs has to end first.
 */
export function nextSuite<T extends Queued>(
  waiting: readonly T[],
  running: readonly T[],
  cores: number,
): T | null {
  if (running.length === 0) return waiting[0] ?? null;
  if (running.length >= maxAtATime) return null;
  const room = cores - running.reduce((sum, one) => sum + one.cores, 0);
  // As sums of tenths are not exact.
  return waiting.find((one) => one.cores <= room + 1e-9) ?? null;
}

/** Runs all of them. @param run one of them, in a lane that no other has meanwhile. */
export async function runQueue<T extends Queued>(
  all: readonly T[],
  cores: number,
  run: (one: T, lane: number) => Promise<void>,
): Promise<void> {
  const waiting = [...all];
  const running = new Map<T, number>();
  const over: Promise<void>[] = [];
  const start = (): void => {
    for (;;) {
      const one = nextSuite(waiting, [...running.keys()], cores);
      if (one === null) return;
      waiting.splice(waiting.indexOf(one), 1);
      const taken = [...running.values()];
      const lane = Array.from({ length: maxAtATime }, (_, index) => index).find((at) => !taken.includes(at));
      running.set(one, lane ?? 0);
      over.push(
        run(one, lane ?? 0).then(() => {
          running.delete(one);
          start();
        }),
      );
    }
  };
  start();
  // Those that start meanwhile are added behind.
  for (let at = 0; at < over.length; at++) await over[at];
}
