import { expect, test } from "bun:test";
import { besideIstiod, type ComparedRound } from "./beside_istiod.ts";
import type { Row } from "./measure.ts";

const megabyte = 1024 * 1024;
const row = (what: string, lastMs: number, cpuMs: number): Row => ({
  ...{ what, lastMs, cpuMs, medianMs: null, bytes: 0, responses: 0, residentBytes: 0 },
});

function round(ours: readonly Row[], theirs: readonly Row[]): ComparedRound {
  return {
    rows: ours,
    memory: { connectedBytes: 100 * megabyte },
    istiod: {
      rows: theirs,
      readyBytes: 200 * megabyte,
      connectedBytes: 300 * megabyte,
      besideBytes: 500 * megabyte,
    },
  };
}

test("each figure has its ratio, and in bold where istiod takes less", () => {
  const rounds = [
    round([row("first push", 10, 20), row("all at once", 1, 1)], [row("first push", 30, 10)]),
    round([row("first push", 20, 20), row("all at once", 1, 1)], [row("first push", 40, 12)]),
  ];
  expect(besideIstiod(rounds)).toBe(`| what | Fairlead | istiod | istiod/Fairlead |
| --- | --- | --- | --- |
| first push: last ms | 15 (10–20) | 35 (30–40) | 2.3 |
| first push: CPU ms | 20 | 11 (10–12) | **0.55** |
| resident MB with all nodes | 100 | 300 | 3 |
| resident MB of what it needs beside |  | 500 |  |`);
});

test("without an istiod there is no table", () => {
  expect(besideIstiod([{ ...round([row("first push", 1, 1)], []), istiod: null }])).toBeNull();
});
