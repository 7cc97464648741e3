import { describe, expect, test } from "bun:test";
import {
  addTallies,
  countTogether,
  emptyTally,
  failedNames,
  failureLines,
  formatTally,
  parseJunit,
  parseTally,
  skippedNames,
  whatFailed,
} from "./tally.ts";

const junit = `<?xml version="1.0"?>
<testsuites name="bun test" tests="4" assertions="1" failures="1" skipped="2" time="0.01">
  <testcase name="a" time="0" line="2" assertions="0" />
  <testcase name="capture: needs root &amp; nft" time="0" assertions="0">
    <skipped />
  </testcase>
</testsuites>`;

describe("tally", () => {
  test("the closing line says what was skipped only when something was", () => {
    expect(formatTally({ passed: 3, failed: 0, skipped: 0 })).toBe("3 passed, 0 failed");
    expect(formatTally({ passed: 3, failed: 1, skipped: 2 })).toBe("3 passed, 1 failed, 2 skipped");
  });

  test("of what runs at a time all is counted, whoever is over first", async () => {
    const ends: (() => void)[] = [];
    const begun: number[] = [];
    const counting = countTogether([1, 2, 3, 4, 5], 2, (one) => {
      begun.push(one);
      return new Promise((resolve) => {
        ends.push(() => resolve({ ...emptyTally, passed: 10 ** one, failed: one === 2 ? 1 : 0 }));
      });
    });
    const seen: string[] = [];
    while (begun.length < 5 || ends.length > 0) {
      seen.push(begun.join(""));
      // The one that began last.
      ends.pop()?.();
      await Bun.sleep(0);
    }
    expect(await counting).toEqual({ passed: 111_110, failed: 1, skipped: 0 });
    expect(seen.slice(0, 4)).toEqual(["12", "123", "1234", "12345"]);
  });

  test("a program is judged by its last closing line", () => {
    expect(parseTally("1 passed, 0 failed\nmore\n2 passed, 1 failed, 4 skipped\n")).toEqual({
      passed: 2,
      failed: 1,
      skipped: 4,
    });
    expect(parseTally("all 3 passed, 0 failed today")).toBeNull();
  });

  test("skipped tests are not passed ones", () => {
    expect(parseJunit(junit)).toEqual({ passed: 1, failed: 1, skipped: 2 });
    expect(parseJunit("")).toBeNull();
    expect(skippedNames(junit)).toEqual(["capture: needs root & nft"]);
  });

  test("a failed test is named with its file and its reason", () => {
    const xml = `<testcase name="a &lt; b" classname="x" time="0" file="src/a.test.ts" line="2" assertions="1">
      <failure type="AssertionError" message="expect(received).toBe(expected)&#10;&#10;Expected: 2">…</failure>
    </testcase><testcase name="good" classname="x" time="0" file="src/a.test.ts" line="3" assertions="0" />`;
    expect(failedNames(xml)).toEqual(["src/a.test.ts: a < b (expect(received).toBe(expected))"]);
    expect(failedNames(junit)).toEqual([]);
  });

  test("a program's own words for a failure are found in its output", () => {
    const output =
      "  ✓ good\n  ✗ the stream is cut\nfailed: seed 7\n        × 1: Sends a PING\n3 passed, 3 failed\n";
    expect(failureLines(output)).toEqual(["✗ the stream is cut", "failed: seed 7", "× 1: Sends a PING"]);
    const others =
      "failed  node: PING: a turn of 80 ms\nok   one\nFAIL two: the application saw a\n1 passed, 2 failed\n";
    expect(failureLines(others)).toEqual([
      "failed  node: PING: a turn of 80 ms",
      "FAIL two: the application saw a",
    ]);
  });

  test("a suite that failed is named, whether it said which case or was stopped before it could", () => {
    const one = { passed: 3, failed: 1, skipped: 0 };
    expect(whatFailed("http", one, ["FAIL a"], "")).toEqual(["http: FAIL a"]);
    expect(whatFailed("http", { ...one, failed: 0 }, ["FAIL a"], "")).toEqual([]);
    expect(whatFailed("http", one, [], "ok b\n\nstopped after 9 s\n")).toEqual([
      "http: 1 failed, and it named none; it ended with: ok b | stopped after 9 s",
    ]);
  });

  test("tallies add up", () => {
    const sum = addTallies({ passed: 1, failed: 2, skipped: 3 }, { passed: 10, failed: 20, skipped: 30 });
    expect(sum).toEqual({ passed: 11, failed: 22, skipped: 33 });
  });
});
