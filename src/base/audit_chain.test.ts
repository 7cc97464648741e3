import { expect, test } from "bun:test";
import { type ChainedRow, chainRow } from "./audit_chain.ts";

const row: ChainedRow = {
  id: 7,
  atMs: 1_000,
  actor: "ada",
  action: "nodes.revoke",
  target: "edge-1",
  namespace: "shop",
  outcome: "ok",
  detail: "lost",
  before: "b",
  after: "a",
} as ChainedRow;

test("the hash of a row is over each of its fields, the one before it and its salt", () => {
  const previous = new Uint8Array(32).fill(1);
  for (const salt of [Uint8Array.of(5), null]) {
    const hashOf = (change: Partial<Record<keyof ChainedRow, unknown>>): string =>
      chainRow(previous, { ...row, ...change } as ChainedRow, salt).toHex();
    const hashes = [
      hashOf({}),
      hashOf({ id: 8 }),
      hashOf({ atMs: 1_001 }),
      hashOf({ outcome: "refused" }),
      ...(["actor", "action", "target", "namespace", "detail", "before", "after"] as const).flatMap(
        (field) => [hashOf({ [field]: "other" }), hashOf({ [field]: "" })],
      ),
      ...(["namespace", "before", "after"] as const).map((field) => hashOf({ [field]: null })),
      // What moves from one field to the next makes another row.
      hashOf({ detail: "lostb", before: "" }),
      chainRow(new Uint8Array(32), row, salt).toHex(),
    ];
    expect(new Set(hashes).size).toBe(hashes.length);
    expect(hashOf({})).toBe(hashes[0] ?? "");
  }
  expect(chainRow(previous, row, Uint8Array.of(5))).not.toEqual(chainRow(previous, row, Uint8Array.of(6)));
});
