import { expect, test } from "bun:test";
import { servingLimits } from "../../base/limits/serving.ts";
import { defaultConnectionPool } from "../../mesh/traffic/destination_policy.ts";
import { newPool, sweepAfterMs, sweepPool } from "./pool.ts";

const pooled = (httpIdleTimeoutMs: number) => newPool({ ...defaultConnectionPool, httpIdleTimeoutMs });

test("how often a pool is looked at follows its time-out, within bounds", () => {
  expect(sweepAfterMs(pooled(1))).toBe(servingLimits.minUpstreamSweepMs);
  expect(sweepAfterMs(pooled(8_000))).toBe(2_000);
  expect(sweepAfterMs(pooled(servingLimits.maxUpstreamIdleMs))).toBe(servingLimits.upstreamIdleMs / 4);
});

test("a connection is kept as long as a document says, and no longer than the bound", () => {
  for (const [said, kept] of [
    [5_000, 5_000],
    [servingLimits.maxUpstreamIdleMs, servingLimits.maxUpstreamIdleMs],
    [servingLimits.maxUpstreamIdleMs * 10, servingLimits.maxUpstreamIdleMs],
  ] as const) {
    const pool = pooled(said);
    let closed = 0;
    const idle = { idleSinceMs: 1_000, close: () => closed++ };
    pool.idle.push(idle as never);
    sweepPool(pool, 1_000 + kept - 1);
    expect(closed).toBe(0);
    sweepPool(pool, 1_000 + kept);
    expect(closed).toBe(1);
    expect(pool.isGone).toBe(true);
  }
});
