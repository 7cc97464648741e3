/** What is decided by lot. The lots are handed in, each uniform in [0, 1). */
import type { Fault, Mirror, WeightedDestination } from "../../mesh/traffic/route_plan.ts";

/** @returns null when all weights are 0. */
export function chooseDestination(
  destinations: readonly WeightedDestination[],
  random: () => number,
): WeightedDestination | null {
  const [first] = destinations;
  if (destinations.length === 1) return first !== undefined && first.weight > 0 ? first : null;
  let total = 0;
  for (const { weight } of destinations) total += weight;
  if (total === 0) return null;
  let left = random() * total;
  let last: WeightedDestination | null = null;
  for (const destination of destinations) {
    if (destination.weight === 0) continue;
    last = destination;
    left -= destination.weight;
    if (left < 0) return destination;
  }
  return last;
}

export function chooseMirrors(mirrors: readonly Mirror[], random: () => number): readonly Mirror[] {
  return mirrors.length === 0 ? mirrors : mirrors.filter(({ percent }) => happens(percent, random));
}

export interface FaultDecision {
  readonly delayMs: number;
  readonly abort: Fault["abort"];
}

export function decideFault(fault: Fault, random: () => number): FaultDecision {
  const { delay, abort } = fault;
  return {
    delayMs: delay !== null && happens(delay.percent, random) ? delay.ms : 0,
    abort: abort !== null && happens(abort.percent, random) ? abort : null,
  };
}

function happens(percent: number, random: () => number): boolean {
  return percent >= 100 || (percent > 0 && random() * 100 < percent);
}
