/** What every policy engine does, run for each of them. The first part is ztunnel's own table of cases (`rbac.rs`, tests). */
import { describe, expect, test } from "bun:test";
import { policyLimits } from "../base/limits/policy.ts";
import type { Authorization, Match } from "../mesh/authorization.ts";
import { SpiffeId } from "../mesh/identity.ts";
import type { Decision, PolicyConnection } from "./decision.ts";
import { Permit } from "./decision.ts";
import type { PolicyEngine, PolicyEngineOptions } from "./policy_engine.ts";
import { createReferenceEngine } from "./reference.ts";
import { connection, ip, match, policy, prefix, rule, string, workload } from "./testing/policy_fixtures.ts";
import { createPolicyEngine } from "./wasm/engine.ts";

policyContract("reference engine", createReferenceEngine);
policyContract("WebAssembly engine", createPolicyEngine);

const plaintext = connection({ sourceIdentity: null });
const tls = connection();
/** As ztunnel's `tls_conn_alt`: everything differs. */
const alternative = connection({
  sourceIp: ip("127.0.0.3"),
  sourceIdentity: new SpiffeId("td", "ns-alt", "sa-alt"),
  destinationIp: ip("127.0.0.4"),
  destinationPort: 9090,
});

function policyContract(name: string, createEngine: (options: PolicyEngineOptions) => PolicyEngine): void {
  const load = (policies: readonly Authorization[], missingPolicy: "deny" | "skip" = "deny") => {
    const engine = createEngine({ missingPolicy });
    engine.update(policies);
    return engine;
  };
  const matches = (fields: Partial<Match>, context: PolicyConnection) =>
    load([policy({ rules: [rule([match(fields)])] })]).decide(workload(), context).allowed;

  test(`${name}: nothing is being compiled for who has no clock`, () => {
    const engine = load([policy({})]);
    expect([engine.isPreparing(workload()), engine.preparing]).toEqual([false, 0]);
  });

  describe(`${name}: one match`, () => {
    /** Field → whether plaintext, the identity `td/ns/namespace/sa/account`, and the alternative match. */
    const table: readonly (readonly [string, Partial<Match>, boolean, boolean, boolean])[] = [
      ["namespaces exact", { namespaces: [string("namespace")] }, false, true, false],
      ["namespaces prefix", { namespaces: [string("name*")] }, false, true, false],
      ["namespaces suffix", { namespaces: [string("*-alt")] }, false, false, true],
      ["namespaces presence", { namespaces: [string("*")] }, false, true, true],
      ["namespaces exact empty is plaintext", { namespaces: [string("")] }, true, false, false],
      [
        "namespaces empty prefix is anyone",
        { namespaces: [{ kind: "prefix", value: "" }] },
        true,
        true,
        true,
      ],
      ["namespaces, several", { namespaces: [string("x"), string("namespace")] }, false, true, false],
      ["notNamespaces exact", { notNamespaces: [string("namespace")] }, true, false, true],
      ["notNamespaces presence", { notNamespaces: [string("*")] }, true, false, false],
      ["principals exact", { principals: [string("td/ns/namespace/sa/account")] }, false, true, false],
      [
        "principals have no scheme",
        { principals: [string("spiffe://td/ns/namespace/sa/account")] },
        false,
        false,
        false,
      ],
      ["principals prefix", { principals: [string("td/ns/namespace/*")] }, false, true, false],
      ["principals suffix", { principals: [string("*/sa/sa-alt")] }, false, false, true],
      ["principals presence", { principals: [string("*")] }, false, true, true],
      [
        "principals empty prefix needs an identity",
        { principals: [{ kind: "prefix", value: "" }] },
        false,
        true,
        true,
      ],
      ["notPrincipals exact", { notPrincipals: [string("td/ns/namespace/sa/account")] }, true, false, true],
      ["notPrincipals presence is plaintext", { notPrincipals: [string("*")] }, true, false, false],
      [
        "serviceAccounts",
        { serviceAccounts: [{ namespace: "namespace", serviceAccount: "account" }] },
        false,
        true,
        false,
      ],
      [
        "serviceAccounts, other namespace",
        { serviceAccounts: [{ namespace: "ns-alt", serviceAccount: "account" }] },
        false,
        false,
        false,
      ],
      [
        "notServiceAccounts",
        { notServiceAccounts: [{ namespace: "namespace", serviceAccount: "account" }] },
        true,
        false,
        true,
      ],
      ["sourceIps", { sourceIps: [prefix("127.0.0.1/32")] }, true, true, false],
      ["notSourceIps", { notSourceIps: [prefix("127.0.0.1/32")] }, false, false, true],
      ["destinationIps", { destinationIps: [prefix("127.0.0.2")] }, true, true, false],
      ["destinationIps with host bits", { destinationIps: [prefix("127.0.0.1/24")] }, true, true, true],
      ["destinationIps of all IPv4", { destinationIps: [prefix("0.0.0.0/0")] }, true, true, true],
      ["destinationIps of all IPv6", { destinationIps: [prefix("::/0")] }, false, false, false],
      ["notDestinationIps", { notDestinationIps: [prefix("127.0.0.2/32")] }, false, false, true],
      ["destinationPorts", { destinationPorts: [8080] }, true, true, false],
      ["notDestinationPorts", { notDestinationPorts: [8080] }, false, false, true],
      ["every field empty never matches", {}, false, false, false],
      [
        "positive and negative",
        { namespaces: [string("*")], notNamespaces: [string("ns-*")] },
        false,
        true,
        false,
      ],
      ["fields AND", { namespaces: [string("namespace")], destinationPorts: [9090] }, false, false, false],
    ];
    test.each(table)("%s", (_, fields, onPlaintext, onTls, onAlternative) => {
      expect(matches(fields, plaintext)).toBe(onPlaintext);
      expect(matches(fields, tls)).toBe(onTls);
      expect(matches(fields, alternative)).toBe(onAlternative);
    });

    test("IPv4-mapped addresses are IPv4", () => {
      const mapped = connection({ sourceIp: ip("::ffff:10.1.2.3") });
      expect(matches({ sourceIps: [prefix("10.0.0.0/8")] }, mapped)).toBe(true);
      expect(matches({ sourceIps: [prefix("::/0")] }, mapped)).toBe(false);
    });

    test("IPv6", () => {
      const from = (text: string) => connection({ sourceIp: ip(text) });
      const fields = {
        sourceIps: [prefix("2001:db8:8000::/33")],
        notSourceIps: [prefix("2001:db8:8000::1")],
      };
      expect(matches(fields, from("2001:db8:8000::2"))).toBe(true);
      expect(matches(fields, from("2001:db8:ffff:ffff:ffff:ffff:ffff:ffff"))).toBe(true);
      expect(matches(fields, from("2001:db8:8000::1"))).toBe(false);
      expect(matches(fields, from("2001:db8:7fff::1"))).toBe(false);
      expect(matches(fields, from("10.0.0.1"))).toBe(false);
    });
  });

  describe(`${name}: rules`, () => {
    const allows = (rules: Authorization["rules"], context: PolicyConnection = tls) =>
      load([policy({ rules })]).decide(workload(), context).allowed;
    const inNamespace = match({ namespaces: [string("namespace")] });
    const inOther = match({ namespaces: [string("other")] });
    const onPort = match({ destinationPorts: [8080] });
    const onOtherPort = match({ destinationPorts: [1] });

    test("no rules never match", () => expect(allows([])).toBe(false));
    test("a rule without clauses matches everything", () => expect(allows([rule()], plaintext)).toBe(true));
    test("a clause without matches matches", () => expect(allows([rule([], [inNamespace])])).toBe(true));
    test("a clause of empty matches never matches", () => expect(allows([rule([match({})])])).toBe(false));
    test("an empty match beside a good one", () =>
      expect(allows([rule([match({}), inNamespace])])).toBe(true));
    test("rules OR", () => expect(allows([rule([inOther]), rule([inNamespace])])).toBe(true));
    test("clauses AND", () => {
      expect(allows([rule([inNamespace], [onPort])])).toBe(true);
      expect(allows([rule([inNamespace], [onOtherPort])])).toBe(false);
    });
    test("matches OR, and fields do not mix between them", () => {
      const one = match({ namespaces: [string("namespace")], destinationPorts: [1] });
      const two = match({ namespaces: [string("other")], destinationPorts: [8080] });
      expect(allows([rule([one, two])])).toBe(false);
      expect(allows([rule([one, two, inNamespace])])).toBe(true);
    });
    test("STRICT with permissive ports, as istiod converts it", () => {
      const noIdentity = [match({ notPrincipals: [string("*")] })];
      const strict = policy({
        action: "DENY",
        rules: [
          rule(noIdentity, [match({ notDestinationPorts: [80] })], [match({ notDestinationPorts: [81] })]),
        ],
      });
      const engine = load([strict]);
      expect(engine.decide(workload(), plaintext).allowed).toBe(false);
      expect(engine.decide(workload(), tls).allowed).toBe(true);
      expect(engine.decide(workload(), { ...plaintext, destinationPort: 81 }).allowed).toBe(true);
    });
  });

  describe(`${name}: policies`, () => {
    const all = [rule()];
    const none = [rule([match({ destinationPorts: [1] })])];

    test("no policies allow", () => {
      const decision = load([]).decide(workload(), plaintext);
      expect(decision).toBeInstanceOf(Permit);
      expect(decision).toMatchObject({ allowed: true, policy: null, version: 1 });
      expect(Permit.isGenuine(decision)).toBe(true);
    });

    test("before the first update nothing is loaded", () => {
      const engine = createEngine({ missingPolicy: "deny" });
      expect(engine.decide(workload(), plaintext)).toMatchObject({ allowed: true, version: 0 });
    });

    test("an ALLOW policy that matches is named, the first in order", () => {
      const engine = load([
        policy({ name: "b", rules: all }),
        policy({ name: "a", rules: all }),
        policy({ name: "z", namespace: "root", scope: "GLOBAL", rules: none }),
      ]);
      const decision = engine.decide(workload(), tls);
      expect(decision).toMatchObject({ allowed: true, policy: "shop/a" });
      expect(decision.allowed && decision.connection).toBe(tls);
    });

    test("no ALLOW policy matches: all are named, and the place of the first", () => {
      const location = { file: "mesh.yaml", line: 12, column: 1 };
      const engine = load([
        policy({ name: "b", rules: none }),
        policy({ name: "a", rules: none, location }),
        policy({ name: "dry", rules: all, dryRun: true }),
        policy({ name: "deny", rules: none, action: "DENY" }),
      ]);
      expect(engine.decide(workload(), tls)).toEqual({
        allowed: false,
        reason: "no_allow_matched",
        policy: "shop/a,shop/b",
        rule: null,
        location,
        version: 1,
      });
    });

    test("a long list of ALLOW policies is cut at a whole name", () => {
      const names = Array.from({ length: 300 }, (_, index) => `allow-${1000 + index}`);
      const engine = load(names.map((each) => policy({ name: each })));
      const decision = engine.decide(workload(), tls);
      const text = decision.allowed ? "" : (decision.policy ?? "");
      expect(text).toMatch(/^(shop\/allow-\d{4},)+shop\/allow-\d{4} and \d+ more$/);
      expect(text.split(",").length + Number(/and (\d+) more/.exec(text)?.[1])).toBe(300);
    });

    test("names are told as far as there is room for whole ones", () => {
      const { maxDenialNameChars } = policyLimits;
      const second = (length: number) => `shop/${"z".repeat(length - "shop/".length)}`;
      const fits = second(maxDenialNameChars - "shop/a,".length);
      for (const last of [fits, `${fits}z`]) {
        const told = last === fits ? `shop/a,${fits}` : "shop/a and 1 more";
        expect(told.length <= maxDenialNameChars).toBe(true);
        const allow = ["a", last.slice("shop/".length)].map((each) => policy({ name: each }));
        expect(load(allow).decide(workload(), tls)).toMatchObject({
          reason: "no_allow_matched",
          policy: told,
        });
        const naming = workload({ authorizationPolicies: ["shop/a", last] });
        expect(load([]).decide(naming, tls)).toMatchObject({ reason: "policy_missing", policy: told });
      }
    });

    test("DENY goes before ALLOW; the rule's place is given, else the policy's", () => {
      const ofRule = { file: "mesh.yaml", line: 7, column: 5 };
      const ofPolicy = { file: "mesh.yaml", line: 1, column: 1 };
      const deny = policy({
        name: "z",
        action: "DENY",
        rules: [...none, { clauses: [], location: ofRule }, ...all],
        location: ofPolicy,
      });
      expect(load([policy({ name: "a", rules: all }), deny]).decide(workload(), tls)).toEqual({
        allowed: false,
        reason: "denied_by_rule",
        policy: "shop/z",
        rule: 1,
        location: ofRule,
        version: 1,
      });
      const unplaced = { ...deny, rules: all };
      expect(load([unplaced]).decide(workload(), tls)).toMatchObject({ rule: 0, location: ofPolicy });
    });

    test("global, then namespace, then named; inside by key", () => {
      const denials = [
        policy({ name: "a", action: "DENY", rules: all, scope: "WORKLOAD_SELECTOR" }),
        policy({ name: "m", action: "DENY", rules: all }),
        policy({ name: "n", action: "DENY", rules: all }),
        policy({ name: "z", action: "DENY", rules: all, scope: "GLOBAL", namespace: "zz" }),
      ];
      const here = workload({ authorizationPolicies: ["shop/a"] });
      const denier = (policies: readonly Authorization[]) => {
        const decision = load(policies).decide(here, tls);
        return decision.allowed ? null : decision.policy;
      };
      expect(denier(denials)).toBe("zz/z");
      expect(denier(denials.slice(0, 3))).toBe("shop/m");
      expect(denier(denials.slice(0, 1))).toBe("shop/a");
    });

    test("scopes reach the workloads they should", () => {
      const denies = (fields: Partial<Authorization>, here = workload()) =>
        !load([policy({ action: "DENY", rules: all, ...fields })]).decide(here, tls).allowed;
      expect(denies({ scope: "NAMESPACE", namespace: "other" })).toBe(false);
      expect(denies({ scope: "GLOBAL", namespace: "other" })).toBe(true);
      expect(denies({ scope: "NAMESPACE", namespace: "" })).toBe(true);
      expect(denies({ scope: "WORKLOAD_SELECTOR" })).toBe(false);
      const naming = workload({ authorizationPolicies: ["shop/policy", "shop/policy"] });
      expect(denies({ scope: "WORKLOAD_SELECTOR" }, naming)).toBe(true);
      expect(
        denies(
          { scope: "NAMESPACE", namespace: "other" },
          workload({ authorizationPolicies: ["other/policy"] }),
        ),
      ).toBe(true);
    });

    test("of two policies with one key the last counts", () => {
      const engine = load([policy({ action: "DENY", rules: all }), policy({ action: "ALLOW", rules: all })]);
      expect(engine.decide(workload(), tls)).toMatchObject({ allowed: true, policy: "shop/policy" });
    });
  });

  describe(`${name}: missing policies`, () => {
    const naming = workload({ authorizationPolicies: ["shop/here", "shop/gone", "shop/lost", "shop/gone"] });
    const here = policy({ name: "here", scope: "WORKLOAD_SELECTOR", rules: [rule()] });

    test("are listed once", () => {
      expect(load([here]).missing(naming)).toEqual(["shop/gone", "shop/lost"]);
      expect(load([here]).missing(workload({ authorizationPolicies: ["shop/here"] }))).toEqual([]);
    });
    test("deny where they should", () => {
      expect(load([here]).decide(naming, tls)).toEqual({
        allowed: false,
        reason: "policy_missing",
        policy: "shop/gone,shop/lost",
        rule: null,
        location: null,
        version: 1,
      });
    });
    test("are skipped where that was asked for", () => {
      expect(load([here], "skip").decide(naming, tls)).toMatchObject({ allowed: true, policy: "shop/here" });
    });
    test("that arrive end the denial", () => {
      const engine = load([here]);
      expect(engine.decide(naming, tls).allowed).toBe(false);
      engine.update([here, { ...here, name: "gone" }, { ...here, name: "lost" }]);
      expect(engine.missing(naming)).toEqual([]);
      expect(engine.decide(naming, tls)).toMatchObject({ allowed: true, policy: "shop/gone", version: 2 });
    });
  });

  describe(`${name}: dry run`, () => {
    const dry = (fields: Partial<Authorization>) => policy({ dryRun: true, rules: [rule()], ...fields });
    const observe = (policies: readonly Authorization[]) => {
      const engine = load(policies);
      const seen: string[] = [];
      engine.onDryRun = (key, index, action, context) => {
        expect(context).toBe(tls);
        seen.push(`${action} ${key} ${index}`);
      };
      const decision: Decision = engine.decide(
        workload({ authorizationPolicies: ["shop/named", "shop/a"] }),
        tls,
      );
      return { seen, decision };
    };
    const named = dry({ name: "named", scope: "WORKLOAD_SELECTOR", action: "DENY" });

    test("is reported, once a policy, in order, and has no effect", () => {
      const { seen, decision } = observe([
        named,
        dry({ name: "b", rules: [rule([match({ destinationPorts: [1] })]), rule()] }),
        dry({ name: "a", action: "DENY", rules: [rule(), rule()] }),
        dry({ name: "c", rules: [rule([match({ destinationPorts: [1] })])] }),
        dry({ name: "g", scope: "GLOBAL", action: "DENY" }),
      ]);
      expect(seen).toEqual(["DENY shop/g 0", "DENY shop/a 0", "DENY shop/named 0", "ALLOW shop/b 1"]);
      expect(decision).toMatchObject({ allowed: true, policy: null });
    });
    test("ALLOW is not reached where something denies", () => {
      const { seen, decision } = observe([
        named,
        dry({ name: "a" }),
        policy({ name: "deny", action: "DENY", rules: [rule()] }),
      ]);
      expect(seen).toEqual(["DENY shop/named 0"]);
      expect(decision).toMatchObject({ allowed: false, policy: "shop/deny" });
    });
    test("no listener: nothing happens", () => {
      const engine = load([dry({ action: "DENY" })]);
      expect(engine.onDryRun).toBeNull();
      expect(engine.decide(workload(), tls).allowed).toBe(true);
    });
  });

  describe(`${name}: updates`, () => {
    test("replace the whole set and count versions", () => {
      const engine = createEngine({ missingPolicy: "deny" });
      expect(engine.version).toBe(0);
      const deny = policy({ action: "DENY", rules: [rule()] });
      for (let round = 0; round < 20; round++) {
        engine.update(round % 2 === 0 ? [deny] : []);
        expect(engine.version).toBe(round + 1);
        expect(engine.decide(workload(), tls)).toMatchObject({
          allowed: round % 2 === 1,
          version: round + 1,
        });
      }
    });
    test("a policy that changes under its key changes the decision", () => {
      const engine = load([policy({ rules: [rule([match({ destinationPorts: [8080] })])] })]);
      const here = workload();
      expect(engine.decide(here, tls).allowed).toBe(true);
      engine.update([policy({ rules: [rule([match({ destinationPorts: [9090] })])] })]);
      expect(engine.decide(here, tls).allowed).toBe(false);
      expect(engine.decide(here, alternative).allowed).toBe(true);
    });
    test("one workload, many callers", () => {
      const engine = load([policy({ rules: [rule([match({ namespaces: [string("ns-7*")] })])] })]);
      const here = workload();
      for (let round = 0; round < 3; round++) {
        for (let index = 0; index < 200; index++) {
          const from = connection({ sourceIdentity: new SpiffeId("td", `ns-${index}`, "x") });
          expect(engine.decide(here, from).allowed).toBe(`${index}`.startsWith("7"));
        }
      }
    });
  });
}
