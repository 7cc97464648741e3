import { expect, test } from "bun:test";
import { formatDuration } from "./age.ts";

test.each([
  [0, "0ms"],
  [850.4, "850ms"],
  [999, "999ms"],
  [1_000, "1s"],
  [61_000, "1m1s"],
  [60_000, "1m"],
  [312_999, "5m12s"],
  [3_599_000, "59m59s"],
  [3_600_000, "1h"],
  [3_605_000, "1h"],
  [90_061_000, "1d1h"],
  [273_600_000, "3d4h"],
  [-61_000, "-1m1s"],
])("%d ms is %s, in the two largest units", (ms, text) => expect(formatDuration(ms)).toBe(text));
