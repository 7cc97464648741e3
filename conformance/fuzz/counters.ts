/** The counters of instrumented code, and what of them was never seen before. */
import { counterName } from "./instrument.ts";

/** More than the files of all targets have. */
const room = 65_536;

export const counts = new Uint32Array(room);
Reflect.set(globalThis, counterName, counts);

/** How often something ran counts by its order of magnitude, as AFL has it: a loop that runs longer is news, one turn more is not. */
function bucket(count: number): number {
  if (count <= 3) return 1 << (count - 1);
  if (count < 8) return 8;
  if (count < 16) return 16;
  if (count < 32) return 32;
  return count < 128 ? 64 : 128;
}

/** What has run so far: for each counter the orders of magnitude that were seen. */
export class Coverage {
  readonly #seen = new Uint8Array(room);
  /** Counters that ever ran. */
  reached = 0;

  /** Takes what ran since the counters were cleared. @returns whether any of it is new. */
  take(total: number): boolean {
    let isNew = false;
    for (let index = 0; index < total; index++) {
      const count = counts[index] ?? 0;
      if (count === 0) continue;
      const seen = this.#seen[index] ?? 0;
      const now = bucket(count);
      if ((seen & now) !== 0) continue;
      if (seen === 0) this.reached++;
      this.#seen[index] = seen | now;
      isNew = true;
    }
    return isNew;
  }
}

/** The counters that ran since they were cleared. */
export function ranCounters(total: number): readonly number[] {
  const ran: number[] = [];
  for (let index = 0; index < total; index++) if ((counts[index] ?? 0) > 0) ran.push(index);
  return ran;
}

export function clearCounters(total: number): void {
  counts.fill(0, 0, total);
}
