import { expect, test } from "bun:test";
import { createReferenceEngine } from "./reference.ts";
import { SplitEngine } from "./split_engine.ts";
import { connection, match, policy, rule, workload } from "./testing/policy_fixtures.ts";
import { Turns } from "./testing/turns.ts";
import { createPolicyEngine } from "./wasm/engine.ts";

/** Requests to `sidecar` are decided elsewhere, by `shop/l7`. */
function bench() {
  const engine = new SplitEngine(
    createReferenceEngine({ missingPolicy: "deny" }),
    createReferenceEngine({ missingPolicy: "deny" }),
    ({ name }) => name === "sidecar",
  );
  const asked = connection();
  const onPort = (port: number) => [rule([match({ destinationPorts: [port] })])];
  const selected = { scope: "WORKLOAD_SELECTOR", action: "DENY" } as const;
  const policies = [
    policy({ ...selected, name: "l7", rules: onPort(asked.destinationPort) }),
    policy({ ...selected, name: "l4", rules: onPort(1) }),
    policy({ ...selected, name: "dry", dryRun: true, rules: onPort(asked.destinationPort) }),
  ];
  engine.update(policies);
  const authorizationPolicies = ["shop/l7", "shop/l4", "shop/dry"];
  return {
    ...{ engine, asked, policies },
    plain: workload({ name: "cart", authorizationPolicies }),
    split: workload({ name: "sidecar", authorizationPolicies }),
  };
}

test("what requests are decided by decides no connection of that workload, and every other's", () => {
  const { engine, asked, plain, split } = bench();
  const denied = { allowed: false, reason: "denied_by_rule", policy: "shop/l7" };
  for (const one of [plain, split]) expect(engine.decide(one, asked)).toMatchObject(denied);
  engine.leaveOut(new Set(["shop/l7"]));
  expect(engine.decide(plain, asked)).toMatchObject(denied);
  const permit = engine.decide(split, asked);
  expect(permit.allowed).toBe(true);
  expect(engine.decide(split, connection({ destinationPort: 1 }))).toMatchObject({ policy: "shop/l4" });
  expect([engine.missing(plain), engine.missing(split)]).toEqual([[], []]);
  // What is decided elsewhere is not taken back by an update.
  const { policies } = bench();
  engine.update(policies);
  expect([engine.decide(split, asked).allowed, engine.decide(plain, asked).allowed]).toEqual([true, false]);
});

test("what is missing, and what a dry run would have refused, is asked where it is decided", () => {
  const { engine, asked, plain, split, policies } = bench();
  engine.leaveOut(new Set(["shop/l7", "shop/dry"]));
  engine.update(policies.filter(({ name }) => name === "dry"));
  expect([engine.missing(plain), engine.missing(split)]).toEqual([["shop/l7", "shop/l4"], ["shop/l4"]]);
  const named = (one: typeof plain) => ({ ...one, authorizationPolicies: ["shop/dry"] });
  const told = [named(plain), named(split)].map((one) => {
    const permit = engine.decide(one, asked);
    return permit.allowed ? engine.wouldDeny(one, permit) : "denied";
  });
  expect(told).toEqual(["would have been denied by rule 0 of shop/dry", null]);
});

test("a name that is missing twice is told once", () => {
  const { engine, plain } = bench();
  const authorizationPolicies = ["shop/gone", "shop/gone", "shop/lost"];
  expect(engine.missing({ ...plain, authorizationPolicies })).toEqual(["shop/gone", "shop/lost"]);
  expect(engine.missing({ ...plain, authorizationPolicies: ["shop/gone", "shop/gone"] })).toEqual([
    "shop/gone",
  ]);
});

test("whoever waits for policies that are being compiled waits for those that decide about the workload", () => {
  const turns = new Turns();
  const options = { missingPolicy: "deny", clock: turns, limits: { maxValuesAtOnce: 0 } } as const;
  const of = () => createPolicyEngine(options);
  const { policies, plain, split, asked } = bench();
  const engine = new SplitEngine(of(), of(), ({ name }) => name === "sidecar");
  let told = 0;
  engine.prepared.subscribe(() => told++);
  engine.update(policies);
  expect([engine.isPreparing(split), engine.preparing]).toEqual([true, 1]);
  turns.run();
  expect([engine.isPreparing(split), engine.isPreparing(plain), engine.preparing]).toEqual([false, true, 1]);
  expect(engine.decide(plain, asked)).toMatchObject({ allowed: false, reason: "engine_unavailable" });
  turns.run();
  expect([engine.isPreparing(plain), told, engine.prepared.value]).toEqual([false, 2, 2]);
  expect(engine.decide(plain, asked)).toMatchObject({ policy: "shop/l7" });
});
