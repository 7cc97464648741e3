/** A set that is brought up to date says the same as one that is made of the same policies. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import type { Authorization } from "../mesh/authorization.ts";
import { PolicySet } from "./policy_set.ts";
import { policy, workload } from "./testing/policy_fixtures.ts";

const scopes = ["GLOBAL", "NAMESPACE", "WORKLOAD_SELECTOR"] as const;
const make = (index: number): Authorization =>
  policy({
    name: `p${String(index >> 2).padStart(3, "0")}`,
    namespace: index % 5 === 0 ? "other" : "shop",
    scope: scopes[index % 3] ?? "GLOBAL",
  });
/** Of a key there are four. */
const all = Array.from({ length: 400 }, (_, index) => make(index));
const asked = workload({ authorizationPolicies: ["shop/p001", "other/p005", "shop/p002", "shop/gone"] });

function said(set: PolicySet): unknown {
  return {
    groups: set.groups(asked),
    others: ["global", "namespace shop", "namespace other"].map((key) => set.scopeGroup(key)),
    missing: set.missing(asked),
    policies: all.map(({ namespace, name }) => set.policy(`${namespace}/${name}`)),
  };
}

/** With the objects themselves in place of what they hold. */
const numbered = new Map(all.map((one, index) => [one, index]));
const words = (set: PolicySet) => JSON.stringify(said(set), (_, value) => numbered.get(value) ?? value);

test("whatever came and went, few or many, one key once or twice", () => {
  const change = fc.record({
    come: fc.array(fc.nat(399), { maxLength: 60 }),
    go: fc.array(fc.nat(399), { maxLength: 60 }),
    rest: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 6 }), (changes) => {
      // One of each key; what comes may be a second of one.
      let now = all.filter((_, index) => index % 4 === 0);
      const set = new PolicySet([]);
      set.update(now);
      for (const { come, go, rest } of changes) {
        const few = rest ? 60 : 3;
        const leaving = new Set(go.slice(0, few).map((index) => all[index]));
        now = now.filter((one) => !leaving.has(one));
        for (const index of come.slice(0, few)) now.push(all[index] as Authorization);
        set.update(now);
        expect(words(set)).toBe(words(new PolicySet(now)));
      }
    }),
  );
});

test("a group that nothing happened to is the same", () => {
  const set = new PolicySet(all.filter((_, index) => index % 4 === 0));
  const [shop, other] = [set.scopeGroup("namespace shop"), set.scopeGroup("namespace other")];
  const added = policy({ name: "z", namespace: "shop" });
  set.update([...all.filter((_, index) => index % 4 === 0), added]);
  expect(set.scopeGroup("namespace other")).toBe(other);
  expect(set.scopeGroup("namespace shop")?.policies).toEqual([...(shop?.policies ?? []), added]);
});
