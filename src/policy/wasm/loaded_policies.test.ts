/** What is compiled when policies change, and what is not: the decisions are the agreement test's business. */
import { expect, test } from "bun:test";
import { policyLimits } from "../../base/limits/policy.ts";
import type { Authorization } from "../../mesh/authorization.ts";
import { PolicySet } from "../policy_set.ts";
import { match, policy, rule, string, workload } from "../testing/policy_fixtures.ts";
import { LoadedPolicies } from "./loaded_policies.ts";

const here = workload();
/** Enough that one may go. */
const count = policyLimits.minLayeredPolicies + 2;
const bearable = Math.floor(count * policyLimits.maxChangedShare);
const named = (name: string): Authorization =>
  policy({ name, rules: [rule([match({ principals: [string(`td/ns/a/sa/${name}`)] })])] });
const all = Array.from({ length: count }, (_, index) => named(`p-${String(index).padStart(4, "0")}`));

/** Goes through versions of the policies. @returns of the last one, the rules that each layer can find. */
function layersAfter(...versions: readonly (readonly Authorization[])[]): readonly number[] {
  let active = new LoadedPolicies({ missingPolicy: "deny" }, policyLimits);
  let idle = new LoadedPolicies({ missingPolicy: "deny" }, policyLimits);
  for (const [index, policies] of versions.entries()) {
    idle.replace(new PolicySet(policies), index + 1, active);
    [active, idle] = [idle, active];
    active.plan(here);
  }
  return (active.plan(here).allow[0] ?? []).map((section) => section.rules.length);
}

test("a few changes are compiled beside what there was", () => {
  expect(layersAfter(all)).toEqual([count]);
  expect(layersAfter(all, [...all.slice(1), named("q")])).toEqual([count, 1]);
  expect(layersAfter(all, all.slice(1))).toEqual([count]);
  // One of the recent ones goes again: it leaves nothing behind.
  expect(layersAfter(all, [...all, named("q"), named("r")], [...all, named("r")])).toEqual([count, 1]);
});

test("many are compiled as a whole, at once or when they have become many", () => {
  const more = (howMany: number) => Array.from({ length: howMany }, (_, index) => named(`q-${index}`));
  expect(layersAfter(all, [...all, ...more(bearable)])).toEqual([count, bearable]);
  expect(layersAfter(all, [...all, ...more(bearable + 1)])).toEqual([count + bearable + 1]);
  const versions = Array.from({ length: bearable + 2 }, (_, index) => [...all, ...more(index)]);
  expect(layersAfter(...versions)).toEqual([count + bearable + 1]);
});

test("groups of few policies are always compiled as a whole", () => {
  const few = all.slice(0, count - 4);
  expect(layersAfter(few, [...few, named("q")])).toEqual([count - 3]);
});

test("what cannot be compiled is refused, whatever was there before", () => {
  const broken = policy({ name: "q", rules: [rule([match({ destinationPorts: [70_000] })])] });
  const before = new LoadedPolicies({ missingPolicy: "deny" }, policyLimits);
  before.replace(new PolicySet(all), 1, new LoadedPolicies({ missingPolicy: "deny" }, policyLimits));
  before.plan(here);
  const after = new LoadedPolicies({ missingPolicy: "deny" }, policyLimits);
  after.replace(new PolicySet([...all, broken]), 2, before);
  expect(after.plan(here).refusal).toMatchObject({ reason: "engine_unavailable", policy: "shop/q" });
});

test("more rules than a section may hold are refused, though each layer could hold its own", () => {
  const limits = { ...policyLimits, maxRulesPerSection: count };
  const before = new LoadedPolicies({ missingPolicy: "deny" }, limits);
  before.replace(new PolicySet(all), 1, new LoadedPolicies({ missingPolicy: "deny" }, limits));
  before.plan(here);
  const after = new LoadedPolicies({ missingPolicy: "deny" }, limits);
  after.replace(new PolicySet([...all, named("q")]), 2, before);
  expect(after.plan(here).refusal).toMatchObject({ reason: "engine_unavailable" });
});
