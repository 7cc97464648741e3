import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { waypointLimits } from "../../base/limits/waypoint.ts";
import { judge, KeyedRateLimit } from "./gcra.ts";

const tenAMinute = { requests: 10, periodMs: 60_000, burst: 10 };

describe("a rate limit of one key", () => {
  test("a burst passes, the next is refused and told when to come back", () => {
    const limit = new KeyedRateLimit(tenAMinute);
    for (let left = 9; left >= 0; left--)
      expect(limit.take("a", 0)).toMatchObject({ allowed: true, remaining: left });
    const refused = limit.take("a", 0);
    expect(refused).toMatchObject({ allowed: false, remaining: 0 });
    expect(refused.retryAfterMs).toBeCloseTo(6000);
    expect(limit.take("a", 5999).allowed).toBe(false);
    expect(limit.take("a", 6000).allowed).toBe(true);
    expect(limit.take("a", 6001).allowed).toBe(false);
  });

  test("a refusal costs no allowance", () => {
    const limit = new KeyedRateLimit(tenAMinute);
    for (let i = 0; i < 10; i++) limit.take("a", 0);
    for (let i = 0; i < 1000; i++) limit.take("a", 1);
    expect(limit.take("a", 6000).allowed).toBe(true);
  });

  test("never more than the burst and the rate together, whenever the calls come, and never fewer than the rate", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 50 }),
        fc.integer({ min: 1, max: 20 }),
        fc.array(fc.integer({ min: 0, max: 400 }), { minLength: 1, maxLength: 300 }),
        (requests, burst, gaps) => {
          const rate = { requests, periodMs: 1000, burst };
          let now = 0;
          let wholeAt = 0;
          let passed = 0;
          let tokens = burst;
          for (const gap of gaps) {
            now += gap;
            tokens = Math.min(burst, tokens + (gap * requests) / 1000);
            const judged = judge(rate, wholeAt, now);
            wholeAt = judged.wholeAt;
            // The bucket that everybody knows, with its own rounding.
            if (Math.abs(tokens - 1) > 1e-3) expect(judged.verdict.allowed).toBe(tokens >= 1);
            if (judged.verdict.allowed) {
              passed++;
              tokens -= 1;
            }
          }
          expect(passed).toBeLessThanOrEqual(burst + (now * requests) / 1000 + 1e-3);
        },
      ),
    );
  });

  test("what is said to remain is what passes", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 0, max: 60_000 }),
        fc.integer({ min: 1, max: 30 }),
        (burst, later, calls) => {
          const rate = { requests: 10, periodMs: 60_000, burst };
          const limit = new KeyedRateLimit(rate);
          for (let i = 0; i < calls; i++) limit.take("a", 0);
          const first = limit.take("a", later);
          let more = 0;
          while (limit.take("a", later).allowed) more++;
          expect(more).toBe(first.remaining);
        },
      ),
    );
  });
});

describe("a rate limit of many keys", () => {
  test("each key has its own allowance", () => {
    const limit = new KeyedRateLimit({ requests: 1, periodMs: 1000, burst: 1 });
    expect(limit.take("a", 0).allowed).toBe(true);
    expect(limit.take("b", 0).allowed).toBe(true);
    expect(limit.take("a", 0).allowed).toBe(false);
  });

  test("a key is forgotten once its allowance is whole, and not before", () => {
    const limit = new KeyedRateLimit({ requests: 10, periodMs: 1000, burst: 10 });
    for (let i = 0; i < 10; i++) limit.take("a", 0);
    limit.take("b", 1000);
    expect(limit.keys).toBe(2);
    expect(limit.take("a", 1000).remaining).toBe(9);
    limit.take("c", 3000);
    expect(limit.keys).toBe(1);
  });

  test("used keys are remembered across the turn of a window", () => {
    const limit = new KeyedRateLimit({ requests: 10, periodMs: 1000, burst: 10 });
    limit.take("b", 0);
    for (let i = 0; i < 10; i++) limit.take("a", 999);
    expect(limit.take("a", 1000).allowed).toBe(false);
  });

  test("up to the bound keys are exact; one past it shares a counter, and those in the table keep theirs", () => {
    const limit = new KeyedRateLimit({ requests: 1, periodMs: 60_000, burst: 1 }, 100);
    for (let i = 0; i < 100; i++) expect(limit.take(`k${i}`, 0).allowed).toBe(true);
    expect(limit.keys).toBe(100);
    let passed = 0;
    for (let i = 0; i < 100_000; i++) if (limit.take(`x${i}`, 0).allowed) passed++;
    expect(limit.keys).toBe(100);
    expect(passed).toBeLessThanOrEqual(waypointLimits.sharedRateLimitCounters);
    expect(passed).toBeGreaterThan(waypointLimits.sharedRateLimitCounters / 2);
    expect(limit.take("k5", 0).allowed).toBe(false);
  });

  test("a key of any length costs no more than the bound, and is still its own", () => {
    const limit = new KeyedRateLimit({ requests: 1, periodMs: 1000, burst: 1 });
    const long = "x".repeat(waypointLimits.maxRateLimitKeyLength);
    expect(limit.take(`${long}a`, 0).allowed).toBe(true);
    expect(limit.take(`${long}a`, 0).allowed).toBe(false);
    expect(limit.take(`${long}b`, 0).allowed).toBe(true);
  });
});
