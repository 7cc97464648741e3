import { expect, test } from "bun:test";
import { controlLimits } from "../../base/limits/control.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { sweep } from "./sweep.ts";

test("sweeping hurries while there is more, waits after a failure, and ends", async () => {
  const clock = new FakeClock(0);
  const outcomes: (boolean | Error)[] = [true, true, false, new Error("the disk is full"), true];
  const sweptAtMs: number[] = [];
  const told: string[] = [];
  const state = {
    prune: () => {
      sweptAtMs.push(clock.now());
      const outcome = outcomes.shift() ?? false;
      if (outcome instanceof Error) throw outcome;
      return outcome;
    },
  };
  const logger = {
    log: (level: string, _target: string, message: string, fields?: Readonly<Record<string, unknown>>) =>
      void told.push(`${level} ${message}: ${String(fields?.error)}`),
  };
  const beganMs = clock.now();
  const end = sweep(clock, state, logger);
  const { pruneIntervalMs, pruneAgainMs } = controlLimits;
  const expected = [
    pruneIntervalMs,
    pruneAgainMs,
    pruneAgainMs,
    pruneIntervalMs,
    pruneIntervalMs,
    pruneAgainMs,
  ];
  for (const ms of expected) await clock.advance(ms);
  expect(sweptAtMs.map((ms, index) => ms - (sweptAtMs[index - 1] ?? beganMs))).toEqual(expected);
  expect(told).toEqual(["warn old rows of the state could not be removed: the disk is full"]);
  end();
  await clock.advance(10 * pruneIntervalMs);
  expect(sweptAtMs.length).toBe(expected.length);
});

test("one that was under way at the end begins no other", async () => {
  const clock = new FakeClock(0);
  const under = Promise.withResolvers<boolean>();
  let swept = 0;
  const prune = () => {
    swept++;
    return under.promise;
  };
  const end = sweep(clock, { prune }, { log: () => {} });
  await clock.advance(controlLimits.pruneIntervalMs);
  end();
  under.resolve(true);
  await clock.advance(10 * controlLimits.pruneIntervalMs);
  expect(swept).toBe(1);
});
