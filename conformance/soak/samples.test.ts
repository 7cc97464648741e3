import { expect, test } from "bun:test";
import { leastJudgedMs, longestTurnMs, type Sample, sampleOf, settleMs, slopePerMinute } from "./samples.ts";

const megabyte = 1_000_000;

/** A saw-tooth of a collector over a line. */
function series(seconds: number, perMinute: number, from = 0): readonly Sample[] {
  return Array.from({ length: seconds }, (_, second) => ({
    atMs: from + second * 1000,
    rssBytes: 100 * megabyte + (perMinute * second) / 60 + (second % 7) * 5 * megabyte,
    descriptors: 10,
  }));
}

test("a slope is that of what is left after collections", () => {
  for (const perMinute of [0, 2 * megabyte, -megabyte]) {
    const slope = slopePerMinute(series(600, perMinute));
    expect(Math.abs((slope ?? Number.NaN) - perMinute)).toBeLessThan(0.3 * megabyte);
  }
});

test("the time in which a program settles does not count, nor does a stretch that is too short", () => {
  const start = series(settleMs / 1000, 60 * megabyte);
  const level = series(200, 0, settleMs).map((sample) => ({
    ...sample,
    rssBytes: sample.rssBytes + 200 * megabyte,
  }));
  expect(Math.abs(slopePerMinute([...start, ...level]) ?? Number.NaN)).toBeLessThan(0.3 * megabyte);
  expect(slopePerMinute(series(settleMs / 1000 + leastJudgedMs / 1000 - 5, 9 * megabyte))).toBeNull();
  expect(slopePerMinute([])).toBeNull();
});

test("one peak moves nothing", () => {
  const samples = series(600, 0).map((sample, index) =>
    index > 400 && index < 440 ? { ...sample, rssBytes: 900 * megabyte } : sample,
  );
  expect(Math.abs(slopePerMinute(samples) ?? Number.NaN)).toBeLessThan(0.3 * megabyte);
});

test("the longest turn is that since the process was ready", () => {
  expect(longestTurnMs("1000 300.5\n2000 12.25\n3000 7\n", 1500)).toBe(12.25);
  expect(longestTurnMs("", 0)).toBe(0);
});

test.skipIf(process.platform !== "linux")(
  "a process of this machine has memory and descriptors, one that is gone has none",
  async () => {
    const own = sampleOf(process.pid, 5);
    expect(own?.rssBytes).toBeGreaterThan(megabyte);
    expect(own?.descriptors).toBeGreaterThan(2);
    const child = Bun.spawn(["true"]);
    await child.exited;
    expect(sampleOf(child.pid, 5)).toBeNull();
  },
);
