/** Many things done little by little, so that what follows from each of them does not come all at once. */
import { upgradeLimits } from "../base/limits/host.ts";
import type { Clock, Timer } from "../host/host.ts";

/**
 * In the order given, in steps over `overMs`; at once when that is 0.
 *
 * @returns a function that ends it.
 */
export function spread<T>(
  clock: Pick<Clock, "setTimer">,
  items: readonly T[],
  overMs: number,
  act: (item: T) => void,
): () => void {
  const steps = overMs === 0 ? 1 : Math.min(upgradeLimits.goawaySteps, Math.max(1, items.length));
  const share = Math.ceil(items.length / steps);
  let timer: Timer | null = null;
  const step = (from: number): void => {
    for (const item of items.slice(from, from + share)) act(item);
    if (from + share < items.length) timer = clock.setTimer(overMs / steps, () => step(from + share));
  };
  step(0);
  return () => timer?.cancel();
}
