import { describe, expect, test } from "bun:test";
import type { AuthorityState } from "../records/keys.ts";
import { type AuthorityPosition, activation, positions, unfinished } from "./authority_states.ts";

const at = (id: string, state: AuthorityState, ...below: readonly string[]): AuthorityPosition => ({
  id,
  state,
  below,
});
const steps = (changes: ReturnType<typeof activation>): readonly string[] =>
  changes.map(({ id, state }) => `${id} ${state}`);

describe("from active to next", () => {
  test("the old one steps back first, and what is above the new one follows it", () => {
    const authorities = [
      at("old", "active"),
      at("gone", "retired"),
      at("root", "next", "other", "new"),
      at("stranger", "next", "other"),
      at("new", "next"),
      at("before", "retiring"),
    ];
    expect(steps(activation(authorities))).toEqual(["old retiring", "new active", "root retiring"]);
  });

  test("there is none without one that has nothing below it", () => {
    expect(activation([at("old", "active")])).toEqual([]);
    expect(activation([at("old", "active"), at("root", "next", "old")])).toEqual([]);
    expect(steps(activation([at("new", "next")]))).toEqual(["new active"]);
  });
});

describe("what a process that was killed has left undone", () => {
  test("between the two writes none is active: the next one becomes it", () => {
    expect(steps(unfinished([at("old", "retiring"), at("new", "next")]))).toEqual(["new active"]);
  });

  test("after them the root that came with it still has to follow, and no other", () => {
    const authorities = [
      at("old", "retiring"),
      at("new", "active"),
      at("root", "next", "new"),
      at("far", "next", "x"),
    ];
    // What is above the active one says that it has not stepped back.
    expect(steps(unfinished(authorities))).toEqual(["root retiring"]);
  });

  test("a root that issues itself steps back for the intermediate below it", () => {
    expect(steps(unfinished([at("root", "active", "new"), at("new", "next")]))).toEqual([
      "root retiring",
      "new active",
    ]);
    expect(unfinished([at("root", "active", "new"), at("new", "retiring"), at("other", "next")])).toEqual([]);
  });

  test("nothing, where nothing was begun", () => {
    expect(unfinished([at("one", "active"), at("two", "next")])).toEqual([]);
    expect(unfinished([])).toEqual([]);
  });
});

test("whoever is below another is told by the keys above it", () => {
  const authority = (id: string, key: string, ...above: readonly string[]) =>
    ({
      id,
      state: "active",
      certificate: { authorityKey: key },
      above: above.map((authorityKey) => ({ authorityKey })),
    }) as unknown as Parameters<typeof positions>[0][number];
  // A root is above itself in its own row; that is nothing below it.
  expect(
    positions([authority("root", "r", "r"), authority("one", "1", "r"), authority("two", "2", "1", "r")]),
  ).toEqual([
    { id: "root", state: "active", below: ["one", "two"] },
    { id: "one", state: "active", below: ["two"] },
    { id: "two", state: "active", below: [] },
  ]);
});
