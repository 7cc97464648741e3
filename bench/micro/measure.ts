/**
 * How a function of nanoseconds is measured: in batches long enough for the clock and short enough that many are not
 * interrupted on a machine that does other things too. Their median and their best count.
 */

export interface MicroCase {
  /** What is measured. */
  readonly name: string;
  /** Which implementation: `wasm`, `typescript`, … The first of a name is what the others are compared with. */
  readonly variant: string;
  /** How much there is of what the cost might depend on; null where nothing does. */
  readonly size: number | null;
  /** Does it `times` times. Returns something that depends on every one, so that none is optimized away. */
  readonly run: (times: number) => number;
}

export interface MicroResult {
  readonly name: string;
  readonly variant: string;
  readonly size: number | null;
  /** Per operation. */
  readonly medianNs: number;
  readonly bestNs: number;
  readonly batches: number;
  readonly timesPerBatch: number;
}

const batchMs = 1;
const batches = 75;
/** Long enough for the runtime's last compiler, which runs beside on a thread of its own. */
const warmUpMs = 150;

export function measure(each: MicroCase): MicroResult {
  let times = 1;
  let tookMs = timeMs(each, times);
  while (tookMs < batchMs) {
    times = Math.max(times + 1, Math.ceil(times * Math.min(10, (1.2 * batchMs) / Math.max(tookMs, 0.001))));
    tookMs = timeMs(each, times);
  }
  for (let warmedMs = 0; warmedMs < warmUpMs; ) warmedMs += timeMs(each, times);
  const perOperation = Array.from({ length: batches }, () => (timeMs(each, times) / times) * 1e6).sort(
    (a, b) => a - b,
  );
  return {
    name: each.name,
    variant: each.variant,
    size: each.size,
    medianNs: perOperation[Math.floor(batches / 2)] ?? 0,
    bestNs: perOperation[0] ?? 0,
    batches,
    timesPerBatch: times,
  };
}

let sink = 0;

function timeMs(each: MicroCase, times: number): number {
  const start = performance.now();
  sink += each.run(times);
  return performance.now() - start;
}

/** Keeps the results of what was measured alive. */
export function blackHole(): number {
  return sink;
}
