import { describe, expect, test } from "bun:test";
import { IpAddress } from "../../base/ip.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { RateLimits } from "./rate_limits.ts";

const settings = {
  addressRate: { burst: 1, perSecond: 1 },
  callerRate: { burst: 3, perSecond: 2 },
  namespaceRate: { burst: 3, perSecond: 2 },
  signingRate: { burst: 3, perSecond: 2 },
  renewalRate: { burst: 3, perSecond: 2 },
  maxRateKeys: 100,
};

describe("rates of the control plane", () => {
  test("one /64 of IPv6 is one address, and so is an IPv4 address however it is written", () => {
    const limits = new RateLimits(new FakeClock(0), settings);
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

  test("do not follow the wall clock", async () => {
    const clock = new FakeClock(0);
    const limits = new RateLimits(clock, settings);
    for (let times = 0; times < 3; times++) expect(limits.admitCaller("a")).toBe(true);
    clock.jumpWall(3_600_000);
    expect(limits.admitCaller("a")).toBe(false);
    await clock.advance(500);
    expect(limits.admitCaller("a")).toBe(true);
  });
});
