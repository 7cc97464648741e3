import { expect, test } from "bun:test";
import type { Clock } from "../host/host.ts";
import { meshLimits } from "./limits/mesh.ts";
import { TimeSlice } from "./time_slice.ts";

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
