/** The parts of the index by themselves. The engine evaluates what the index lets through, so that its decisions do not show a loose one. */
import { describe, expect, test } from "bun:test";
import { runSteps } from "../../base/turns/time_slice.ts";
import type { Match } from "../../mesh/authorization.ts";
import { match, prefix } from "../testing/policy_fixtures.ts";
import { buildDimension } from "./dimension.ts";
import { prepareRule } from "./prepared_rule.ts";
import { absentField, compareKeys, ipv4Fields, mergeRanges, portFields, rangesContain } from "./ranges.ts";
import { DenseRuleSet } from "./rule_set.ts";

const allPorts = { start: 0, end: 65_536 };
const allIpv4 = { start: 0, end: 2 ** 32 };
const on = (...destinationPorts: readonly number[]) => match({ destinationPorts });
const not = (...notDestinationPorts: readonly number[]) => match({ notDestinationPorts });
const elsewhere = match({ sourceIps: [prefix("10.0.0.0/8")] });

/** By rule whether it is in the base, then where it differs: `start-end: rules`. */
function ports(rules: readonly (readonly (readonly Match[])[])[], most = 1_000): readonly unknown[] {
  const { base, classes } = runSteps(
    buildDimension(rules.map(prepareRule), (one) => one.ports, allPorts, most),
  );
  return [
    rules.map((_, index) => base.has(index)),
    classes.map(({ range, flips }) => `${range.start}-${range.end}: ${flips}`),
  ];
}

describe("rules by port", () => {
  test("one that does not look at ports is possible at each, and has no class", () => {
    expect(ports([[[elsewhere]], []])).toEqual([[true, true], []]);
  });

  test("one that names ports is possible there alone, and one that excludes them everywhere else", () => {
    expect(ports([[[on(80, 81, 90)]], [[not(81)]]])).toEqual([
      [false, true],
      ["80-81: 0", "81-82: 0,1", "90-91: 0"],
    ]);
  });

  test("both in one match, several matches and several clauses come out by what holds", () => {
    expect(ports([[[match({ destinationPorts: [80, 81], notDestinationPorts: [81] })]]])).toEqual([
      [false],
      ["80-81: 0"],
    ]);
    expect(ports([[[on(80), on(90)]]])).toEqual([[false], ["80-81: 0", "90-91: 0"]]);
    expect(ports([[[on(80, 90)], [not(90)]]])).toEqual([[false], ["80-81: 0"]]);
    expect(ports([[[on(80), elsewhere]]])).toEqual([[true], []]);
    expect(ports([[[elsewhere, not(80)]]])).toEqual([[true], []]);
  });

  test("what takes more entries than there may be is possible everywhere, the widest first", () => {
    const rules = [[[on(80)]], [[on(81, 83, 85)]], [[on(81)]]];
    const exact = ["80-81: 0", "81-82: 1,2", "83-84: 1", "85-86: 1"];
    expect(ports(rules, 5)).toEqual([[false, false, false], exact]);
    expect(ports(rules, 4)).toEqual([
      [false, true, false],
      ["80-81: 0", "81-82: 2"],
    ]);
    expect(ports(rules, 2)).toEqual([
      [false, true, false],
      ["80-81: 0", "81-82: 2"],
    ]);
    expect(ports(rules, 1)).toEqual([[false, true, true], ["80-81: 0"]]);
  });
});

test("a prefix of length 0 is every address, wherever it stands", () => {
  const of = (one: Match) => {
    const { base, classes } = runSteps(
      buildDimension([prepareRule([[one]])], (each) => each.source4, allIpv4, 100),
    );
    return [base.has(0), classes.length];
  };
  const [all, some] = [prefix("0.0.0.0/0"), prefix("10.0.0.0/8")];
  expect(of(match({ sourceIps: [all] }))).toEqual([true, 0]);
  expect(of(match({ notSourceIps: [all] }))).toEqual([false, 0]);
  expect(of(match({ sourceIps: [some] }))).toEqual([false, 1]);
  expect(of(match({ sourceIps: [all], notSourceIps: [some] }))).toEqual([true, 1]);
  expect(of(match({ sourceIps: [some], notSourceIps: [all] }))).toEqual([false, 0]);
});

test("a set is full when each of its rules is in it, at every size of words", () => {
  for (const count of [0, 1, 31, 32, 33, 64, 70])
    for (const lacking of [null, 0, 31, 32, count - 1]) {
      const set = new DenseRuleSet(count, (rule) => rule !== lacking);
      const isFull = lacking === null || lacking < 0 || lacking >= count;
      expect([count, lacking, set.isFull]).toEqual([count, lacking, isFull]);
    }
});

test("ranges are sorted and joined where they touch, and hold their start and not their end", () => {
  const range = (start: number, end: number) => ({ start, end });
  expect(mergeRanges([range(5, 7), range(1, 3), range(3, 4)])).toEqual([range(1, 4), range(5, 7)]);
  expect(mergeRanges([range(1, 9), range(2, 3), range(9, 10)])).toEqual([range(1, 10)]);
  const alone = [range(3, 4)];
  expect(mergeRanges(alone)).toBe(alone);
  const merged = [range(1, 4), range(5, 7)];
  expect([0, 1, 3, 4, 5, 6, 7].map((value) => rangesContain(merged, value))).toEqual([
    ...[false, true, true, false, true, true, false],
  ]);
  expect([compareKeys(1, 2), compareKeys(2, 2), compareKeys(3, 2)]).toEqual([-1, 0, 1]);
  expect(portFields([], [])).toBe(absentField);
  expect(portFields([], [80])).toEqual({ positive: null, negative: [range(80, 81)] });
  expect(ipv4Fields([], [])).toBe(absentField);
  expect(ipv4Fields([prefix("::/0")], [])).toEqual({ positive: [], negative: [] });
});
