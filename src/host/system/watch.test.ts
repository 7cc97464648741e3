/** One change is told once: by the system's event, and not by the look that follows too. */
import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostLimits } from "../../base/limits/host.ts";
import type { Clock } from "../host.ts";
import { watchPath } from "./watch.ts";

const folder = mkdtempSync(join(tmpdir(), "fairlead-watch-"));
afterAll(() => rmSync(folder, { recursive: true }));

/** Timers that the test lets fire. */
class HandClock {
  readonly timers = new Map<object, { readonly delayMs: number; readonly callback: () => void }>();

  setTimer(delayMs: number, callback: () => void) {
    const timer = { cancel: () => void this.timers.delete(timer) };
    this.timers.set(timer, { delayMs, callback });
    return timer;
  }

  waits(delayMs: number): boolean {
    return [...this.timers.values()].some((timer) => timer.delayMs === delayMs);
  }

  /** Fires those that were set for so long, once one of them is. */
  async fire(delayMs: number): Promise<void> {
    while (!this.waits(delayMs)) await Bun.sleep(2);
    for (const [timer, { delayMs: own, callback }] of [...this.timers]) {
      if (own !== delayMs || !this.timers.delete(timer)) continue;
      callback();
    }
  }
}

test("a burst of events is told once, and a change right after the watch began is heard", async () => {
  const directory = join(folder, "burst");
  mkdirSync(directory);
  const clock = new HandClock();
  let told = 0;
  const stop = watchPath(clock as unknown as Clock, directory, () => void told++);
  for (const name of ["a", "b", "c"]) writeFileSync(join(directory, name), name);
  await clock.fire(hostLimits.watchCoalesceMs);
  while (told === 0) await Bun.sleep(2);
  expect(told).toBe(1);
  stop();
});

test("what an event has told is not told again by the next look", async () => {
  const [watched, elsewhere] = [join(folder, "watched"), join(folder, "elsewhere")];
  for (const directory of [watched, elsewhere]) mkdirSync(directory);
  const path = join(watched, "list");
  writeFileSync(path, "1");
  const clock = new HandClock();
  let told = 0;
  const stop = watchPath(clock as unknown as Clock, path, () => void told++);
  const looked = async (): Promise<void> => {
    await clock.fire(hostLimits.watchPollMs);
    while (!clock.waits(hostLimits.watchPollMs)) await Bun.sleep(2);
  };
  await looked();
  writeFileSync(join(elsewhere, "list"), "22");
  renameSync(join(elsewhere, "list"), path);
  await clock.fire(hostLimits.watchCoalesceMs);
  while (told === 0) await Bun.sleep(2);
  // However many events there were: each of them has been heard by now, and fired.
  while (clock.waits(hostLimits.watchCoalesceMs)) await clock.fire(hostLimits.watchCoalesceMs);
  const before = told;
  await looked();
  await looked();
  expect([told, clock.waits(hostLimits.watchCoalesceMs)]).toEqual([before, false]);
  stop();
  expect(clock.timers.size).toBe(0);
});
