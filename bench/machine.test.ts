import { describe, expect, test } from "bun:test";
import { busyReason, readProcessorTimes } from "./machine.ts";

const quiet = { busy: 0.01, steal: 0, load: 0.2, frequency: null };

describe("a quiet machine", () => {
  test("is one that does nothing else, whatever its load of a minute ago was", () => {
    expect(busyReason(quiet)).toBeNull();
    expect(busyReason({ ...quiet, load: 30 })).toBeNull();
    expect(busyReason({ ...quiet, frequency: 1 })).toBeNull();
  });

  test("is none with other programs, with time taken by the hypervisor, or on slowed cores", () => {
    expect(busyReason({ ...quiet, busy: 0.06 })).toBe("other programs take 6 % of the processors' time");
    expect(busyReason({ ...quiet, steal: 0.03 })).toContain("the hypervisor gives 3 %");
    expect(busyReason({ ...quiet, frequency: 0.5 })).toBe("a core runs at 50 % of its frequency");
  });

  test("processor time is read by column: idle and waiting for disks are not busy, stolen is by itself", () => {
    const stat = "cpu  100 20 30 4000 50 6 7 8 900 90\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
    // Guests (the last two) are in user and nice already.
    expect(readProcessorTimes(stat)).toEqual({ total: 4221, busy: 163, steal: 8 });
  });
});
