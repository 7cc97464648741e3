import { describe, expect, test } from "bun:test";
import { dumpMesh } from "../codec/dump.ts";
import { MeshStore } from "../store/store.ts";
import { convert, document, warningsOf } from "../testing/convert_text.ts";

const strict = "istio-system/istio_converted_static_strict";
const convertedPolicy = "shop/converted_peer_authentication_w";

const db = document("WorkloadEntry", "shop/db", "labels: {app: db} | {address: 10.0.0.1}");
const mesh = (mode: string) => document("PeerAuthentication", "istio-system/m", `{mtls: {mode: ${mode}}}`);
const namespace = (mode: string) => document("PeerAuthentication", "shop/n", `{mtls: {mode: ${mode}}}`);
/** For the workload: a mode, and ports with theirs. */
const workload = (mode: string, ports: string = "") =>
  document(
    "PeerAuthentication",
    "shop/w",
    `{selector: {matchLabels: {app: db}}, mtls: {mode: ${mode}}${ports === "" ? "" : `, portLevelMtls: {${ports}}`}}`,
  );

/** What db gets, and the rules of the converted policy. */
function effect(...documents: readonly string[]): {
  readonly names: readonly string[];
  readonly rules: unknown;
} {
  const conversion = convert([db, ...documents]);
  const store = new MeshStore();
  store.apply({ policies: { upsert: conversion.policies } });
  const converted = dumpMesh(store).policies.find(
    (policy) => policy.name === "converted_peer_authentication_w",
  );
  return { names: conversion.workloads[0]?.authorizationPolicies ?? [], rules: converted?.rules ?? null };
}

const noIdentity = { notPrincipals: [{ Presence: [] }] };

describe("istiod's convertPeerAuthentication and effectivePeerAuthenticationKeys", () => {
  const cases: readonly [string, readonly string[], readonly string[], unknown][] = [
    ["nothing", [], [], null],
    ["PERMISSIVE", [mesh("PERMISSIVE")], [], null],
    ["DISABLE is PERMISSIVE", [mesh("DISABLE")], [], null],
    ["STRICT for the mesh", [mesh("STRICT")], [strict], null],
    ["STRICT for the namespace", [namespace("STRICT")], [strict], null],
    ["STRICT for the workload", [workload("STRICT")], [strict], null],
    ["the namespace before the mesh", [mesh("STRICT"), namespace("PERMISSIVE")], [], null],
    [
      "the workload before the namespace",
      [mesh("STRICT"), namespace("STRICT"), workload("DISABLE")],
      [],
      null,
    ],
    ["UNSET inherits", [mesh("STRICT"), namespace("UNSET"), workload("UNSET")], [strict], null],
    [
      "STRICT but for ports",
      [workload("STRICT", "80: {mode: PERMISSIVE}, 81: {mode: DISABLE}, 82: {mode: STRICT}")],
      [convertedPolicy],
      [[[noIdentity], [{ notDestinationPorts: [80] }], [{ notDestinationPorts: [81] }]]],
    ],
    ["STRICT and strict ports is STRICT", [workload("STRICT", "82: {mode: STRICT}")], [strict], null],
    [
      "PERMISSIVE but for ports",
      [workload("PERMISSIVE", "82: {mode: STRICT}, 81: {mode: STRICT}, 80: {mode: PERMISSIVE}")],
      [convertedPolicy],
      [[[{ ...noIdentity, destinationPorts: [81] }]], [[{ ...noIdentity, destinationPorts: [82] }]]],
    ],
    [
      "PERMISSIVE and permissive ports is PERMISSIVE",
      [workload("PERMISSIVE", "80: {mode: DISABLE}")],
      [],
      null,
    ],
    [
      "an inherited STRICT but for ports",
      [mesh("STRICT"), workload("UNSET", "80: {mode: PERMISSIVE}")],
      [convertedPolicy],
      [[[noIdentity], [{ notDestinationPorts: [80] }]]],
    ],
    [
      "istiod does not take DISABLE for an exception from an inherited STRICT",
      [mesh("STRICT"), workload("UNSET", "80: {mode: DISABLE}")],
      [strict],
      null,
    ],
    [
      "an inherited PERMISSIVE but for ports",
      [namespace("PERMISSIVE"), workload("UNSET", "80: {mode: STRICT}")],
      [convertedPolicy],
      [[[{ ...noIdentity, destinationPorts: [80] }]]],
    ],
    ["an UNSET port inherits", [mesh("STRICT"), workload("UNSET", "80: {mode: UNSET}")], [strict], null],
    [
      "another workload's",
      [
        document(
          "PeerAuthentication",
          "shop/x",
          "{selector: {matchLabels: {app: cart}}, mtls: {mode: STRICT}}",
        ),
      ],
      [],
      null,
    ],
    ["another namespace's", [document("PeerAuthentication", "other/n", "{mtls: {mode: STRICT}}")], [], null],
    [
      "a selector in the root namespace selects no workload",
      [
        document(
          "PeerAuthentication",
          "istio-system/x",
          "{selector: {matchLabels: {app: db}}, mtls: {mode: STRICT}}",
        ),
      ],
      [],
      null,
    ],
  ];
  test.each(cases)("%s", (_name, documents, names, rules) => {
    expect(effect(...documents)).toEqual({ names, rules });
  });

  test("the oldest of a level counts; without times, the first", () => {
    const at = (name: string, month: number, mode: string) =>
      document(
        "PeerAuthentication",
        `shop/${name}`,
        `creationTimestamp: "2026-0${month}-01T00:00:00Z" | {mtls: {mode: ${mode}}}`,
      );
    expect(effect(at("a", 2, "PERMISSIVE"), at("b", 1, "STRICT")).names).toEqual([strict]);
    expect(effect(at("a", 1, "PERMISSIVE"), at("b", 2, "STRICT")).names).toEqual([]);
    expect(
      effect(namespace("STRICT"), document("PeerAuthentication", "shop/b", "{mtls: {mode: PERMISSIVE}}"))
        .names,
    ).toEqual([strict]);
  });

  test("the strict policy is there whenever any document is, and points at the one that says STRICT", () => {
    const { policies } = convert([namespace("PERMISSIVE"), mesh("STRICT")]);
    expect(
      policies.map((policy) => [policy.name, policy.action, policy.scope, policy.location?.line]),
    ).toEqual([["istio_converted_static_strict", "DENY", "WORKLOAD_SELECTOR", 6]]);
    expect(convert([namespace("PERMISSIVE")]).policies).toHaveLength(1);
    expect(convert([db]).policies).toEqual([]);
  });

  test("one without effect is told so", () => {
    expect(
      warningsOf(
        convert([document("PeerAuthentication", "istio-system/x", "{selector: {matchLabels: {app: db}}}")]),
      ),
    ).toEqual([
      "PeerAuthentication istio-system/x: a PeerAuthentication of the root namespace applies to the mesh and takes no selector; it has no effect",
    ]);
  });
});
