import { expect, test } from "bun:test";
import { isExpired, isRenewalDue, renewalTimeMs } from "./renewal_time.ts";

const hour = 3_600_000;
const minute = 60_000;

test("a day's SVID is renewed at half of life as ztunnel does it, or a little before", () => {
  const validity = { notBeforeMs: -2 * minute, notAfterMs: 24 * hour };
  expect(renewalTimeMs(validity, 0, 0)).toBe(12 * hour - minute);
  const earliest = renewalTimeMs(validity, 0, 0.999999);
  expect(earliest).toBeGreaterThan(10.7 * hour);
  expect(earliest).toBeLessThan(10.8 * hour);
});

test("an SVID that is backdated past its own half is kept for a third of what is left", () => {
  const validity = { notBeforeMs: -2 * minute, notAfterMs: minute };
  expect(renewalTimeMs(validity, 0, 0)).toBe(20_000);
  expect(renewalTimeMs(validity, 2 * minute, 0)).toBe(2 * minute);
});

test("due at its time, and when the clock went back to before it existed", () => {
  const validity = { notBeforeMs: 1000, notAfterMs: 5000 };
  expect(isRenewalDue(validity, 3000, 2999)).toBe(false);
  expect(isRenewalDue(validity, 3000, 3000)).toBe(true);
  expect(isRenewalDue(validity, 3000, 999)).toBe(true);
  expect(isRenewalDue(validity, 3000, 1000)).toBe(false);
  expect(isExpired(validity, 5000)).toBe(false);
  expect(isExpired(validity, 5001)).toBe(true);
});
