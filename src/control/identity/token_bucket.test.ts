import { describe, expect, test } from "bun:test";
import { IpAddress } from "../../base/ip.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { RateLimits } from "./rate_limits.ts";
import { KeyedBuckets, TokenBucket } from "./token_bucket.ts";

const rate = { burst: 3, perSecond: 2 };

function taken(take: () => boolean): number {
  let count = 0;
  while (count < 100 && take()) count++;
  return count;
}

describe("a bucket", () => {
  test("gives its burst at once, then what comes back with time, never more than its burst", async () => {
    const clock = new FakeClock(0);
    const bucket = new TokenBucket(clock, rate);
    expect(taken(() => bucket.take())).toBe(3);
    await clock.advance(499);
    expect(taken(() => bucket.take())).toBe(0);
    await clock.advance(501);
    expect(taken(() => bucket.take())).toBe(2);
    await clock.advance(3_600_000);
    expect(taken(() => bucket.take())).toBe(3);
  });

  test("does not follow the wall clock", () => {
    const clock = new FakeClock(0);
    const bucket = new TokenBucket(clock, rate);
    taken(() => bucket.take());
    clock.jumpWall(3_600_000);
    expect(bucket.take()).toBe(false);
  });
});

describe("buckets by key", () => {
  test("are apart from each other, and bounded: the longest idle is forgotten", () => {
    const buckets = new KeyedBuckets(new FakeClock(0), rate, 2);
    expect(taken(() => buckets.take("a"))).toBe(3);
    expect(taken(() => buckets.take("b"))).toBe(3);
    buckets.take("a");
    buckets.take("c");
    expect(buckets.size).toBe(2);
    expect(buckets.take("a")).toBe(false);
    expect(taken(() => buckets.take("b"))).toBe(3);
  });

  test("one /64 of IPv6 is one address, and so is an IPv4 address however it is written", () => {
    const limits = new RateLimits(new FakeClock(0), {
      addressRate: { burst: 1, perSecond: 1 },
      callerRate: rate,
      namespaceRate: rate,
      signingRate: rate,
      renewalRate: rate,
      maxRateKeys: 100,
    });
    const admit = (text: string): boolean => {
      const ip = IpAddress.parse(text);
      if (ip === null) throw new Error(text);
      return limits.chargeAddress({ ip, port: 1 });
    };
    expect(admit("2001:db8:0:1::1")).toBe(true);
    expect(admit("2001:db8:0:1:ffff::2")).toBe(false);
    expect(admit("2001:db8:0:2::1")).toBe(true);
    expect(admit("192.0.2.1")).toBe(true);
    expect(admit("::ffff:192.0.2.1")).toBe(false);
    expect(admit("192.0.2.2")).toBe(true);
  });
});
