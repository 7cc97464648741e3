/**
 * The engine against its oracle: at least 100,000 generated decisions, on which both must give the same answer, down to the
 * policy, the rule, its place, and what dry run reports. `POLICY_SEED=n bun test src/policy/agreement.test.ts` repeats a run.
 */
import { expect, test } from "bun:test";
import { SpiffeId } from "../mesh/identity.ts";
import { createReferenceEngine } from "./reference.ts";
import { compare, newTally, observe } from "./testing/agreement.ts";
import { match, policy, rule, string, workload } from "./testing/policy_fixtures.ts";
import { PolicyGenerator } from "./testing/policy_generator.ts";
import { Turns } from "./testing/turns.ts";
import { createPolicyEngine } from "./wasm/engine.ts";

const seed = Number(process.env.POLICY_SEED ?? Date.now() % 2 ** 32);

test("small sets, many of them", () => {
  const generator = new PolicyGenerator(seed);
  const tally = newTally(seed);
  for (let round = 0; round < 120; round++) {
    const missingPolicy = generator.chance(0.3) ? "skip" : "deny";
    compare(
      generator,
      tally,
      { updates: 12, policies: () => generator.below(6), decisions: 80 },
      { missingPolicy },
    );
  }
  console.log(`seed ${seed}: ${tally.decisions} decisions`, Object.fromEntries(tally.kinds));
  expect(tally.decisions).toBeGreaterThanOrEqual(100_000);
  for (const kind of ["permit", "allowed by", "denied_by_rule", "no_allow_matched", "policy_missing"]) {
    expect(tally.kinds.get(kind) ?? 0).toBeGreaterThan(500);
  }
}, 300_000);

test("large sets", () => {
  const generator = new PolicyGenerator(seed + 1);
  const tally = newTally(seed);
  const shape = { updates: 2, policies: () => 60 + generator.below(300), decisions: 150 };
  for (let round = 0; round < 6; round++) compare(generator, tally, shape, { missingPolicy: "skip" });
  expect(tally.decisions).toBe(6 * 2 * 150);
}, 300_000);

test("sets that are compiled in steps, changed meanwhile", () => {
  const generator = new PolicyGenerator(seed + 7);
  const tally = newTally(seed);
  for (let round = 0; round < 30; round++) {
    const limits = {
      ...{ maxValuesAtOnce: generator.below(40), minLayeredPolicies: 1 + generator.below(8) },
      maxChangedShare: generator.pick([1 / 16, 1 / 2]),
    };
    const shape = { updates: 20, policies: () => generator.below(6), decisions: 20 };
    compare(generator, tally, shape, { missingPolicy: "skip", limits }, new Turns());
  }
  expect(tally.decisions).toBeGreaterThan(5_000);
  expect(tally.kinds.get("preparing") ?? 0).toBeGreaterThan(50);
}, 300_000);

test("9,000 rules that seldom match, so that the search runs over all words and summaries", () => {
  const generator = new PolicyGenerator(seed + 3);
  const name = () => string(`ns-${generator.below(2_000)}`);
  const narrow = () =>
    generator.pick([
      rule([match({ namespaces: [name(), name()] })], [match({ destinationPorts: [generator.below(50)] })]),
      rule([match({ sourceIps: [generator.prefix()], destinationPorts: [60 + generator.below(2_000)] })]),
      rule([match({ namespaces: [name()] }), match({ destinationPorts: [generator.below(9_000)] })]),
      rule(
        [match({ namespaces: [name()], notDestinationPorts: [8080] })],
        [match({ notSourceIps: [generator.prefix()] })],
      ),
      rule([match({ notPrincipals: [string("*")], destinationPorts: [generator.below(9_000)] })]),
    ]);
  const many = (action: "ALLOW" | "DENY", count: number) =>
    Array.from({ length: count }, (_, index) =>
      policy({
        name: `${action}-${index}`,
        action,
        rules: Array.from({ length: 1 + generator.below(3) }, narrow),
      }),
    );
  const policies = [...many("DENY", 200), ...many("ALLOW", 4_500)];
  const engine = createPolicyEngine({ missingPolicy: "deny" });
  const reference = createReferenceEngine({ missingPolicy: "deny" });
  engine.update(policies);
  reference.update(policies);
  let late = 0;
  for (let index = 0; index < 400; index++) {
    const id = new SpiffeId("td", `ns-${generator.below(2_000)}`, "x");
    const connection = {
      ...generator.connection(),
      sourceIdentity: generator.chance(0.2) ? null : id,
      destinationPort: generator.below(9_000),
    };
    const expected = observe(reference, workload(), connection, false);
    expect(observe(engine, workload(), connection, false)).toEqual(expected);
    const { policy: decided } = expected.decision;
    if (typeof decided === "string" && /^shop\/ALLOW-[1-9][0-9]{3}$/.test(decided)) late++;
  }
  expect(late).toBeGreaterThan(20);
}, 300_000);

test("an index too small for its rules, an arena for its callers: evaluated instead, and dropped and made again", () => {
  const generator = new PolicyGenerator(seed + 2);
  const tally = newTally(seed);
  const limits = { maxIndexEntries: 3, maxCallers: 3, callerArenaBytes: 400, maxNamedGroups: 2 };
  const shape = { updates: 6, policies: () => 2 + generator.below(10), decisions: 80 };
  for (let round = 0; round < 20; round++)
    compare(generator, tally, shape, { missingPolicy: "skip", limits });
  expect(tally.decisions).toBe(20 * 6 * 80);
}, 300_000);

test("groups that are amended again and again, in small sets and in large ones", () => {
  const generator = new PolicyGenerator(seed + 4);
  const tally = newTally(seed);
  for (let round = 0; round < 60; round++) {
    const limits = { minLayeredPolicies: 1, maxChangedShare: 1 + generator.below(4) };
    const shape = { updates: 12, policies: () => generator.below(6), decisions: 60 };
    compare(generator, tally, shape, { missingPolicy: "skip", limits });
  }
  const limits = { minLayeredPolicies: 1, maxChangedShare: 2 };
  const shape = { updates: 6, policies: () => 60 + generator.below(100), decisions: 100 };
  for (let round = 0; round < 4; round++) compare(generator, tally, shape, { missingPolicy: "deny", limits });
  expect(tally.decisions).toBe(60 * 12 * 60 + 4 * 6 * 100);
}, 300_000);
