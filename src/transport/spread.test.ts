import { expect, test } from "bun:test";
import { upgradeLimits } from "../base/limits/host.ts";
import { FakeClock } from "../pki/testing/fake_clock.ts";
import { spread } from "./spread.ts";

const many = 2 * upgradeLimits.goawaySteps + 1;

test("all are done in order, in no more steps than the bound, within the time", async () => {
  const clock = new FakeClock(0);
  const done: number[] = [];
  const at = new Set<number>();
  const items = Array.from({ length: many }, (_, index) => index);
  spread(clock, items, 30_000, (item) => {
    done.push(item);
    at.add(clock.now());
  });
  expect(done.length).toBe(3);
  await clock.advance(15_000);
  expect(done.length).toBeWithin(many / 3, many);
  await clock.advance(15_000);
  expect(done).toEqual(items);
  expect(at.size).toBeLessThanOrEqual(upgradeLimits.goawaySteps);
  expect(clock.timers).toBe(0);
});

test("in no time it is done at once; and what is ended goes no further", async () => {
  const clock = new FakeClock(0);
  const done: number[] = [];
  spread(clock, [1, 2, 3], 0, (item) => done.push(item));
  expect([done, clock.timers]).toEqual([[1, 2, 3], 0]);
  const end = spread(clock, [4, 5, 6], 3_000, (item) => done.push(item));
  end();
  await clock.advance(10_000);
  expect(done).toEqual([1, 2, 3, 4]);
  spread(clock, [], 3_000, (item: number) => done.push(item));
  expect(clock.timers).toBe(0);
});
