import { describe, expect, test } from "bun:test";
import { runSteps } from "../../base/turns/time_slice.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import type { Layer7Policy, Layer7Rule } from "./layer7_policy.ts";
import type { RequestFacts } from "./request_facts.ts";
import { RuleIndex } from "./rule_index.ts";
import { Dice, randomFacts, randomPolicies } from "./testing/layer7_generator.ts";
import { referenceMatch } from "./testing/reference.ts";

test("the index and the reference name the same rule, of random policies and requests", () => {
  let matched = 0;
  for (let seed = 1; seed <= 3_000; seed++) {
    const dice = new Dice(seed);
    const policies = randomPolicies(dice);
    const index = runSteps(RuleIndex.inSteps(policies));
    for (let request = 0; request < 8; request++) {
      const facts = randomFacts(dice);
      const expected = referenceMatch(policies, facts);
      const found = index.first(facts);
      const told = found === null ? null : { policy: found.policy, rule: found.rule };
      if (told?.policy !== expected?.policy || told?.rule !== expected?.rule)
        throw new Error(`seed ${seed}: ${JSON.stringify({ told, expected, facts }, null, 1)}`);
      if (found !== null) matched++;
    }
  }
  // Neither always nor never: the words meet.
  expect(matched).toBeGreaterThan(5_000);
  expect(matched).toBeLessThan(20_000);
}, 300_000);

test.each([
  ["beginnings", (text: string) => `/${text}*`],
  ["ends", (text: string) => `*${text}`],
] as const)("%s of more lengths than a request is cut at are all found", (_what, pattern) => {
  const rules: readonly Layer7Rule[] = Array.from({ length: 60 }, (_none, n) => ({
    clauses: [[[{ about: "path" as const, texts: [pattern("x".repeat(60 - n))], negated: false }]]],
    index: n,
    location: { file: "f", line: n, column: 1 },
  }));
  const policies: readonly Layer7Policy[] = [
    {
      key: "shop/p",
      action: "ALLOW",
      dryRun: false,
      provider: null,
      location: { file: "f", line: 1, column: 1 },
      rules,
    },
  ];
  const index = runSteps(RuleIndex.inSteps(policies));
  for (let length = 0; length <= 60; length++) {
    const http = {
      method: "GET",
      host: "h",
      path: `/${"x".repeat(length)}`,
      query: "",
      scheme: "http",
      fields: [],
      user: null,
    };
    const facts: RequestFacts = { ...randomFacts(new Dice(1)), http };
    // The longest that fits stands first.
    expect(index.first(facts)?.rule.index).toBe(length === 0 ? undefined : 60 - length);
  }
});

describe("a request costs the same whatever the number of rules", () => {
  const shapes: readonly (readonly [what: string, clauses: (n: number) => Layer7Rule["clauses"]])[] = [
    ["a path each", (n) => [[[{ about: "path", texts: [`/p${n}`], negated: false }]]]],
    ["a prefix each", (n) => [[[{ about: "path", texts: [`/p${n}/*`], negated: false }]]]],
    ["a suffix each", (n) => [[[{ about: "path", texts: [`*/p${n}/a/x`], negated: false }]]]],
    ["a host's end each", (n) => [[[{ about: "host", texts: [`*.H${n}`], negated: false }]]]],
    [
      "a peer's beginning each",
      (n) => [[[{ about: "principal", texts: [`td/ns/a${n}/*`], negated: false }]]],
    ],
    ["a header's end each", (n) => [[[{ about: "header", name: "x-7", texts: [`*=${n}`], negated: false }]]]],
    ["a template each", (n) => [[[{ about: "path", texts: [`/p${n}/{*}/x`], negated: false }]]]],
    [
      "one path for all, a peer each",
      (n) => [
        [[{ about: "path", texts: ["/p"], negated: false }]],
        [[{ about: "principal", texts: [`td/ns/a/sa/s${n}`], negated: false }]],
      ],
    ],
    ["a user each", (n) => [[[{ about: "request_principal", texts: [`i/u${n}`], negated: false }]]]],
    ["a header each", (n) => [[[{ about: "header", name: `x-${n}`, texts: ["a"], negated: false }]]]],
    ["a claim each", (n) => [[[{ about: "claim", path: [`c${n}`], texts: ["a"], negated: false }]]]],
  ];
  test.each(shapes)("%s", (what, clauses) => {
    const path = () =>
      what === "one path for all, a peer each" ? "/p" : what === "a path each" ? "/p7" : "/p7/a/x";
    const policies = (count: number): readonly Layer7Policy[] => [
      {
        key: "shop/p",
        action: "ALLOW",
        dryRun: false,
        provider: null,
        location: { file: "f", line: 1, column: 1 },
        rules: Array.from({ length: count }, (_, n) => ({
          clauses: clauses(n),
          index: n,
          location: { file: "f", line: n, column: 1 },
        })),
      },
    ];
    const user = { issuer: "i", subject: "u7", audiences: [], expiresAtMs: null };
    const facts: RequestFacts = {
      ...randomFacts(new Dice(1)),
      peer: new SpiffeId("td", what === "a peer's beginning each" ? "a7" : "a", "s7"),
      http: {
        ...{ method: "GET", host: "www.h7", path: path(), query: "", scheme: "http" },
        fields: ["x-7", "a", "x-7", "k=7"],
        user: { ...user, claims: { iss: "i", sub: "u7", c7: "a" } },
      },
    };
    const tried = (count: number): number => runSteps(RuleIndex.inSteps(policies(count))).candidates(facts);
    expect(tried(10_000)).toBe(1);
  });
});
