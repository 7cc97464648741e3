import { describe, expect, test } from "bun:test";
import { KeyedBuckets, TokenBucket } from "./token_bucket.ts";

const rate = { burst: 3, perSecond: 2 };

function taken(take: () => boolean): number {
  let count = 0;
  while (count < 100 && take()) count++;
  return count;
}

describe("a bucket", () => {
  test("gives its burst at once, then what comes back with time, never more than its burst", () => {
    const bucket = new TokenBucket(rate);
    expect(taken(() => bucket.take(0))).toBe(3);
    expect(taken(() => bucket.take(499))).toBe(0);
    expect(taken(() => bucket.take(1_000))).toBe(2);
    expect(taken(() => bucket.take(3_601_000))).toBe(3);
  });

  test("fills from when it was first used, whatever the time was then", () => {
    const bucket = new TokenBucket(rate);
    expect(taken(() => bucket.take(5_000_000))).toBe(3);
    expect(taken(() => bucket.take(5_000_500))).toBe(1);
  });

  test("what is refused takes nothing, so that a caller who goes on asking still gets what comes back", () => {
    const bucket = new TokenBucket(rate);
    const got = Array.from({ length: 1_000 }, (_, ms) => bucket.take(ms * 10)).filter(Boolean).length;
    expect(got).toBe(3 + 2 * 10 - 1);
  });

  test("a look takes nothing, and a time that goes back gives nothing", () => {
    const bucket = new TokenBucket(rate);
    expect([bucket.isEmpty(0), bucket.isEmpty(0)]).toEqual([false, false]);
    expect(taken(() => bucket.take(0))).toBe(3);
    expect([bucket.isEmpty(-10_000), bucket.take(-10_000)]).toEqual([true, false]);
  });
});

describe("buckets by key", () => {
  test("are apart from each other, and bounded: the longest idle is forgotten", () => {
    const buckets = new KeyedBuckets(rate, 2);
    expect(buckets.isEmpty("a", 0)).toBe(false);
    expect(taken(() => buckets.take("a", 0))).toBe(3);
    expect(taken(() => buckets.take("b", 0))).toBe(3);
    expect(buckets.isEmpty("a", 0)).toBe(true);
    buckets.take("a", 0);
    buckets.take("c", 0);
    expect(buckets.size).toBe(2);
    expect(buckets.take("a", 0)).toBe(false);
    expect(taken(() => buckets.take("b", 0))).toBe(3);
  });
});
