import { expect, test } from "bun:test";
import { inTurn } from "./rounds.ts";

test("every subject is in every round, and each is first in its turn", () => {
  const rounds = [1, 2, 3, 4].map((round) => inTurn(["a", "b", "c"], round).join(""));
  expect(rounds).toEqual(["abc", "bca", "cab", "abc"]);
  expect(inTurn([], 2)).toEqual([]);
});
