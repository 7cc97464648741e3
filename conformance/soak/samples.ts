/** Memory and descriptors of processes over time, and what must hold of them at the end. */
import { readdirSync, readFileSync } from "node:fs";

export interface Sample {
  /** Milliseconds since the process was ready. */
  readonly atMs: number;
  readonly rssBytes: number;
  readonly descriptors: number;
}

/** Null when there is no such process any more, or no /proc. */
export function sampleOf(pid: number, atMs: number): Sample | null {
  try {
    const rss = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    if (rss === undefined) return null;
    return { atMs, rssBytes: Number(rss) * 1024, descriptors: readdirSync(`/proc/${pid}/fd`).length };
  } catch {
    return null;
  }
}

/** A program that has just started compiles and fills its pools: what grows is judged after this. */
export const settleMs = 180_000;
/** A shorter stretch says nothing: the collector's saw-tooth is larger than any slope in it. */
export const leastJudgedMs = 120_000;

/** Theil and Sen's slope, the median of those between all pairs: a single peak does not move it. @returns bytes a minute; null when there is too little. */
export function slopePerMinute(samples: readonly Sample[]): number | null {
  const settled = samples.filter(({ atMs }) => atMs >= settleMs);
  const [first] = settled;
  const last = settled.at(-1);
  if (first === undefined || last === undefined || last.atMs - first.atMs < leastJudgedMs) return null;
  // The lowest of each stretch of ten seconds: what is left after a collection.
  const lows = new Map<number, Sample>();
  for (const sample of settled) {
    const stretch = Math.floor(sample.atMs / 10_000);
    const low = lows.get(stretch);
    if (low === undefined || sample.rssBytes < low.rssBytes) lows.set(stretch, sample);
  }
  const points = [...lows.values()];
  const slopes: number[] = [];
  for (const [index, from] of points.entries())
    for (const to of points.slice(index + 1))
      slopes.push(((to.rssBytes - from.rssBytes) / (to.atMs - from.atMs)) * 60_000);
  slopes.sort((a, b) => a - b);
  return slopes[slopes.length >> 1] ?? null;
}

/** The longest turn that a probe has written down, from a point in time on. @param text lines of `turn_probe.ts`. */
export function longestTurnMs(text: string, fromWallMs: number): number {
  let longest = 0;
  for (const line of text.split("\n")) {
    const [at = "", ms = ""] = line.split(" ");
    if (ms !== "" && Number(at) >= fromWallMs) longest = Math.max(longest, Number(ms));
  }
  return longest;
}
