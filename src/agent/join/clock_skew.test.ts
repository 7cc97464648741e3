import { expect, test } from "bun:test";
import { joinLimits } from "../../base/limits/agent.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { clockSkewMs, describeSkew } from "./clock_skew.ts";

const theirNowMs = Date.parse("2026-07-15T12:00:00Z");
const notBeforeMs = theirNowMs - pkiLimits.backdateMs;
const { clockSkewMs: most } = joinLimits;

test("a clock is off from a bound on, ahead or behind; what a call took counts for it", () => {
  const around = (askedMs: number, answeredMs: number) =>
    clockSkewMs(notBeforeMs, theirNowMs + askedMs, theirNowMs + answeredMs);
  expect([around(0, 0), around(-most, most), around(-5, 5)]).toEqual([null, null, null]);
  expect([around(most - 1, most), around(most, most + 9)]).toEqual([null, most]);
  expect([around(-most - 9, 1 - most), around(-most - 9, -most)]).toEqual([null, -most]);
});

test("it is said in minutes below two hours, and in hours from there on", () => {
  const minute = 60_000;
  const said = (what: string) =>
    `this host's clock is ${what} the control plane's: set it (NTP), certificates depend on it`;
  expect(describeSkew(62 * minute)).toBe(said("62 minutes ahead of"));
  expect(describeSkew(-119 * minute)).toBe(said("119 minutes behind"));
  expect(describeSkew(-120 * minute)).toBe(said("2 hours behind"));
});
