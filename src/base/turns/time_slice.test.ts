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
