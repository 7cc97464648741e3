/** The connections to one endpoint, and for how long those are kept that have nothing to do. */
import { servingLimits } from "../../base/limits/serving.ts";
import type { ConnectionPool } from "../../mesh/traffic/destination_policy.ts";
import type { H1Upstream } from "./h1_upstream.ts";
import type { H2Upstream } from "./h2_upstream.ts";
import type { PendingOutcome } from "./pending_outcome.ts";

export interface Pool {
  /** The last one to become idle is used first: the others come to their end. */
  readonly idle: H1Upstream[];
  readonly h1: Set<H1Upstream>;
  readonly h2: Set<H2Upstream>;
  /** An HTTP/2 connection that is being made, for all that wait for it. */
  opening: Promise<H2Upstream> | null;
  /** Connections of HTTP/1.1 that are being made. */
  dialling: number;
  /** Requests that wait for a connection, oldest first: as many as the circuit allows are open. */
  readonly waiting: PendingOutcome[];
  /** As the destination's policy has it by now. */
  limits: ConnectionPool;
  /** It had no connection for a while, and was given up. */
  isGone: boolean;
}

export function newPool(limits: ConnectionPool): Pool {
  return {
    ...{ idle: [], h1: new Set<H1Upstream>(), h2: new Set<H2Upstream>(), opening: null },
    ...{ dialling: 0, waiting: [], limits, isGone: false },
  };
}

/** When to look at it again: a short time-out is not to become a long one by that. */
export function sweepAfterMs({ limits }: Pool): number {
  const { upstreamIdleMs, minUpstreamSweepMs } = servingLimits;
  return Math.min(upstreamIdleMs / 4, Math.max(minUpstreamSweepMs, limits.httpIdleTimeoutMs / 4));
}

/** Closes what has been idle for too long. @returns whether anything is left; otherwise it is gone. */
export function sweepPool(pool: Pool, now: number): boolean {
  const idleSinceMs = now - Math.min(servingLimits.maxUpstreamIdleMs, pool.limits.httpIdleTimeoutMs);
  // The oldest are first.
  while ((pool.idle[0]?.idleSinceMs ?? Number.POSITIVE_INFINITY) <= idleSinceMs) pool.idle.shift()?.close();
  for (const upstream of [...pool.h2]) {
    if (upstream.openStreams > 0) upstream.idleSinceMs = now;
    else if (upstream.idleSinceMs <= idleSinceMs) upstream.close();
  }
  pool.isGone = pool.h1.size + pool.h2.size + pool.dialling === 0 && pool.opening === null;
  return !pool.isGone;
}
