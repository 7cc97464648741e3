/** How long to wait before the next attempt. Pure: the dice are an argument. The one home of exponential back-off. */

/** The fields of `limits/` that say how to back off; an area's limits can be handed over as they are. */
export interface BackoffBounds {
  readonly backoffStartMs: number;
  /** Before the jitter. */
  readonly backoffMaxMs: number;
  /** Default 2. */
  readonly backoffFactor?: number;
  /** The part by which a delay is spread up and down, so that many who wait do not come back in the same instant. Default 0. */
  readonly backoffJitter?: number;
}

/**
 * @param failures attempts in a row that came to nothing, at least 1.
 * @param random uniform in [0, 1); the middle without jitter.
 */
export function backoffMs(failures: number, bounds: BackoffBounds, random = 0.5): number {
  const { backoffStartMs, backoffMaxMs, backoffFactor = 2, backoffJitter = 0 } = bounds;
  // The power stays a number however long it goes on.
  const exponential = backoffStartMs * backoffFactor ** Math.min(failures - 1, maxExponent);
  return Math.min(exponential, backoffMaxMs) * (1 + (random * 2 - 1) * backoffJitter);
}

const maxExponent = 64;
