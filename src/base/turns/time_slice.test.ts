import { expect, test } from "bun:test";
import type { Clock } from "../../host/host.ts";
import { meshLimits } from "../limits/mesh.ts";
import { proxyLimits } from "../limits/proxy.ts";
import { sweep, TimeSlice } from "./time_slice.ts";

test("steps run to their end, and everybody else has a turn at the end of each slice", async () => {
  let now = 0;
  const order: string[] = [];
  const clock: Clock = {
    now: () => now,
    wallMs: () => now,
    setTimer: () => ({ cancel() {} }),
    defer: (callback) => {
      order.push(`others at ${now}`);
      queueMicrotask(callback);
    },
  };
  function* work(): Generator<void, string> {
    for (let step = 0; step < 6; step++) {
      now += 2;
      yield;
    }
    return "done";
  }
  expect(await new TimeSlice(clock).run(work())).toBe("done");
  expect(meshLimits.parseSliceMs).toBe(5);
  expect(order).toEqual(["others at 6", "others at 12"]);
});

test("what is open is visited in slices, each item once, whoever takes long", () => {
  let nowMs = 0;
  const deferred: (() => void)[] = [];
  const clock = { now: () => nowMs, defer: (work: () => void) => void deferred.push(work) };
  const seen: number[] = [];
  let turns = 1;
  let isDone = false;
  const items = Array.from({ length: 1_000 }, (_, index) => index);
  const visit = (item: number): void => {
    seen.push(item);
    nowMs++;
  };
  sweep(clock, items, visit, () => {
    isDone = true;
  });
  // The clock is looked at after each: one may take as long as a slice.
  expect(seen.length).toBe(proxyLimits.recheckSliceMs);
  expect(isDone).toBe(false);
  for (let work = deferred.shift(); work !== undefined; work = deferred.shift()) {
    turns++;
    work();
  }
  expect([seen, isDone, turns]).toEqual([items, true, 1_000 / proxyLimits.recheckSliceMs]);
});

test("a fault of ours at one of them is told, and keeps no other from its turn", () => {
  const deferred: (() => void)[] = [];
  const clock = { now: () => 0, defer: (work: () => void) => void deferred.push(work) };
  const seen: number[] = [];
  let isDone = false;
  const visit = (item: number): void => {
    seen.push(item);
    if (item === 1 || item === 3) throw new TypeError(`at ${item}`);
  };
  const done = (): void => {
    isDone = true;
  };
  expect(() => sweep(clock, [0, 1, 2, 3], visit, done)).toThrow("at 1");
  expect([seen, isDone]).toEqual([[0, 1], false]);
  expect(() => deferred.shift()?.()).toThrow("at 3");
  // The last one's, too: whoever waits for the end of it hears of that.
  deferred.shift()?.();
  expect([seen, isDone, deferred]).toEqual([[0, 1, 2, 3], true, []]);
});

test("each slice visits one at least, also where the time passes by itself", () => {
  const deferred: (() => void)[] = [];
  let nowMs = 0;
  const now = (): number => {
    nowMs += proxyLimits.recheckSliceMs;
    return nowMs;
  };
  const seen: number[] = [];
  sweep({ now, defer: (work) => void deferred.push(work) }, [1, 2, 3], (item) => void seen.push(item));
  for (let turns = 0; turns < 2; turns++) deferred.shift()?.();
  expect([seen, deferred.length]).toEqual([[1, 2, 3], 0]);
});

test("work goes on at once within a slice, and gives way when that is as long as a slice may be", async () => {
  let nowMs = 0;
  let turns = 0;
  const defer = (work: () => void): void => {
    turns++;
    queueMicrotask(work);
  };
  const slice = new TimeSlice({ now: () => nowMs, defer });
  for (const [spentMs, given] of [
    [meshLimits.parseSliceMs - 1, 0],
    [1, 1],
    [meshLimits.parseSliceMs - 1, 1],
    [1, 2],
  ] as const) {
    nowMs += spentMs;
    await slice.giveWay();
    expect(turns).toBe(given);
  }
});
