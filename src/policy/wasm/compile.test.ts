/** What is in a section's bytes. Decisions do not show an index that leaves too much in: what it lets through is evaluated. */
import { describe, expect, test } from "bun:test";
import {
  FAMILY_BYTES,
  FAMILY_CLASSES,
  MATCH_BYTES,
  MATCH_PORTS,
  PROGRAM_CLAUSES,
  SECTION_DESTINATION,
  SECTION_HEADER_BYTES,
  SECTION_IDENTITY_BASE,
  SECTION_OPEN,
  SECTION_PORT_BASE,
  SECTION_PORT_CLASSES,
  SECTION_RULE_COUNT,
  SECTION_SOURCE,
} from "../../../wasm/assembly/layout.ts";
import { policyLimits } from "../../base/limits/policy.ts";
import type { Match } from "../../mesh/authorization.ts";
import type { PolicyLimits } from "../policy_engine.ts";
import { match, policy, prefix, rule, string } from "../testing/policy_fixtures.ts";
import { CallerIndex } from "./caller_index.ts";
import { type CompiledSection, canCompile, compileSection } from "./compile.ts";
import { prepareRule } from "./prepared_rule.ts";
import { writeRuleProgram } from "./rule_program.ts";
import { DenseRuleSet, setShape, summarize, writeFlips } from "./rule_set.ts";
import { WordWriter } from "./word_writer.ts";

const on = (...destinationPorts: readonly number[]) => match({ destinationPorts });
const from = (...names: readonly string[]) => match({ namespaces: names.map(string) });

/** Each rule of one clause of one match. */
function sectionOf(matches: readonly Match[], limits: Partial<PolicyLimits> = {}): CompiledSection | null {
  const rules = matches.map((one) => rule([one]));
  return compileSection([policy({ rules })], { ...policyLimits, ...limits });
}

function wordsOf(matches: readonly Match[]): (offset: number) => number {
  const words = sectionOf(matches)?.words;
  return (offset) => words?.[offset / 4] ?? -1;
}

/** Which of its dimensions a section has: a base, and classes. */
function dimensionsOf(matches: readonly Match[]): readonly string[] {
  const at = wordsOf(matches);
  const fields = {
    identity: SECTION_IDENTITY_BASE,
    port: SECTION_PORT_BASE,
    "port classes": SECTION_PORT_CLASSES,
    source4: SECTION_SOURCE,
    "source4 classes": SECTION_SOURCE + FAMILY_CLASSES,
    source6: SECTION_SOURCE + FAMILY_BYTES,
    "source6 classes": SECTION_SOURCE + FAMILY_BYTES + FAMILY_CLASSES,
    destination4: SECTION_DESTINATION,
    "destination4 classes": SECTION_DESTINATION + FAMILY_CLASSES,
    destination6: SECTION_DESTINATION + FAMILY_BYTES,
    "destination6 classes": SECTION_DESTINATION + FAMILY_BYTES + FAMILY_CLASSES,
  };
  return Object.entries(fields)
    .filter(([, field]) => at(field) !== 0)
    .map(([name]) => name);
}

describe("a section", () => {
  test("has the dimensions that its rules look at, and of them what is to be told apart", () => {
    expect(dimensionsOf([from("a")])).toEqual(["identity"]);
    expect(dimensionsOf([on(80)])).toEqual(["port", "port classes"]);
    expect(dimensionsOf([match({ notDestinationPorts: [80] })])).toEqual(["port", "port classes"]);
    // No address of the other family is in it: a base of its own, and no class.
    expect(dimensionsOf([match({ sourceIps: [prefix("10.0.0.0/8")] })])).toEqual([
      ...["source4", "source4 classes", "source6"],
    ]);
    expect(dimensionsOf([match({ destinationIps: [prefix("2001:db8::/32")] })])).toEqual([
      ...["destination4", "destination6", "destination6 classes"],
    ]);
    expect(dimensionsOf([match({ notDestinationIps: [prefix("2001:db8::/32")] })])).toEqual([
      ...["destination6", "destination6 classes"],
    ]);
    expect(dimensionsOf([match({ sourceIps: [prefix("0.0.0.0/0")] })])).toEqual(["source6"]);
  });

  test("says in which words some rule is open to whom and for what no rule mentions", () => {
    const open = (matches: readonly Match[]) =>
      [0, 4, 8, 12].map((offset) => {
        const at = wordsOf(matches);
        return at(at(SECTION_OPEN + offset));
      });
    expect(open([on(80)])).toEqual([0, 0, 0, 0]);
    expect(open([match({ notDestinationPorts: [80] })])).toEqual([1, 1, 1, 1]);
    expect(open([from("a")])).toEqual([0, 0, 0, 0]);
    // IPv4 to IPv4, IPv4 to IPv6, and so on: of the rule's own family some are open, of the other none.
    expect(open([match({ sourceIps: [prefix("0.0.0.0/0")] })])).toEqual([1, 1, 0, 0]);
    expect(open([match({ destinationIps: [prefix("::/0")] })])).toEqual([0, 1, 0, 1]);
    // Of 65 rules, that one alone which is in the second word.
    const many = [...Array.from({ length: 64 }, () => on(80)), match({ notDestinationPorts: [80] })];
    expect(open(many)).toEqual([2, 2, 2, 2]);
  });

  test("has a set of rules that are alike in two classes but once", () => {
    const at = wordsOf([on(80, 90), on(90, 100)]);
    const classes = at(SECTION_PORT_CLASSES);
    const count = at(classes);
    const sets = Array.from({ length: count }, (_, index) => at(classes + 8 + 8 * count + 4 * index));
    expect(count).toBe(3);
    expect(new Set(sets).size).toBe(3);
    const alike = wordsOf([on(80, 90, 100)]);
    const [first, second, third] = [0, 4, 8].map((offset) =>
      alike(alike(SECTION_PORT_CLASSES) + 32 + offset),
    );
    expect([second, third]).toEqual([first, first]);
  });

  test("has no bit for a rule that never holds, and one for a rule that always does", () => {
    expect(sectionOf([match({})])?.rules).toEqual([]);
    const always = compileSection([policy({ rules: [rule(), rule([])] })], policyLimits);
    expect(always?.rules.map(({ rule: index }) => index)).toEqual([0, 1]);
    expect(always?.words[SECTION_RULE_COUNT / 4]).toBe(2);
    const some = compileSection(
      [policy({ rules: [rule([on(1)], [match({})]), rule([on(2)])] })],
      policyLimits,
    );
    expect(some?.rules.map(({ rule: index }) => index)).toEqual([1]);
  });

  test("of as many bytes as an image may have is compiled, and of more is not", () => {
    const bytes = sectionOf([on(80), from("a")])?.words.byteLength ?? 0;
    expect(bytes).toBeGreaterThan(SECTION_HEADER_BYTES);
    expect(sectionOf([on(80), from("a")], { maxImageBytes: bytes })).not.toBeNull();
    expect(sectionOf([on(80), from("a")], { maxImageBytes: bytes - 1 })).toBeNull();
  });

  test("of as many rules as may be is compiled, and of one more is not", () => {
    const rules = [rule([on(1)]), rule([on(2)])];
    const [two, three] = [policy({ rules }), policy({ rules: [...rules, ...rules.slice(1)] })];
    const limits = { ...policyLimits, maxRulesPerSection: 2 };
    expect([canCompile(two, limits), canCompile(three, limits)]).toEqual([true, false]);
    expect(compileSection([two], limits)?.rules).toHaveLength(2);
    expect(compileSection([three], limits)).toBeNull();
  });

  test("tells mixed matches apart as long as their pieces are no more than its rules may be", () => {
    const mixed = policy({ rules: [rule([on(1), from("a")], [on(2), from("b")])] });
    const pieces = (maxRulesPerSection: number) =>
      compileSection([mixed], { ...policyLimits, maxRulesPerSection })?.rules.length;
    expect([pieces(5), pieces(4), pieces(3)]).toEqual([4, 4, 1]);
  });
});

test("callers are looked at where some rule does", () => {
  expect(CallerIndex.of([]).isEmpty).toBe(true);
  expect(CallerIndex.of([[[on(80)]]]).isEmpty).toBe(true);
  expect(CallerIndex.of([[[on(80)]], [[from("a")]]]).isEmpty).toBe(false);
});

test("a program has a table for each field that its rule has, and none for the others", () => {
  const writer = new WordWriter();
  const program = writeRuleProgram(writer, prepareRule([[on(80)]]), CallerIndex.of([[[on(80)]]]));
  const matchAt = writer.finish()[(program + PROGRAM_CLAUSES + 4) / 4] ?? -1;
  const fields = [...writer.finish().subarray(matchAt / 4, (matchAt + MATCH_BYTES) / 4)];
  expect(fields.map((field, index) => (field === 0 ? -1 : 4 * index)).filter((at) => at >= 0)).toEqual([
    MATCH_PORTS,
  ]);
});

test("a set has a bit for each of its rules and none beyond the last", () => {
  const words = (count: number) => [...new DenseRuleSet(count, () => true).words];
  expect(words(0)).toEqual([]);
  expect(words(1)).toEqual([1, 0]);
  expect(words(33)).toEqual([0xffff_ffff, 1]);
  expect(words(65)).toEqual([0xffff_ffff, 0xffff_ffff, 1, 0]);
});

test("a summary has a bit for each pair of words in which there is one", () => {
  const words = new Uint32Array(2 * 130);
  for (const [pair, half] of [
    [0, 0],
    [3, 1],
    [32, 0],
    [64, 1],
    [129, 0],
  ] as const)
    words[2 * pair + half] = 4;
  expect([...summarize(words, setShape(64 * 130).summaryCount)]).toEqual([9, 1, 1, 0, 2, 0]);
});

test("flips are the words that are not empty, and how many come before those of each summary", () => {
  const flips = (rules: readonly number[], ruleCount: number) => {
    const writer = new WordWriter();
    writer.push(1);
    expect(writeFlips(writer, rules, ruleCount)).toBe(8);
    return [...writer.finish().subarray(2)];
  };
  // Three summaries in pairs, their ranks, then the words: of 70 and 102 one, of 8,200 another.
  expect(flips([70, 102, 8_200], 10_000)).toEqual([2, 0, 0, 0, 1, 0, 0, 1, 1, 0, 64, 64, 256, 0]);
  expect(flips([0, 64, 4_095, 4_096], 4_097)).toEqual([
    ...[3, 0x8000_0000, 1, 0, 0, 3],
    ...[1, 0, 1, 0, 0, 0x8000_0000, 1, 0],
  ]);
  expect(flips([5], 6)).toEqual([1, 0, 0, 0, 32, 0]);
});
