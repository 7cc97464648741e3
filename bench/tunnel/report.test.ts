import { expect, test } from "bun:test";
import { type Run, summarize, table } from "./report.ts";

function runs(subject: string, measures: readonly Record<string, number>[]): Run[] {
  return measures.map((each, round) => ({ subject, round, measures: each }));
}

test("the worst row is first, by the ratio in which more is better: rates the one way, times and sizes the other", () => {
  const summaries = summarize([
    ...runs("fairlead", [
      { "requests/s": 300, "p99 ms": 1, "idle MB": 20, only: 1 },
      { "requests/s": 100, "p99 ms": 3, "idle MB": 20, only: 1 },
      { "requests/s": 200, "p99 ms": 2, "idle MB": 20, only: 1 },
    ]),
    ...runs("envoy", [{ "requests/s": 100, "p99 ms": 3, "idle MB": 10 }]),
  ]);
  const rows = table(summaries, "fairlead", ["ztunnel", "envoy"])
    .split("\n")
    .map((row) => row.split("|").map((text) => text.trim()));
  expect(rows.slice(2).map((row) => [row[1], row[2], row.at(-2)])).toEqual([
    ["idle MB", "20", "0.50x"],
    ["p99 ms", "2 (1–3)", "1.50x"],
    ["requests/s", "200 (100–300)", "2.00x"],
    ["only", "1", ""],
  ]);
});
