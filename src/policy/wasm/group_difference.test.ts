import { expect, test } from "bun:test";
import { policy } from "../testing/policy_fixtures.ts";
import { differenceOf, isSame } from "./group_difference.ts";

const [a, b, c, d] = ["a", "b", "c", "d"].map((name) => policy({ name }));
const of = (...policies: readonly (typeof a)[]) => policies.filter((each) => each !== undefined);

test("what has come and gone, wherever it is", () => {
  expect(differenceOf(of(a, b, c), of(a, b, c))).toEqual({ added: [], gone: [] });
  expect(differenceOf(of(a, c), of(a, b, c))).toEqual({ added: of(b), gone: [] });
  expect(differenceOf(of(a, b, c), of(b, c, d))).toEqual({ added: of(d), gone: of(a) });
  expect(differenceOf([], of(a))).toEqual({ added: of(a), gone: [] });
  // One of two policies with one name is another.
  const other = policy({ name: "b" });
  const { added, gone } = differenceOf(of(a, b, c), of(a, other, c));
  expect([added[0] === other, gone[0] === b, added.length, gone.length]).toEqual([true, true, 1, 1]);
});

test("groups are the same by their policies", () => {
  const group = (...policies: readonly (typeof a)[]) => ({
    ...{ key: "namespace shop", named: false },
    policies: of(...policies),
  });
  expect(isSame(group(a, b), group(a, b))).toBe(true);
  expect(isSame(group(a, b), group(a))).toBe(false);
  expect(isSame(group(a, b), group(a, c))).toBe(false);
  expect(isSame(group(a, b), group(a, policy({ name: "b" })))).toBe(false);
});
