import { expect, test } from "bun:test";
import { PolicySet } from "./policy_set.ts";
import { policy, workload } from "./testing/policy_fixtures.ts";

const selected = (name: string, namespace = "shop") =>
  policy({ name, namespace, scope: "WORKLOAD_SELECTOR" });
const named = (...authorizationPolicies: readonly string[]) => workload({ authorizationPolicies });

test("groups are the global one, that of the namespace and that of the names, each in the order of keys", () => {
  const set = new PolicySet([
    ...[policy({ name: "n2" }), selected("b"), policy({ name: "g", scope: "GLOBAL", namespace: "root" })],
    ...[selected("a", "else"), policy({ name: "n1" }), policy({ name: "e", namespace: "" })],
    policy({ name: "other", namespace: "other" }),
  ]);
  const groups = (...names: readonly string[]) =>
    set.groups(named(...names)).map((group) => [group.named, group.policies.map(({ name }) => name)]);
  expect(groups("shop/b", "else/a")).toEqual([
    [false, ["e", "g"]],
    [false, ["n1", "n2"]],
    [true, ["a", "b"]],
  ]);
  // A policy that reaches it anyway, one that is not there, and no name at all are no group of names.
  for (const names of [["shop/n1", "root/g", "/e"], ["shop/gone"], []])
    expect(groups(...names).map(([isNamed]) => isNamed)).toEqual([false, false]);
  expect(groups("other/other").at(-1)).toEqual([true, ["other"]]);
  expect(new PolicySet([]).groups(named())).toEqual([]);
});

test("each name that is not there is said once", () => {
  const set = new PolicySet([selected("a")]);
  const missing = (...names: readonly string[]) => set.missing(named(...names));
  expect(missing()).toEqual([]);
  expect(missing("shop/a")).toEqual([]);
  expect(missing("shop/b", "shop/a")).toEqual(["shop/b"]);
  expect(missing("shop/b", "shop/b")).toEqual(["shop/b"]);
  expect(missing("shop/c", "shop/b", "shop/c")).toEqual(["shop/c", "shop/b"]);
});

test("of two policies of one key the last is the one that counts", () => {
  const [first, last] = [policy({}), policy({ action: "DENY" })];
  const set = new PolicySet([first, last]);
  expect(set.policy("shop/policy")).toBe(last);
  expect(set.groups(named()).map(({ policies }) => policies)).toEqual([[last]]);
  expect([set.policy("shop/other"), set.scopeGroup("namespace other")]).toEqual([null, null]);
});

test("a few that change leave the other groups as they are, and more than an eighth gather all again", () => {
  const numbered = (count: number, from = 0) =>
    Array.from({ length: count }, (_, index) => policy({ name: `p${from + index}` }));
  const elsewhere = policy({ name: "e", namespace: "other" });
  const before = [...numbered(15), elsewhere];
  for (const [changed, stays] of [
    [1, true],
    [2, false],
  ] as const) {
    const set = new PolicySet(before);
    const group = set.scopeGroup("namespace other");
    // As many come as go.
    set.update([...before.slice(changed), ...numbered(changed, 100)]);
    expect(set.scopeGroup("namespace other") === group).toBe(stays);
    expect(set.policy("shop/p0")).toBeNull();
    expect(set.scopeGroup("namespace shop")?.policies).toHaveLength(15);
  }
});

test("a group whose last policy goes is none, and one whose first comes is one", () => {
  const rest = Array.from({ length: 15 }, (_, index) => policy({ name: `p${index}` }));
  const elsewhere = policy({ name: "e", namespace: "other" });
  const set = new PolicySet([...rest, elsewhere]);
  set.update(rest);
  expect(set.scopeGroup("namespace other")).toBeNull();
  expect(set.groups(workload({ namespace: "other" }))).toEqual([]);
  set.update([...rest, elsewhere]);
  expect(set.scopeGroup("namespace other")?.policies).toEqual([elsewhere]);
});
