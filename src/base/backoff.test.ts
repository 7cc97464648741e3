import { expect, test } from "bun:test";
import { type BackoffBounds, backoffMs } from "./backoff.ts";

const bounds: BackoffBounds = { backoffStartMs: 10, backoffMaxMs: 15_000, backoffJitter: 0.2 };

test("a delay doubles up to its maximum, and stays there for ever", () => {
  expect([1, 2, 3, 11, 12, 1e6].map((failures) => backoffMs(failures, bounds))).toEqual([
    10, 20, 40, 10_240, 15_000, 15_000,
  ]);
});

test("another factor", () => {
  expect(backoffMs(3, { ...bounds, backoffFactor: 1.6 })).toBeCloseTo(25.6);
  expect(backoffMs(1e6, { ...bounds, backoffFactor: 1 })).toBe(10);
});

test("the jitter spreads around the delay, the maximum too; without one the dice do not matter", () => {
  expect(backoffMs(4, bounds, 0)).toBe(64);
  expect(backoffMs(4, bounds, 1)).toBe(96);
  expect(backoffMs(100, bounds, 1)).toBe(18_000);
  expect(backoffMs(4, { backoffStartMs: 10, backoffMaxMs: 15_000 }, 0.9)).toBe(80);
});
