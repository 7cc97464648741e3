import { expect, test } from "bun:test";
import type { Match } from "../../mesh/authorization.ts";
import { match, prefix, string } from "../testing/policy_fixtures.ts";
import { alternatives } from "./alternatives.ts";

const a = match({ principals: [string("a")] });
const b = match({ namespaces: [string("b")] });
const aOn1 = match({ principals: [string("a")], destinationPorts: [1] });
const bOn2 = match({ principals: [string("b")], destinationPorts: [2] });
const port = match({ destinationPorts: [3] });
const source = match({ sourceIps: [prefix("10.0.0.0/8")] });
const destination = match({ notDestinationIps: [prefix("10.0.0.0/8")] });

test("a rule whose clauses keep to one dimension each stays whole", () => {
  for (const clauses of [
    [],
    [[a, b]],
    [
      [a, b],
      [port, port],
      [source, source],
    ],
    [[aOn1], [bOn2]],
    // It never holds.
    [[]],
  ]) {
    expect(alternatives(clauses, 16)).toEqual([clauses]);
  }
});

test("a clause that mixes dimensions is split, and others are not", () => {
  expect(
    alternatives(
      [
        [a, b],
        [aOn1, bOn2],
      ],
      16,
    ),
  ).toEqual([
    [[a, b], [aOn1]],
    [[a, b], [bOn2]],
  ]);
  expect(alternatives([[a, port, source, destination]], 16)).toHaveLength(4);
});

test("two that mix give every pair, up to the bound", () => {
  const clauses: Match[][] = [
    [a, port],
    [source, destination, aOn1],
  ];
  expect(alternatives(clauses, 6)).toEqual([
    [[a], [source]],
    [[a], [destination]],
    [[a], [aOn1]],
    [[port], [source]],
    [[port], [destination]],
    [[port], [aOn1]],
  ]);
  expect(alternatives(clauses, 5)).toEqual([
    [[a], [source]],
    [[a], [destination, aOn1]],
    [[port], [source]],
    [[port], [destination, aOn1]],
  ]);
  expect(alternatives(clauses, 3)).toEqual([
    [[a], [source, destination, aOn1]],
    [[port], [source, destination, aOn1]],
  ]);
  expect(alternatives(clauses, 1)).toEqual([clauses]);
  // Of two that are as wide the first is joined.
  expect(
    alternatives(
      [
        [a, port],
        [source, destination],
      ],
      3,
    ),
  ).toEqual([
    [[a, port], [source]],
    [[a, port], [destination]],
  ]);
});

test("no number of clauses and matches exceeds the bound", () => {
  for (let clauseCount = 1; clauseCount < 6; clauseCount++) {
    for (const matchCount of [2, 3, 17, 200]) {
      const clauses = Array.from({ length: clauseCount }, (_, clause) =>
        Array.from({ length: matchCount }, (_, at) =>
          match({ principals: [string(`${clause}-${at}`)], destinationPorts: [at + 1] }),
        ),
      );
      for (const most of [1, 2, 7, 16]) {
        const found = alternatives(clauses, most);
        expect(found.length).toBeLessThanOrEqual(most);
        // Every combination of matches is in exactly one alternative.
        const combinations = found.map((each) => each.reduce((count, matches) => count * matches.length, 1));
        expect(combinations.reduce((sum, count) => sum + count, 0)).toBe(matchCount ** clauseCount);
      }
    }
  }
});

test("matches that differ in one dimension stay together, in the fewest groups", () => {
  const on = (name: string, destinationPort: number) =>
    match({ principals: [string(name)], destinationPorts: [destinationPort] });
  const from = (name: string, ...cidrs: string[]) =>
    match({ notPrincipals: [string(name)], sourceIps: cidrs.map(prefix) });
  for (const [matches, groups] of [
    [[on("a", 1), on("b", 1), on("c", 1)], [[0, 1, 2]]],
    [[on("a", 1), on("a", 2), on("a", 3)], [[0, 1, 2]]],
    [
      [on("a", 1), on("b", 2), on("c", 2)],
      [[0], [1, 2]],
    ],
    [
      [a, source, b, match({ sourceIps: [prefix("11.0.0.0/8")] })],
      [[0, 2], [1], [3]],
    ],
    [
      [from("a", "10.0.0.0/8"), from("b", "10.0.0.0/8"), from("a", "10.0.0.0/9")],
      [[0, 1], [2]],
    ],
    [
      [from("a", "10.0.0.0/8"), match({ principals: [string("a")], sourceIps: [prefix("10.0.0.0/8")] })],
      [[0, 1]],
    ],
    [
      [
        from("a", "10.0.0.0/8"),
        match({ notPrincipals: [string("b")], notSourceIps: [prefix("10.0.0.0/8")] }),
      ],
      [[0], [1]],
    ],
  ] as const) {
    const expected = groups.map((group) => [group.map((index) => matches[index])]);
    expect<unknown>(alternatives([matches], 16)).toEqual(expected);
  }
});
