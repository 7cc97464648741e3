import { describe, expect, test } from "bun:test";
import type { Authorization } from "../authorization.ts";
import { dumpMesh } from "../codec/dump.ts";
import { MeshStore } from "../store/store.ts";
import { convert, document, warningsOf } from "../testing/convert_text.ts";
import { stringMatch } from "./authorization_policy.ts";

function policyOf(spec: string, name = "shop/p"): Authorization | undefined {
  return convert([document("AuthorizationPolicy", name, spec)]).policies[0];
}

/** The rules as ztunnel writes them: short, and without empty fields. */
function rulesOf(spec: string): unknown {
  const policy = policyOf(spec);
  if (policy === undefined) return null;
  const store = new MeshStore();
  store.apply({ policies: { upsert: [policy] } });
  return dumpMesh(store).policies[0]?.rules;
}

test("stars", () => {
  expect(["*", "*a", "a*", "*a*", "a", "a*b"].map((text) => stringMatch(text))).toEqual([
    { kind: "presence" },
    { kind: "suffix", value: "a" },
    { kind: "prefix", value: "a" },
    { kind: "suffix", value: "a*" },
    { kind: "exact", value: "a" },
    { kind: "exact", value: "a*b" },
  ]);
});

describe("istiod's convertAuthorizationPolicy", () => {
  const cases: readonly [string, string, unknown][] = [
    ["no rules at all allow nothing", "{}", []],
    ["the empty rule matches everything", "{rules: [{}]}", [[]]],
    [
      "to, then from, then each condition",
      "{rules: [{when: [{key: source.ip, values: [10.0.0.0/8]}, {key: destination.port, notValues: ['1']}], from: [{source: {principals: ['*']}}, {source: {namespaces: [a]}}], to: [{operation: {ports: ['80', '81']}}]}]}",
      [
        [
          [{ destinationPorts: [80, 81] }],
          [{ principals: [{ Presence: [] }] }, { namespaces: [{ Exact: "a" }] }],
          [{ sourceIps: ["10.0.0.0/8"] }],
          [{ notDestinationPorts: [1] }],
        ],
      ],
    ],
    [
      "every field of a source",
      "{rules: [{from: [{source: {notPrincipals: ['*/sa/x'], notNamespaces: ['a*'], ipBlocks: [10.0.0.1], notIpBlocks: ['fd00::/8']}}]}]}",
      [
        [
          [
            {
              notPrincipals: [{ Suffix: "/sa/x" }],
              notNamespaces: [{ Prefix: "a" }],
              sourceIps: ["10.0.0.1/32"],
              notSourceIps: ["fd00::/8"],
            },
          ],
        ],
      ],
    ],
    [
      "a service account without a namespace has the policy's",
      "{rules: [{from: [{source: {serviceAccounts: [a, other/b], notServiceAccounts: [c]}}]}]}",
      [
        [
          [
            {
              serviceAccounts: [
                { namespace: "shop", serviceAccount: "a" },
                { namespace: "other", serviceAccount: "b" },
              ],
              notServiceAccounts: [{ namespace: "shop", serviceAccount: "c" }],
            },
          ],
        ],
      ],
    ],
    [
      "every condition a tunnel sees",
      "{rules: [{when: [{key: source.namespace, values: [a]}, {key: source.principal, notValues: [b]}, {key: destination.ip, values: [10.0.0.1], notValues: [10.0.0.2]}]}]}",
      [
        [
          [{ namespaces: [{ Exact: "a" }] }],
          [{ notPrincipals: [{ Exact: "b" }] }],
          [{ destinationIps: ["10.0.0.1/32"], notDestinationIps: ["10.0.0.2/32"] }],
        ],
      ],
    ],
    [
      "ALLOW: a rule with a layer 7 field is left out whole",
      "{rules: [{to: [{operation: {ports: ['80'], methods: [GET]}}]}, {to: [{operation: {ports: ['81']}}]}]}",
      [[[{ destinationPorts: [81] }]]],
    ],
    [
      "ALLOW: with a layer 7 condition, too",
      "{rules: [{when: [{key: 'request.headers[a]', values: [b]}]}]}",
      [],
    ],
    ["ALLOW: with a trust domain, too", "{rules: [{from: [{source: {trustDomains: [a]}}]}]}", []],
    [
      "DENY: only the field is left out",
      "{action: DENY, rules: [{to: [{operation: {ports: ['80'], paths: ['/a']}}]}]}",
      [[[{ destinationPorts: [80] }]]],
    ],
    [
      "DENY: what is left empty never matches",
      "{action: DENY, rules: [{to: [{operation: {paths: ['/a']}}], from: [{source: {namespaces: [a]}}]}]}",
      [[[{}], [{ namespaces: [{ Exact: "a" }] }]]],
    ],
    [
      "DENY: nor does a layer 7 condition",
      "{action: DENY, rules: [{when: [{key: source.serviceAccount, values: [b]}]}]}",
      [[[{}]]],
    ],
    ["AUDIT is nothing", "{action: AUDIT, rules: [{}]}", null],
    ["CUSTOM is nothing", "{action: CUSTOM, provider: {name: a}, rules: [{}]}", null],
    ["targets are a waypoint's", "{targetRefs: [{kind: Service, group: '', name: a}], rules: [{}]}", null],
  ];
  test.each(cases)("%s", (_name, spec, expected) => {
    expect(rulesOf(spec)).toEqual(expected);
  });

  test("scope", () => {
    expect(policyOf("{rules: [{}]}")?.scope).toBe("NAMESPACE");
    expect(policyOf("{rules: [{}]}", "istio-system/p")?.scope).toBe("GLOBAL");
    expect(policyOf("{selector: {matchLabels: {a: b}}}", "istio-system/p")?.scope).toBe("WORKLOAD_SELECTOR");
    expect(policyOf("{selector: {}}")?.scope).toBe("WORKLOAD_SELECTOR");
  });

  test("dry run", () => {
    expect(policyOf("annotations: {istio.io/dry-run: 'true'} | {rules: [{}]}")?.dryRun).toBe(true);
    expect(policyOf("{rules: [{}]}")?.dryRun).toBe(false);
  });
});

test("what was left out is told, in istiod's three cases", () => {
  const conversion = convert([
    document("AuthorizationPolicy", "shop/a", "{rules: [{to: [{operation: {methods: [GET], hosts: [a]}}]}]}"),
    document(
      "AuthorizationPolicy",
      "shop/b",
      "{action: DENY, rules: [{to: [{operation: {ports: ['80'], methods: [GET]}}]}]}",
    ),
    document(
      "AuthorizationPolicy",
      "shop/c",
      "{action: DENY, rules: [{from: [{source: {requestPrincipals: ['*']}}]}]}",
    ),
    document("AuthorizationPolicy", "shop/d", "{action: AUDIT, rules: [{}]}"),
    document(
      "AuthorizationPolicy",
      "shop/e",
      "{targetRef: {group: gateway.networking.k8s.io, kind: Gateway, name: g}}",
    ),
    document("AuthorizationPolicy", "shop/f", "{selector: {matchLabels: {a: b}}}"),
  ]);
  const begin = (found: string) =>
    `a tunnel does not see these attributes (found: ${found}); a waypoint is needed to enforce them.`;
  expect(warningsOf(conversion)).toEqual([
    `AuthorizationPolicy shop/a: ${begin("hosts, methods")} Rules with them are left out, so less is allowed than written.`,
    `AuthorizationPolicy shop/b: ${begin("methods")} They are left out of the DENY rules, so more is denied than written.`,
    `AuthorizationPolicy shop/c: ${begin("requestPrincipals")} Nothing else is left of this DENY policy: it has NO effect here.`,
    "AuthorizationPolicy shop/d: a tunnel does not support the AUDIT action; it has no effect",
    "AuthorizationPolicy shop/e: it is for a waypoint (Gateway g); tunnels do not enforce it",
    "AuthorizationPolicy shop/f: its selector selects no workload",
  ]);
  expect(conversion.statuses.every((status) => status.accepted)).toBe(true);
});

test("selectors: in the namespace, and everywhere from the root namespace; an empty one selects all", () => {
  const { workloads } = convert([
    document("WorkloadEntry", "shop/db", "labels: {app: db, tier: b} | {address: 10.0.0.1}"),
    document("WorkloadEntry", "shop/cart", "labels: {app: cart} | {address: 10.0.0.2, labels: {tier: b}}"),
    document("WorkloadEntry", "other/db", "labels: {app: db} | {address: 10.0.0.3}"),
    document("AuthorizationPolicy", "shop/z", "{selector: {matchLabels: {app: db}}}"),
    document("AuthorizationPolicy", "shop/tier", "{selector: {matchLabels: {tier: b}}}"),
    document("AuthorizationPolicy", "shop/all", "{selector: {matchLabels: {}}}"),
    document("AuthorizationPolicy", "istio-system/db", "{selector: {matchLabels: {app: db}}}"),
    document("AuthorizationPolicy", "shop/namespace-wide", "{rules: [{}]}"),
  ]);
  expect(workloads.map((workload) => workload.authorizationPolicies)).toEqual([
    ["istio-system/db", "shop/all", "shop/tier", "shop/z"],
    ["shop/all", "shop/tier"],
    ["istio-system/db"],
  ]);
});

test("a rule knows where it was written", () => {
  const { policies } = convert([
    "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p}\nspec:\n  rules:\n  - {}\n  - from:\n    - source: {namespaces: [a]}\n",
  ]);
  expect(policies[0]?.rules.map((rule) => `${rule.location?.line}:${rule.location?.column}`)).toEqual([
    "6:5",
    "7:5",
  ]);
  expect(policies[0]?.location).toEqual({ file: "f", line: 1, column: 1 });
});
