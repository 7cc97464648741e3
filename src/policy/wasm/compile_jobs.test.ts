/** Many policies are compiled in steps: others have their turn, and nothing is decided by what is not in force any more, or only in part. */
import { beforeEach, expect, test } from "bun:test";
import { meshLimits } from "../../base/limits/mesh.ts";
import { policyLimits } from "../../base/limits/policy.ts";
import type { Authorization } from "../../mesh/authorization.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { ip } from "../../mesh/testing/fixture.ts";
import type { PolicyEngine } from "../policy_engine.ts";
import { match, policy, rule, string, workload } from "../testing/policy_fixtures.ts";
import { Turns } from "../testing/turns.ts";
import { createPolicyEngine } from "./engine.ts";

const here = workload();
/** Each names a caller, which counts as two. */
const many = policyLimits.maxValuesAtOnce / 2 + 1;
const one = (name: string, action: "ALLOW" | "DENY" = "ALLOW"): Authorization =>
  policy({ name, action, rules: [rule([match({ principals: [string(`td/ns/a/sa/${name}`)] })])] });
const range = (prefix: string, count: number) =>
  Array.from({ length: count }, (_, index) => one(`${prefix}-${index}`));
const all = range("p", many);

let turns: Turns;
let engine: PolicyEngine;
let told: number;

beforeEach(() => {
  turns = new Turns();
  engine = createPolicyEngine({ missingPolicy: "deny", clock: turns });
  told = 0;
  engine.prepared.subscribe(() => told++);
});

function outcome(caller: string): string {
  const decision = engine.decide(here, {
    sourceIp: ip("10.0.0.1"),
    sourceIdentity: new SpiffeId("td", "a", caller),
    destinationIp: ip("10.0.0.2"),
    destinationPort: 80,
  });
  return decision.allowed ? "allowed" : decision.reason;
}

/** In use, and compiled. */
function begun(policies: readonly Authorization[]): void {
  engine.update(policies);
  engine.isPreparing(here);
  turns.run();
  expect(engine.isPreparing(here)).toBe(false);
  told = 0;
}

test("few are compiled at once, many in turns of a few steps each, and until then everything is refused", () => {
  engine.update(all.slice(2));
  expect([engine.isPreparing(here), outcome("p-7"), turns.isOver]).toEqual([false, "allowed", true]);
  engine = createPolicyEngine({ missingPolicy: "deny", clock: turns });
  engine.update(all);
  expect([engine.preparing, turns.isOver]).toEqual([0, true]);
  expect([engine.isPreparing(here), outcome("p-7"), engine.preparing]).toEqual([
    true,
    "engine_unavailable",
    1,
  ]);
  expect(turns.run(1)).toBe(1);
  expect([engine.isPreparing(here), outcome("p-7")]).toEqual([true, "engine_unavailable"]);
  const count = 1 + turns.run();
  expect([outcome("p-7"), outcome("q"), engine.preparing]).toEqual(["allowed", "no_allow_matched", 0]);
  // Each policy is looked at several times, and no turn has more steps than the clock lets it have.
  expect(turns.most).toBeLessThanOrEqual(meshLimits.parseSliceMs + 1);
  expect(count * turns.most).toBeGreaterThan(3 * many);
});

test("without a clock they are compiled at the first decision", () => {
  engine = createPolicyEngine({ missingPolicy: "deny" });
  engine.update(all);
  expect([engine.isPreparing(here), outcome("p-7"), engine.preparing]).toEqual([false, "allowed", 0]);
});

test("whoever waits is told once they decide, and when none of them is there any more", () => {
  engine.update(all);
  engine.isPreparing(here);
  turns.run();
  expect(told).toBe(1);
  engine.update(range("q", many));
  turns.run(3);
  engine.update([]);
  expect([engine.preparing, outcome("p-7"), told]).toEqual([0, "allowed", 2]);
  turns.run();
  expect([told, turns.isOver]).toEqual([2, true]);
});

test("a caller that is denied or left out meanwhile is in at no time, whether little has changed or much", () => {
  for (const changed of [
    [...all.filter(({ name }) => name !== "p-7"), one("p-8", "DENY")],
    [...range("q", many), one("p-8"), one("p-9")].filter(({ name }) => name !== "p-8"),
  ]) {
    engine = createPolicyEngine({ missingPolicy: "deny", clock: turns });
    engine.update(all);
    engine.isPreparing(here);
    turns.run(20);
    engine.update(changed);
    for (let ran = 1; ran === 1; ran = turns.run(1))
      for (const caller of ["p-7", "p-8"]) expect(outcome(caller)).not.toBe("allowed");
    expect(engine.isPreparing(here)).toBe(false);
    for (const caller of ["p-7", "p-8"]) expect(outcome(caller)).not.toBe("engine_unavailable");
    expect(outcome("p-9")).toBe("allowed");
  }
});

test("of those in use a few are in force at once after a change, and many in steps", () => {
  begun(all);
  engine.update([...all.slice(1), one("p-8", "DENY")]);
  expect([engine.preparing, outcome("p-0"), outcome("p-8"), outcome("p-9")]).toEqual([
    0,
    "no_allow_matched",
    "denied_by_rule",
    "allowed",
  ]);
  engine.update(range("q", many));
  expect([engine.preparing, outcome("p-9"), outcome("q-9")]).toEqual([
    1,
    "engine_unavailable",
    "engine_unavailable",
  ]);
  turns.run();
  expect([told, outcome("p-9"), outcome("q-9")]).toEqual([1, "no_allow_matched", "allowed"]);
});

test("what changes again and again is compiled in one turn after all", () => {
  begun(all);
  let updates = 0;
  do {
    engine.update(range(`v${updates}`, many));
    turns.run(1);
    updates++;
  } while (engine.preparing > 0 && updates < 100);
  expect(updates).toBe(policyLimits.maxCompileRestarts + 2);
  expect([outcome(`v${updates - 1}-7`), outcome(`v${updates - 2}-7`)]).toEqual([
    "allowed",
    "no_allow_matched",
  ]);
  // Whoever waits is told with the last change: nothing is left that could tell later.
  expect(told).toBe(1);
  turns.run();
  expect([outcome(`v${updates - 1}-7`), told]).toEqual(["allowed", 1]);
});

test("a list of names whose policies change again and again is compiled in one turn after all", () => {
  const selected = all.map((each) => policy({ ...each, scope: "WORKLOAD_SELECTOR" }));
  const there = workload({ authorizationPolicies: selected.map(({ name }) => `shop/${name}`) });
  let updates = 0;
  let isPreparing = true;
  for (; isPreparing && updates < 100; updates++) {
    engine.update(selected.map((each) => ({ ...each })));
    isPreparing = engine.isPreparing(there);
    turns.run(1);
  }
  expect(updates).toBe(policyLimits.maxCompileRestarts + 2);
  // One of them is gone, and the list is another one.
  engine.update(selected.slice(1));
  expect([engine.preparing, engine.isPreparing(there)]).toEqual([0, false]);
});

test("a fault of ours at one of them ends the wait, and refuses those that it is for until they change", () => {
  let isBroken = false;
  const broken = {
    ...one("z"),
    get rules() {
      if (isBroken) throw new TypeError("a fault of ours");
      return one("z").rules;
    },
  };
  engine.update([...all, broken]);
  expect(engine.isPreparing(here)).toBe(true);
  isBroken = true;
  expect(() => turns.run()).toThrow("a fault of ours");
  expect([engine.preparing, engine.isPreparing(here), told, outcome("p-7")]).toEqual([
    0,
    false,
    1,
    "engine_unavailable",
  ]);
  engine.update(all);
  turns.run();
  expect([engine.isPreparing(here), outcome("p-7"), told]).toEqual([false, "allowed", 2]);
});

test("what makes room for others lets what is being compiled go on", () => {
  engine = createPolicyEngine({ missingPolicy: "deny", clock: turns, limits: { maxNamedGroups: 1 } });
  engine.prepared.subscribe(() => told++);
  const byName = ["a", "b"].map((name) => policy({ ...one(name), scope: "WORKLOAD_SELECTOR" }));
  engine.update([...all, ...byName]);
  engine.isPreparing(here);
  for (const { name } of byName) engine.isPreparing(workload({ authorizationPolicies: [`shop/${name}`] }));
  expect(engine.preparing).toBe(1);
  turns.run();
  expect([engine.isPreparing(here), outcome("p-7"), told]).toEqual([false, "allowed", 1]);
});

test("what cannot be compiled is refused for good, and the others are compiled", () => {
  const broken = policy({ name: "z", rules: [rule([match({ destinationPorts: [70_000] })])] });
  engine.update([...all, broken]);
  const elsewhere = workload({ namespace: "other" });
  engine.update([...all, broken, ...all.map((each) => ({ ...each, namespace: "other" }))]);
  expect([engine.isPreparing(here), engine.isPreparing(elsewhere), engine.preparing]).toEqual([
    true,
    true,
    2,
  ]);
  turns.run();
  expect([engine.isPreparing(here), outcome("p-7"), told]).toEqual([false, "engine_unavailable", 2]);
  const decision = engine.decide(elsewhere, {
    ...{ sourceIp: ip("10.0.0.1"), sourceIdentity: new SpiffeId("td", "a", "p-7") },
    ...{ destinationIp: ip("10.0.0.2"), destinationPort: 80 },
  });
  expect(decision.allowed).toBe(true);
});

// A generator that threw is at its end: it was taken for one that had compiled no rule, and what was to be denied was let in.
test("a fault of ours in any step of a job refuses its group for good, and the others are compiled", () => {
  const few = all.slice(0, 8);
  const elsewhere = workload({ namespace: "other" });
  const others = few.map((each) => ({ ...each, namespace: "other" }));
  let faults = 0;
  for (let sound = 0; ; sound++) {
    let reads = 0;
    const faulty = {
      ...one("p-7", "DENY"),
      get rules() {
        if (turns.isRunning && reads++ === sound) throw new Error("a fault");
        return one("p-7").rules;
      },
    };
    engine = createPolicyEngine({ missingPolicy: "deny", clock: turns, limits: { maxValuesAtOnce: 3 } });
    engine.update([...few, faulty, ...others]);
    expect([engine.isPreparing(here), engine.isPreparing(elsewhere)]).toEqual([true, true]);
    let isFaulty = false;
    while (!turns.isOver)
      try {
        turns.run();
      } catch {
        isFaulty = true;
      }
    expect([engine.isPreparing(here), engine.isPreparing(elsewhere)]).toEqual([false, false]);
    if (!isFaulty) break;
    faults++;
    for (const { name } of few) expect(outcome(name)).toBe("engine_unavailable");
  }
  expect(outcome("p-7")).toBe("denied_by_rule");
  expect(faults).toBeGreaterThan(3);
});

test("of two that are compiled at the same time each decides by its own, whichever is ready first", () => {
  const others = range("q", many).map((each) => ({ ...each, namespace: "other" }));
  engine.update([...all, ...others]);
  const elsewhere = workload({ namespace: "other" });
  expect([engine.isPreparing(here), engine.isPreparing(elsewhere)]).toEqual([true, true]);
  // The first begins again, behind the second.
  engine.update([...range("r", many), ...others]);
  while (engine.isPreparing(elsewhere)) turns.run(1);
  expect([outcome("q-7"), outcome("r-7")]).toEqual(["engine_unavailable", "engine_unavailable"]);
  turns.run();
  expect([outcome("q-7"), outcome("r-7"), told]).toEqual(["no_allow_matched", "allowed", 2]);
});
