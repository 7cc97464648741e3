import { expect, test } from "bun:test";
import { ConnectionCounts } from "./connection_counts.ts";

test("of each source and of all, as they come and go", () => {
  const counts = new ConnectionCounts(5, 3, "streams");
  for (let count = 0; count < 3; count++) counts.add("a");
  counts.add("b");
  const blameFor = (source: string) => counts.refusal(source)?.blame ?? null;
  expect([counts.of("a"), counts.of("b"), counts.of("c")]).toEqual([3, 1, 0]);
  expect([blameFor("a"), blameFor("b")]).toEqual(["peer", null]);
  counts.remove("a");
  expect([counts.of("a"), blameFor("a")]).toEqual([2, null]);
  counts.add("a");
  counts.add("c");
  // One too many of all is no fault of who comes next.
  expect(["a", "b", "d"].map(blameFor)).toEqual(["local", "local", "local"]);
  expect(counts.refusal("d")?.message).toBe("there are 5 streams already");
  for (const source of ["a", "a", "a", "b", "c"]) counts.remove(source);
  expect(["a", "b", "c"].map((source) => counts.of(source))).toEqual([0, 0, 0]);
  expect(blameFor("a")).toBeNull();
});
