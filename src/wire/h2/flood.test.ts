import { expect, test } from "bun:test";
import { FloodGuard, type FloodLimits, floodKinds } from "./flood.ts";

const limits = Object.fromEntries(
  floodKinds.map((kind, index) => [kind, { burst: 2 + index, perSecond: 1 + index }]),
) as FloodLimits;

function chargesTaken(guard: FloodGuard, kind: (typeof floodKinds)[number], now: number): number {
  let taken = 0;
  while (guard.charge(kind, now) && taken < 100) taken++;
  return taken;
}

test.each(floodKinds)("%s: a bucket of its own, which refills by the second up to its burst", (kind) => {
  const { burst, perSecond } = limits[kind];
  const guard = new FloodGuard(limits);
  expect(chargesTaken(guard, kind, 0)).toBe(burst);
  // The one that was refused is owed, too.
  expect(chargesTaken(guard, kind, 1_000)).toBe(Math.min(burst, perSecond - 1));
  expect(chargesTaken(guard, kind, 1_000_000)).toBe(burst);
  for (const other of floodKinds)
    if (other !== kind) expect(chargesTaken(guard, other, 1_000_000)).toBe(limits[other].burst);
});

test("what is earned is for one kind, and never more than its burst", () => {
  const guard = new FloodGuard(limits);
  guard.earn("pings", 1_000);
  expect(chargesTaken(guard, "pings", 0)).toBe(limits.pings.burst);
  guard.earn("pings", 2);
  expect(chargesTaken(guard, "pings", 0)).toBe(1);
  guard.earn("pings", 1_000_000);
  expect(chargesTaken(guard, "pings", 0)).toBe(limits.pings.burst);
  expect(chargesTaken(guard, "settings", 0)).toBe(limits.settings.burst);
});
