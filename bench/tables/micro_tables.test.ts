import { expect, test } from "bun:test";
import { engineTable, policyTable } from "./micro_tables.ts";

const result = (name: string, variant: string, size: number, medianNs: number) => ({
  name,
  variant,
  size,
  medianNs,
  bestNs: medianNs / 2,
  batches: 75,
  timesPerBatch: 10,
});

test("a case has a row, its sizes columns, and the reference stands where it was measured", () => {
  const table = policyTable([
    result("one", "wasm", 10, 200),
    result("one", "wasm", 1_000, 3_000),
    result("one", "typescript", 1_000, 4_000_000),
    result("other", "wasm", 1_000, 500),
    result("small", "wasm", 10, 100),
    result("small", "typescript", 10, 800),
  ]);
  expect(table.split("\n")).toEqual([
    "| case | 10 policies | 1,000 policies | typescript |",
    "| --- | --- | --- | --- |",
    "| one | 200 ns (100 ns) | 3 us (1.5 us) | 4 ms (2 ms) |",
    "| other |  | 500 ns (250 ns) |  |",
    "| small | 100 ns (50 ns) |  | 800 ns (400 ns) at 10 |",
  ]);
});

test("an engine's figure has its median and its range", () => {
  expect(engineTable([{ engine: "h2", name: "echo", unit: "ns", rounds: [30, 10, 20] }])).toEndWith(
    "| h2 | echo | 20 (10–30) | ns |",
  );
});
