import { expect, test } from "bun:test";
import type { Match } from "../mesh/authorization.ts";
import { alternatives } from "./alternatives.ts";
import { match, prefix, string } from "./policy_fixtures.ts";

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
  expect(alternatives(clauses, 5)).toEqual([clauses]);
});
