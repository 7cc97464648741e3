/** What only the compiled engine has: bounds, images, callers, and a listener that calls back. */
import { describe, expect, test } from "bun:test";
import { policyLimits } from "../../base/limits/policy.ts";
import type { Authorization, Match } from "../../mesh/authorization.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import type { PolicyEngine, PolicyLimits } from "../policy_engine.ts";
import { connection, ip, match, policy, rule, string, workload } from "../testing/policy_fixtures.ts";
import { compileSection } from "./compile.ts";
import { createPolicyEngine } from "./engine.ts";

const everything = rule();
const onPort = (port: number) => rule([match({ destinationPorts: [port] })]);
const fromNamespace = (name: string) => rule([match({ namespaces: [string(name)] })]);

function engineOf(policies: readonly Authorization[], limits: Partial<PolicyLimits> = {}): PolicyEngine {
  const engine = createPolicyEngine({ missingPolicy: "deny", limits });
  engine.update(policies);
  return engine;
}

describe("more rules than maxRulesPerSection", () => {
  const location = { file: "mesh.yaml", line: 3, column: 1 };
  const large = policy({ name: "large", rules: Array.from({ length: 9 }, () => everything), location });
  const engine = engineOf([large, policy({ namespace: "b", rules: [everything] })], {
    maxRulesPerSection: 8,
  });

  test("refuses, and names the policy to blame", () => {
    expect(engine.decide(workload(), connection())).toEqual({
      allowed: false,
      reason: "engine_unavailable",
      policy: "shop/large",
      rule: null,
      location,
      version: 1,
    });
  });
  test("leaves other workloads alone", () => {
    expect(engine.decide(workload({ namespace: "b" }), connection())).toMatchObject({ policy: "b/policy" });
  });
  test("refuses DENY and dry-run policies as well: nothing is skipped", () => {
    for (const fields of [{ action: "DENY" }, { dryRun: true }] as const) {
      const refusing = engineOf([{ ...large, ...fields, rules: large.rules.map(() => onPort(1)) }], {
        maxRulesPerSection: 8,
      });
      expect(refusing.decide(workload(), connection())).toMatchObject({ reason: "engine_unavailable" });
    }
  });
  test("blames no policy when only all together are too many", () => {
    const halves = ["a", "b"].map((name) => policy({ name, rules: large.rules.slice(0, 5) }));
    const refusing = engineOf(halves, { maxRulesPerSection: 8 });
    expect(refusing.decide(workload(), connection())).toMatchObject({
      reason: "engine_unavailable",
      policy: null,
    });
  });
  test("ends with an update that fits", () => {
    const recovering = engineOf([large], { maxRulesPerSection: 8 });
    expect(recovering.decide(workload(), connection()).allowed).toBe(false);
    recovering.update([{ ...large, rules: large.rules.slice(0, 8) }]);
    expect(recovering.decide(workload(), connection())).toMatchObject({
      allowed: true,
      policy: "shop/large",
    });
  });
});

describe("an image of maxImageBytes", () => {
  const spaces = Array.from({ length: 40 }, (_, index) => `ns-${index}`);
  const policies = spaces.map((namespace, index) =>
    policy({ namespace, rules: [onPort(8080), onPort(1000 + index)] }),
  );
  const here = (namespace: string) => workload({ namespace });

  test("that holds a few groups only makes room for the next", () => {
    const engine = engineOf(policies, { maxImageBytes: 3_000 });
    for (let round = 0; round < 2; round++) {
      for (const namespace of spaces) {
        expect(engine.decide(here(namespace), connection())).toMatchObject({ policy: `${namespace}/policy` });
        expect(engine.decide(here(namespace), connection({ destinationPort: 999 })).allowed).toBe(false);
      }
    }
  });
  test("that holds no group at all refuses", () => {
    const engine = engineOf(policies, { maxImageBytes: 100 });
    expect(engine.decide(here("ns-1"), connection())).toMatchObject({ reason: "engine_unavailable" });
    expect(engine.decide(here("elsewhere"), connection()).allowed).toBe(true);
  });
  test("that holds one of a workload's two groups refuses", () => {
    const both = [
      policy({ rules: [onPort(8080)] }),
      policy({ name: "global", scope: "GLOBAL", action: "DENY", rules: [onPort(1)] }),
    ];
    const bytes = both.map((each) => compileSection([each], policyLimits)?.words.byteLength ?? 0);
    const needed = bytes.reduce((sum, each) => sum + each, 0);
    for (const [maxImageBytes, allowed] of [
      [needed - 1, false],
      [needed, true],
    ] as const) {
      expect(engineOf(both, { maxImageBytes }).decide(workload(), connection()).allowed).toBe(allowed);
    }
  });
  test("moves to more memory as it fills, and keeps what it holds", () => {
    const wide = (namespace: string) =>
      policy({
        namespace,
        rules: Array.from({ length: 400 }, (_, index) => fromNamespace(`${namespace}-caller-${index}`)),
      });
    const engine = engineOf(spaces.map(wide), { callerArenaBytes: 4_096 });
    for (let round = 0; round < 2; round++) {
      for (const namespace of spaces) {
        const from = (name: string) => connection({ sourceIdentity: new SpiffeId("td", name, "x") });
        expect(engine.decide(here(namespace), from(`${namespace}-caller-399`)).allowed).toBe(true);
        expect(engine.decide(here(namespace), from(`${namespace}-caller-400`)).allowed).toBe(false);
      }
    }
  });
});

describe("callers", () => {
  const numbered = Array.from({ length: 50 }, (_, index) => new SpiffeId("td", `ns-${index}`, "x"));
  const policies = [policy({ rules: [rule([match({ namespaces: [string("*5"), string("ns-7")] })])] })];
  const expectRight = (engine: PolicyEngine) => {
    for (let round = 0; round < 3; round++) {
      for (const sourceIdentity of [...numbered, ...numbered.toReversed()]) {
        const expected = /5$|^ns-7$/.test(sourceIdentity.namespace);
        expect(engine.decide(workload(), connection({ sourceIdentity })).allowed).toBe(expected);
        expect(engine.decide(workload(), connection({ sourceIdentity: null })).allowed).toBe(false);
      }
    }
  };

  test("more than maxCallers are dropped and made again", () =>
    expectRight(engineOf(policies, { maxCallers: 7 })));
  test("more than callerArenaBytes hold are dropped and made again", () => {
    expectRight(engineOf(policies, { callerArenaBytes: 200 }));
  });
  test("an arena too small for one record refuses", () => {
    const named = connection({ sourceIdentity: new SpiffeId("td", "ns-7", "x") });
    for (const fields of [
      { action: "ALLOW" },
      { action: "DENY" },
      { action: "DENY", dryRun: true },
      { action: "ALLOW", dryRun: true },
    ] as const) {
      const engine = engineOf([policy({ ...fields, rules: [fromNamespace("ns-7")] })], {
        callerArenaBytes: 16,
      });
      engine.onDryRun = () => expect.unreachable();
      expect(engine.decide(workload(), named)).toMatchObject({
        allowed: false,
        reason: "engine_unavailable",
      });
    }
  });
  test("identities whose URIs look alike are kept apart", () => {
    const engine = engineOf([policy({ rules: [fromNamespace("a")] })]);
    const decide = (sourceIdentity: SpiffeId) =>
      engine.decide(workload(), connection({ sourceIdentity })).allowed;
    expect(decide(new SpiffeId("td", "a", "b/sa/c"))).toBe(true);
    expect(decide(new SpiffeId("td", "a/sa/b", "c"))).toBe(false);
    expect(decide(new SpiffeId("td", "a", "b/sa/c"))).toBe(true);
    // The same account, by the letter, of another namespace and trust domain.
    expect(decide(new SpiffeId("td/ns/y/sa/z", "a", "q"))).toBe(true);
    expect(decide(new SpiffeId("td", "y/sa/z/ns/a", "q"))).toBe(false);
  });
});

test("more than maxNamedGroups lists of names are dropped and compiled again", () => {
  const policies = Array.from({ length: 12 }, (_, index) =>
    policy({ name: `p${index}`, scope: "WORKLOAD_SELECTOR", action: "DENY", rules: [onPort(1000 + index)] }),
  );
  const engine = engineOf([...policies, policy({ rules: [everything] })], { maxNamedGroups: 3 });
  const workloads = policies.map((each, index) =>
    workload({ authorizationPolicies: [`shop/${each.name}`, `shop/p${(index + 1) % 12}`] }),
  );
  for (let round = 0; round < 3; round++) {
    for (const [index, here] of workloads.entries()) {
      const to = (destinationPort: number) => engine.decide({ ...here }, connection({ destinationPort }));
      expect(to(1000 + index)).toMatchObject({ reason: "denied_by_rule", policy: `shop/p${index}` });
      expect(to(1000 + ((index + 1) % 12)).allowed).toBe(false);
      expect(to(1000 + ((index + 2) % 12))).toMatchObject({ allowed: true, policy: "shop/policy" });
    }
    engine.update([...policies, policy({ rules: [everything] })]);
  }
});

describe("updates", () => {
  test("a list of names follows its policies when one of them changes", () => {
    const named = (port: number) =>
      policy({ scope: "WORKLOAD_SELECTOR", action: "DENY", rules: [onPort(port)] });
    const here = workload({ authorizationPolicies: ["shop/policy"] });
    const engine = engineOf([named(8080)]);
    expect(engine.decide(here, connection()).allowed).toBe(false);
    engine.update([named(9090)]);
    expect(engine.decide(here, connection()).allowed).toBe(true);
    engine.update([]);
    expect(engine.decide(here, connection())).toMatchObject({ reason: "policy_missing", version: 3 });
    engine.update([named(8080)]);
    expect(engine.decide(here, connection()).allowed).toBe(false);
  });
  test("that fail half-way leave the old policies in force", () => {
    const engine = engineOf([policy({ action: "DENY", rules: [everything] })]);
    const broken = function* () {
      yield policy({ rules: [everything] });
      throw new Error("half-way");
    };
    expect(() => engine.update(broken())).toThrow("half-way");
    expect(engine.version).toBe(1);
    expect(engine.decide(workload(), connection())).toMatchObject({ reason: "denied_by_rule", version: 1 });
  });
  test("that carry what no parser lets through refuse its workloads, name it, and stop no other", () => {
    const bad: readonly Partial<Match>[] = [
      { destinationPorts: [80.5] },
      { notDestinationPorts: [65_536] },
      { sourceIps: [{ ip: ip("10.0.0.0"), length: 33 }] },
      { notDestinationIps: [{ ip: ip("::"), length: -1 }] },
    ];
    for (const fields of bad) {
      const culprit = policy({ name: "bad", action: "DENY", rules: [rule([match(fields)])] });
      const engine = engineOf([
        policy({ rules: [everything] }),
        policy({ namespace: "b", rules: [everything] }),
      ]);
      expect(engine.decide(workload(), connection()).allowed).toBe(true);
      engine.update([
        policy({ rules: [everything] }),
        policy({ namespace: "b", rules: [everything] }),
        culprit,
      ]);
      const decision = engine.decide(workload(), connection());
      expect(decision).toMatchObject({ reason: "engine_unavailable", policy: "shop/bad", version: 2 });
      expect(engine.decide(workload({ namespace: "b" }), connection()).allowed).toBe(true);
    }
  });
});

test("a dry-run listener may decide and update in turn", () => {
  const dry = policy({ name: "dry", dryRun: true, action: "DENY", rules: [everything, everything] });
  const denyOther = policy({ name: "deny", action: "DENY", rules: [onPort(9090)] });
  const engine = engineOf([dry, policy({ name: "dry-2", dryRun: true, rules: [everything] }), denyOther]);
  const inner: boolean[] = [];
  engine.onDryRun = () => {
    engine.onDryRun = null;
    inner.push(
      engine.decide(workload(), connection({ destinationPort: 9090, sourceIdentity: null })).allowed,
    );
    engine.update([policy({ action: "DENY", rules: [everything] })]);
  };
  expect(engine.decide(workload(), connection())).toMatchObject({ allowed: true, version: 1 });
  expect(inner).toEqual([false, false]);
  expect(engine.decide(workload(), connection()).allowed).toBe(false);
});
