import { expect, test } from "bun:test";
import { hostLimits } from "../base/limits/host.ts";
import type { Clock } from "../host/host.ts";
import { TurnWatch } from "./turn_watch.ts";

function watched() {
  let now = 0;
  let due: { readonly atMs: number; readonly callback: () => void } | null = null;
  const clock: Clock = {
    now: () => now,
    wallMs: () => 0,
    defer: () => {},
    setTimer: (delayMs, callback) => {
      const timer = { atMs: now + delayMs, callback };
      due = timer;
      return {
        cancel: () => {
          if (due === timer) due = null;
        },
      };
    },
  };
  const watch = new TurnWatch(clock);
  /** The loop is free until then, or held. */
  const pass = (ms: number, isHeld = false) => {
    const end = now + ms;
    while (!isHeld && due !== null && due.atMs <= end) {
      now = due.atMs;
      due.callback();
    }
    now = end;
    if (isHeld && due !== null && due.atMs <= now) due.callback();
  };
  return { watch, pass, timers: () => (due === null ? 0 : 1) };
}

test("a loop that is free is late by nothing, one that is held by as long as it was, to within the interval", () => {
  const { watch, pass } = watched();
  pass(5_000);
  expect(watch.longestMs).toBe(0);
  pass(120, true);
  expect(watch.longestMs).toBeGreaterThanOrEqual(120 - hostLimits.turnWatchMs);
  expect(watch.longestMs).toBeLessThanOrEqual(120);
});

test("a turn is told for a minute at least, and two at the most", () => {
  const { watch, pass } = watched();
  pass(200, true);
  pass(hostLimits.turnWindowMs);
  expect(watch.longestMs).toBeGreaterThan(150);
  pass(hostLimits.turnWindowMs + 1000);
  expect(watch.longestMs).toBe(0);
});

test("closed, it sets no timer any more; begun again, it has seen nothing", () => {
  const { watch, pass, timers } = watched();
  pass(200, true);
  watch.reset();
  expect(watch.longestMs).toBe(0);
  watch.close();
  expect(timers()).toBe(0);
});
