/** What is compiled when policies change, and what is not: the decisions are the agreement test's business. */
import { describe, expect, test } from "bun:test";
import { policyLimits } from "../../base/limits/policy.ts";
import type { Authorization } from "../../mesh/authorization.ts";
import type { PolicyLimits } from "../policy_engine.ts";
import { PolicySet } from "../policy_set.ts";
import { match, policy, rule, string, workload } from "../testing/policy_fixtures.ts";
import { compileSection } from "./compile.ts";
import { LoadedPolicies } from "./loaded_policies.ts";

const here = workload();
/** Enough that one may go. */
const count = policyLimits.minLayeredPolicies + 2;
const bearable = Math.floor(count * policyLimits.maxChangedShare);
const named = (name: string): Authorization =>
  policy({ name, rules: [rule([match({ principals: [string(`td/ns/a/sa/${name}`)] })])] });
const all = Array.from({ length: count }, (_, index) => named(`p-${String(index).padStart(4, "0")}`));

const onPort = (port: number) => [rule([match({ destinationPorts: [port] })])];

function loadedOf(
  policies: readonly Authorization[],
  limits: Partial<PolicyLimits> = {},
  previous: LoadedPolicies | null = null,
): LoadedPolicies {
  const made = () => new LoadedPolicies({ missingPolicy: "deny" }, { ...policyLimits, ...limits });
  const loaded = made();
  loaded.replace(new PolicySet(policies), 1, previous ?? made());
  return loaded;
}

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

test("a plan has no place for actions of which there is no rule", () => {
  const { refusal, ...plan } = loadedOf([policy({ rules: onPort(80) }), policy({ name: "q" })]).plan(here);
  expect([refusal, plan.deny, plan.dryRunDeny, plan.dryRunAllow]).toEqual([null, [], [], []]);
  expect(plan.allow.map((layers) => layers.length)).toEqual([1]);
});

describe("a change", () => {
  const limits = { minLayeredPolicies: 4, maxChangedShare: 0.5 };
  const [a, b, c, d, e, f] = ["a", "b", "c", "d", "e", "f"].map(named);
  type Some = readonly (Authorization | undefined)[];
  const those = (some: Some) => some.filter((one) => one !== undefined);

  /** Of each layer, how many rules it can find. */
  function layers(before: Some, after: Some, more: Partial<PolicyLimits> = {}): readonly number[] {
    const old = loadedOf(those(before), { ...limits, ...more });
    old.plan(here);
    const { refusal, allow } = loadedOf(those(after), { ...limits, ...more }, old).plan(here);
    expect(refusal).toBeNull();
    return (allow[0] ?? []).map(({ rules }) => rules.length);
  }

  test("is compiled by itself in a group of so many policies, and in a smaller one with the whole", () => {
    expect(layers([a, b, c], [a, b, c, d])).toEqual([3, 1]);
    expect(layers([a, b, c, d], [a, b, c])).toEqual([3]);
    expect(layers([a, b], [a, b, c])).toEqual([3]);
  });

  test("of as much as the share that may change is amended, and of more compiled as a whole", () => {
    // Of four kept two are new; of four kept one is new and one gone.
    expect(layers([a, b, c, d], [a, b, c, d, e, f])).toEqual([4, 2]);
    expect(layers([a, b, c, d, e], [a, b, c, d, f])).toEqual([5, 1]);
    expect(layers([a, b, c, d], [a, b, c, d, e, f, named("g")])).toEqual([7]);
    expect(layers([a, b, c, d, e], [a, b, c, d, f, named("g")])).toEqual([6]);
  });

  test("fills a section to the last rule that it may hold", () => {
    expect(layers([a, b, c, d], [a, b, c, d, e], { maxRulesPerSection: 5 })).toEqual([4, 1]);
    const old = loadedOf(those([a, b, c, d]), { ...limits, maxRulesPerSection: 4 });
    old.plan(here);
    const now = loadedOf(those([a, b, c, d, e]), { ...limits, maxRulesPerSection: 4 }, old);
    expect(now.plan(here).refusal).toMatchObject({ reason: "engine_unavailable" });
  });

  test("that finds no room beside what it changes is compiled as a whole when it is decided with", () => {
    const denied = policy({ name: "no", action: "DENY", rules: onPort(1) });
    const before = [...those([a, b, c, d]), denied];
    const needed = [before.slice(0, 4), before.slice(4)]
      .map((section) => compileSection(section, policyLimits)?.words.byteLength ?? 0)
      .reduce((sum, bytes) => sum + bytes, 0);
    const after = before.map((one) => (one === denied ? { ...denied, rules: onPort(2) } : one));
    const room = { ...limits, maxImageBytes: needed };
    const old = loadedOf(before, room);
    old.plan(here);
    const plan = loadedOf(after, room, old).plan(here);
    expect(plan.refusal).toBeNull();
    const shape = [plan.deny, plan.allow].map((groups) => groups[0]?.map(({ rules }) => rules.length));
    expect(shape).toEqual([[1], [4]]);
    expect(plan.deny[0]?.[0]?.rules[0]?.policy).toBe(after[4]);
  });

  test("that compiles as a whole does so at once, not when it is decided with", () => {
    for (const after of [
      [a, b, e],
      [a, b, c, d, e, f, named("g")],
    ]) {
      const old = loadedOf(those([a, b, c, d]), limits);
      old.plan(here);
      const now = loadedOf(those(after), limits, old);
      const later = loadedOf(those(after), limits, now);
      // What `later` copied was there before anyone asked.
      expect(later.plan(here).allow[0]?.[0]?.rules).toBe(now.plan(here).allow[0]?.[0]?.rules ?? []);
    }
  });
});

describe("what has not changed", () => {
  const selected = (name: string, port: number) =>
    policy({ name, scope: "WORKLOAD_SELECTOR", rules: onPort(port) });
  const [one, two] = [selected("one", 1), selected("two", 2)];
  const there = workload({ authorizationPolicies: ["shop/one", "shop/two"] });

  test("is copied: of a scope, and of a list of names", () => {
    const few = [policy({ rules: onPort(80) }), one, two];
    const before = loadedOf(few);
    const after = (policies: readonly Authorization[]) => {
      const plan = loadedOf(policies, {}, before).plan(there);
      const old = before.plan(there);
      return plan.allow.map((layers, at) => layers[0]?.rules === old.allow[at]?.[0]?.rules);
    };
    before.plan(there);
    expect(after(few)).toEqual([true, true]);
    expect(after([...few, policy({ name: "q", rules: onPort(81) })])).toEqual([false, true]);
    expect(after([few[0] ?? one, one, selected("two", 3)])).toEqual([true, false]);
    expect(after([few[0] ?? one, { ...one }, two])).toEqual([true, false]);
  });

  test("is decided with as it was worked out, until another list of names has no place", () => {
    const scoped = policy({ rules: onPort(80) });
    const others = ["a", "b", "c"].map((name, at) => selected(name, 10 + at));
    const lists = [one, ...others].map(({ name }) => workload({ authorizationPolicies: [`shop/${name}`] }));
    const [first = here, second = here, third = here, fourth = here] = lists;
    const loaded = loadedOf([scoped, one, two, ...others], { maxNamedGroups: 3 });
    const plan = loaded.plan(first);
    loaded.plan(second);
    loaded.plan(third);
    // A list that is known, and none at all, take no place.
    loaded.plan({ ...first });
    loaded.plan(here);
    expect(loaded.plan(first)).toBe(plan);
    loaded.plan(fourth);
    expect(loaded.plan(first)).not.toBe(plan);
  });

  test("is decided with beside what can never be compiled, and makes room for what only lacks it", () => {
    const wide = (namespace: string, count: number) =>
      policy({ namespace, rules: Array.from({ length: count }, (_, at) => onPort(at)).flat() });
    const bytes = compileSection([wide("a", 20)], policyLimits)?.words.byteLength ?? 0;
    const loaded = loadedOf([wide("a", 20), wide("b", 20), wide("c", 40), wide("d", 1)], {
      maxImageBytes: bytes,
      maxRulesPerSection: 30,
    });
    const [inA, inB, inC, inE] = ["a", "b", "c", "e"].map((namespace) => workload({ namespace }));
    const plan = loaded.plan(inA ?? here);
    expect(loaded.plan(inC ?? here).refusal).toMatchObject({ reason: "engine_unavailable" });
    expect(loaded.plan(inE ?? here).refusal).toBeNull();
    expect(loaded.plan(inA ?? here)).toBe(plan);
    expect(loaded.plan(inB ?? here).refusal).toBeNull();
    expect(loaded.plan(inA ?? here)).not.toBe(plan);
    expect(loaded.plan(inA ?? here).refusal).toBeNull();
  });
});
