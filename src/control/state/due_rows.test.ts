import { expect, test } from "bun:test";
import { stateLimits } from "../../base/limits/control.ts";
import { countRows, type DueRows, isFull } from "./due_rows.ts";

function due(
  rows: Partial<Record<"certificates" | "revocations" | "tokens", number>>,
  audit: object | null = null,
) {
  const many = (count = 0) => Array.from({ length: count }, () => ({}));
  return {
    audit,
    certificates: many(rows.certificates),
    revocations: many(rows.revocations),
    tokens: many(rows.tokens),
  } as unknown as DueRows;
}

test("as many of one kind as are looked at are a sign of more; of all kinds together they are none", () => {
  const { pruneRows } = stateLimits;
  for (const kind of ["certificates", "revocations", "tokens"] as const) {
    expect([kind, isFull(due({ [kind]: pruneRows }))]).toEqual([kind, true]);
    expect([kind, isFull(due({ [kind]: pruneRows - 1 }))]).toEqual([kind, false]);
  }
  const spread = due({ certificates: pruneRows - 1, revocations: 1 });
  expect([isFull(spread), countRows(spread)]).toEqual([false, pruneRows]);
});

test("audit rows are counted between their ends, and there are more where more were wanted", () => {
  const { pruneRows } = stateLimits;
  const audit = (endId: number, wantedId: number) => due({ tokens: 2 }, { startId: 10, endId, wantedId });
  expect(countRows(audit(15, 15))).toBe(7);
  expect(isFull(audit(15, 15))).toBe(false);
  expect(isFull(audit(15, 16))).toBe(true);
  expect(isFull(audit(10 + pruneRows, 10 + pruneRows))).toBe(true);
});
