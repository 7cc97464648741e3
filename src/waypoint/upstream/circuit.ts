/**
 * How much may be under way toward one cluster at one time (Envoy "Circuit breaking"; Istio `connectionPool`). What is taken is given
 * back by whoever took it, on every way out.
 */
import type { DestinationPolicy } from "../../mesh/traffic/destination_policy.ts";

/** What of a policy bounds it. */
export type CircuitPolicy = Pick<DestinationPolicy, "pool" | "retryBudget">;

export type CircuitKind = "connections" | "pending" | "requests" | "retries";

export class Circuit {
  readonly #policy: CircuitPolicy;
  readonly #held: Record<CircuitKind, number> = { connections: 0, pending: 0, requests: 0, retries: 0 };
  /** Takes that were refused, for metrics (`upstream_rq_pending_overflow` and its kin). */
  readonly overflows: Record<CircuitKind, number> = { connections: 0, pending: 0, requests: 0, retries: 0 };

  constructor(policy: CircuitPolicy) {
    this.#policy = policy;
  }

  held(kind: CircuitKind): number {
    return this.#held[kind];
  }

  /** @returns false when the bound is reached: the caller answers 503 with the flag UO. */
  take(kind: CircuitKind): boolean {
    if (this.#held[kind] >= this.#bound(kind)) {
      this.overflows[kind]++;
      return false;
    }
    this.#held[kind]++;
    return true;
  }

  give(kind: CircuitKind): void {
    if (this.#held[kind] > 0) this.#held[kind]--;
  }

  #bound(kind: CircuitKind): number {
    const { pool, retryBudget } = this.#policy;
    switch (kind) {
      case "connections":
        return pool.maxConnections;
      case "pending":
        return pool.maxPendingRequests;
      case "requests":
        return pool.maxRequests;
      case "retries": {
        if (retryBudget === null) return pool.maxRetries;
        // Envoy's `retry_budget` counts what is under way; so does this, since what was is no load any more.
        const active = this.#held.requests + this.#held.pending;
        return Math.max(retryBudget.minConcurrency, Math.floor((active * retryBudget.percent) / 100));
      }
    }
  }
}
