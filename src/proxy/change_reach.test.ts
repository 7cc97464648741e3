import { beforeEach, expect, test } from "bun:test";
import type { Authorization } from "../mesh/authorization.ts";
import { type MeshChange, MeshStore } from "../mesh/store/store.ts";
import { workload } from "../mesh/testing/fixture.ts";
import { ChangeReach } from "./change_reach.ts";

const cart = workload("cart", {
  namespace: "shop",
  authorizationPolicies: ["shop/cart-only", "istio-system/strict"],
});
const bank = workload("bank", { namespace: "bank" });

function policy(namespace: string, name: string, scope: Authorization["scope"]): Authorization {
  return { name, namespace, scope, action: "ALLOW", dryRun: false, rules: [], location: null };
}

let store: MeshStore;
let reach: ChangeReach;
beforeEach(() => {
  store = new MeshStore();
  store.apply({
    workloads: { upsert: [cart, bank] },
    policies: {
      upsert: [policy("istio-system", "all", "GLOBAL"), policy("shop", "cart-only", "WORKLOAD_SELECTOR")],
    },
  });
  reach = new ChangeReach(store);
});

/** Whose connections are decided again: of the workloads that are there, and of one that is gone. */
function touched(change: MeshChange): string[] {
  store.apply(change);
  const touches = reach.of(change);
  return [cart, bank].filter(({ uid }) => touches(uid)).map(({ name }) => name);
}

test("a workload that changes or goes: its own", () => {
  expect(touched({ workloads: { upsert: [bank] } })).toEqual(["bank"]);
  expect(touched({ workloads: { remove: [cart.uid] } })).toEqual(["cart"]);
  expect(touched({ workloads: { upsert: [workload("new")] } })).toEqual([]);
});

test("a policy that changes after a workload went: what is left of it is decided again", () => {
  store.apply({ workloads: { remove: [bank.uid] } });
  reach.of({ workloads: { remove: [bank.uid] } });
  expect(touched({ policies: { remove: ["shop/cart-only"] } })).toEqual(["cart", "bank"]);
});

test("a service: none, of a workload that has gone neither", () => {
  expect(touched({ services: { remove: ["shop/db.shop"] } })).toEqual([]);
  store.apply({ workloads: { remove: [bank.uid] } });
  reach.of({ workloads: { remove: [bank.uid] } });
  expect(touched({ services: { remove: ["shop/db.shop"] } })).toEqual([]);
});

test("a policy of a namespace: those of the namespace, and those that name it", () => {
  expect(touched({ policies: { upsert: [policy("bank", "default", "NAMESPACE")] } })).toEqual(["bank"]);
  expect(touched({ policies: { remove: ["bank/default"] } })).toEqual(["bank"]);
  expect(touched({ policies: { remove: ["shop/cart-only"] } })).toEqual(["cart"]);
  expect(touched({ policies: { upsert: [policy("istio-system", "strict", "WORKLOAD_SELECTOR")] } })).toEqual([
    "cart",
  ]);
});

test("a policy of the whole mesh: all of them, when it comes, changes, is made smaller or goes", () => {
  const all = policy("istio-system", "all", "GLOBAL");
  expect(touched({ policies: { upsert: [all] } })).toEqual(["cart", "bank"]);
  expect(touched({ policies: { upsert: [{ ...all, scope: "WORKLOAD_SELECTOR" }] } })).toEqual([
    "cart",
    "bank",
  ]);
  expect(touched({ policies: { upsert: [{ ...all, scope: "WORKLOAD_SELECTOR" }] } })).toEqual([]);
  expect(touched({ policies: { upsert: [all] } })).toEqual(["cart", "bank"]);
  expect(touched({ policies: { remove: ["istio-system/all"] } })).toEqual(["cart", "bank"]);
  expect(touched({ policies: { remove: ["istio-system/all"] } })).toEqual([]);
});

test("a policy that a workload names only now counts at its next change", () => {
  expect(touched({ workloads: { upsert: [{ ...bank, authorizationPolicies: ["shop/other"] }] } })).toEqual([
    "bank",
  ]);
  expect(touched({ policies: { upsert: [policy("shop", "other", "WORKLOAD_SELECTOR")] } })).toEqual([
    "cart",
    "bank",
  ]);
});

test("a policy of the whole mesh from before the first change, when it is removed: all", () => {
  expect(touched({ policies: { remove: ["istio-system/all"] } })).toEqual(["cart", "bank"]);
});
