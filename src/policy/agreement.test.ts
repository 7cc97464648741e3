/**
 * The engine against its oracle: at least 100,000 generated decisions, on which both must give the same answer, down to the
 * policy, the rule, its place, and what dry run reports. `POLICY_SEED=n bun test src/policy/agreement.test.ts` repeats a run.
 */
import { expect, test } from "bun:test";
import { isDeepStrictEqual } from "node:util";
import type { Authorization } from "../mesh/authorization.ts";
import { SpiffeId } from "../mesh/identity.ts";
import type { Workload } from "../mesh/workload.ts";
import type { Decision, PolicyConnection } from "./decision.ts";
import type { PolicyEngine, PolicyEngineOptions } from "./policy_engine.ts";
import { createReferenceEngine } from "./reference.ts";
import { match, policy, rule, string, workload } from "./testing/policy_fixtures.ts";
import { PolicyGenerator } from "./testing/policy_generator.ts";
import { createPolicyEngine } from "./wasm/engine.ts";

const seed = Number(process.env.POLICY_SEED ?? Date.now() % 2 ** 32);

/** Everything a caller can see of a decision. */
interface Outcome {
  readonly decision: Record<string, unknown>;
  readonly dryRuns: readonly string[];
}

function observe(
  engine: PolicyEngine,
  workload: Workload,
  connection: PolicyConnection,
  listen: boolean,
): Outcome {
  const dryRuns: string[] = [];
  engine.onDryRun = listen ? (policy, rule, action) => dryRuns.push(`${action} ${policy} ${rule}`) : null;
  return { decision: plain(engine.decide(workload, connection)), dryRuns };
}

function plain(decision: Decision): Record<string, unknown> {
  const { allowed, policy, version } = decision;
  return decision.allowed
    ? { allowed, policy, version }
    : { allowed, policy, version, reason: decision.reason, rule: decision.rule, location: decision.location };
}

interface Tally {
  decisions: number;
  readonly kinds: Map<string, number>;
}

/** Both engines go through the same updates, each changing a part of the policies, and decide the same connections. */
function compare(
  generator: PolicyGenerator,
  tally: Tally,
  shape: { readonly updates: number; readonly policies: () => number; readonly decisions: number },
  options: PolicyEngineOptions,
): void {
  const engine = createPolicyEngine(options);
  const reference = createReferenceEngine(options);
  let policies: Authorization[] = [];
  for (let update = 0; update < shape.updates; update++) {
    // Kept policies are the same objects, as a store hands them on: what did not change is copied, not compiled.
    policies = [...policies.filter(() => generator.chance(0.6)), ...generator.policies(shape.policies())];
    engine.update(policies);
    reference.update(policies);
    const workloads = Array.from({ length: 4 }, () => generator.workload(policies));
    for (let index = 0; index < shape.decisions; index++) {
      const destination = generator.pick(workloads);
      const connection = generator.connection();
      const listen = generator.chance(0.7);
      const actual = observe(engine, destination, connection, listen);
      const expected = observe(reference, destination, connection, listen);
      if (!isDeepStrictEqual(actual, expected)) {
        console.error(`POLICY_SEED=${seed}`, { names: destination.authorizationPolicies, connection });
        expect(actual).toEqual(expected);
      }
      const kind = `${expected.decision.reason ?? (expected.decision.policy === null ? "permit" : "allowed by")}`;
      tally.kinds.set(kind, (tally.kinds.get(kind) ?? 0) + 1);
      tally.decisions++;
    }
    expect(engine.missing(workloads[0] ?? generator.workload([]))).toEqual(
      reference.missing(workloads[0] ?? generator.workload([])),
    );
  }
}

test("small sets, many of them", () => {
  const generator = new PolicyGenerator(seed);
  const tally: Tally = { decisions: 0, kinds: new Map() };
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
  const tally: Tally = { decisions: 0, kinds: new Map() };
  const shape = { updates: 2, policies: () => 60 + generator.below(300), decisions: 150 };
  for (let round = 0; round < 6; round++) compare(generator, tally, shape, { missingPolicy: "skip" });
  expect(tally.decisions).toBe(6 * 2 * 150);
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
  const tally: Tally = { decisions: 0, kinds: new Map() };
  const limits = { maxIndexEntries: 3, maxCallers: 3, callerArenaBytes: 400, maxNamedGroups: 2 };
  const shape = { updates: 6, policies: () => 2 + generator.below(10), decisions: 80 };
  for (let round = 0; round < 20; round++)
    compare(generator, tally, shape, { missingPolicy: "skip", limits });
  expect(tally.decisions).toBe(20 * 6 * 80);
}, 300_000);

test("groups that are amended again and again, in small sets and in large ones", () => {
  const generator = new PolicyGenerator(seed + 4);
  const tally: Tally = { decisions: 0, kinds: new Map() };
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
