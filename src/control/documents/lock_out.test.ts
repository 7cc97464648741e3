import { describe, expect, test } from "bun:test";
import { runSteps } from "../../base/turns/time_slice.ts";
import { convertDocuments } from "../../mesh/convert/convert_documents.ts";
import { parseDocuments } from "../../mesh/documents/parse.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { context, document } from "../../mesh/testing/convert_text.ts";
import { ip } from "../../mesh/testing/fixture.ts";
import { type ControlPlaneFacts, findLockOuts, type LockOut, type MeshView } from "./lock_out.ts";
import { admin, DocumentWorld, facts, told } from "./testing/control_plane.ts";

function view(...texts: readonly string[]): MeshView {
  const { documents, errors } = parseDocuments([{ path: "f", text: texts.join("---\n") }]);
  expect(errors).toEqual([]);
  return { documents, state: convertDocuments(documents, context) };
}

const nothing = view();

function found(
  after: MeshView,
  known: Partial<ControlPlaneFacts> = {},
  before: MeshView = nothing,
): readonly LockOut[] {
  return runSteps(findLockOuts(before, after, { ...facts, ...known }));
}

const self = document(
  "WorkloadEntry",
  "infra/control",
  "| {address: 10.9.9.9, serviceAccount: control, labels: {app: control}}",
);

describe("what would lock the control plane out", () => {
  const cases: readonly (readonly [
    name: string,
    kind: LockOut["kind"],
    words: string,
    texts: readonly string[],
  ])[] = [
    [
      "a workload in the nodes' namespace",
      "reserved",
      "fairlead-nodes",
      [document("WorkloadEntry", "fairlead-nodes/edge-1", "| {address: 10.0.0.1, serviceAccount: edge-1}")],
    ],
    [
      "policy for nodes",
      "reserved",
      "fairlead-nodes",
      [document("AuthorizationPolicy", "fairlead-nodes/deny", "| {}")],
    ],
    [
      "the nodes' namespace itself",
      "reserved",
      "fairlead-nodes",
      [document("Namespace", "fairlead-nodes", "")],
    ],
    [
      "the control plane's identity, as a workload",
      "reserved",
      "fairlead-control",
      [
        document(
          "WorkloadEntry",
          "istio-system/x",
          "| {address: 10.0.0.1, serviceAccount: fairlead-control}",
        ),
      ],
    ],
    [
      "the control plane's identity, as an endpoint",
      "reserved",
      "fairlead-control",
      [
        document(
          "ServiceEntry",
          "istio-system/x",
          "| {hosts: [x.local], resolution: STATIC, ports: [{number: 80, name: a, protocol: TCP}], endpoints: [{address: 10.0.0.1, serviceAccount: fairlead-control}]}",
        ),
      ],
    ],
    [
      "denial of all at its address",
      "unreachable",
      "infra/deny",
      [self, document("AuthorizationPolicy", "infra/deny", "| {selector: {matchLabels: {app: control}}}")],
    ],
    [
      "denial of its port at its address",
      "unreachable",
      "infra/deny",
      [
        self,
        document(
          "AuthorizationPolicy",
          "infra/deny",
          '| {action: DENY, rules: [{to: [{operation: {ports: ["15012"]}}]}]}',
        ),
      ],
    ],
    [
      "STRICT mutual TLS at its address",
      "unreachable",
      "10.0.0.1",
      [self, document("PeerAuthentication", "infra/strict", "| {mtls: {mode: STRICT}}")],
    ],
    [
      "STRICT mutual TLS of the whole mesh",
      "unreachable",
      "15012",
      [self, document("PeerAuthentication", "istio-system/strict", "| {mtls: {mode: STRICT}}")],
    ],
    [
      "permission for others alone",
      "unreachable",
      "infra/allow",
      [
        self,
        document(
          "AuthorizationPolicy",
          "infra/allow",
          "| {rules: [{from: [{source: {namespaces: [infra]}}]}]}",
        ),
      ],
    ],
    [
      "a service with its address",
      "unreachable",
      "shop/s.local takes the address 10.9.9.9",
      [
        document(
          "ServiceEntry",
          "shop/s",
          "| {hosts: [s.local], addresses: [10.9.9.9], resolution: STATIC, ports: [{number: 80, name: a, protocol: TCP}]}",
        ),
      ],
    ],
    [
      "a service with a range that holds its address",
      "unreachable",
      "takes the address",
      [
        document(
          "ServiceEntry",
          "shop/s",
          "| {hosts: [s.local], addresses: [10.9.0.0/16], resolution: NONE, ports: [{number: 80, name: a, protocol: TCP}]}",
        ),
      ],
    ],
    [
      "a service with its name that leads elsewhere",
      "unreachable",
      "takes the name control.example",
      [
        document(
          "ServiceEntry",
          "shop/s",
          "| {hosts: [control.example], resolution: STATIC, ports: [{number: 80, name: a, protocol: TCP}], endpoints: [{address: 10.0.0.7}]}",
        ),
      ],
    ],
    [
      "a service with every name of its domain",
      "unreachable",
      "takes the name control.example",
      [
        document(
          "ServiceEntry",
          "shop/s",
          '| {hosts: ["*.example"], resolution: NONE, ports: [{number: 80, name: a, protocol: TCP}]}',
        ),
      ],
    ],
  ];
  for (const [name, kind, words, texts] of cases) {
    test(name, () => {
      const [first, ...others] = found(view(...texts));
      expect(others).toEqual([]);
      expect(first).toMatchObject({ kind });
      expect(first?.reason).toContain(words);
    });
  }

  test("members of a group that would have the control plane's identity", () => {
    const group = (name: string, serviceAccount: string) =>
      view(document("WorkloadGroup", name, `| {template: {serviceAccount: ${serviceAccount}}}`));
    const reserved = found(group("istio-system/vms", "fairlead-control"));
    expect(reserved.map(({ kind, reason }) => [kind, reason])).toEqual([
      ["reserved", expect.stringContaining("members of WorkloadGroup istio-system/vms would claim")],
    ]);
    expect(found(group("istio-system/vms", "other"))).toEqual([]);
    expect(found(group("shop/vms", "fairlead-control"))).toEqual([]);
  });

  test("a service with its name, however the name was written in the settings", () => {
    const entry = (host: string) =>
      view(
        document(
          "ServiceEntry",
          "shop/s",
          `| {hosts: ["${host}"], resolution: NONE, ports: [{number: 80, name: a, protocol: TCP}]}`,
        ),
      );
    for (const host of ["control.example", "*.example"])
      expect(found(entry(host), { names: ["Control.EXAMPLE"] }).length).toBe(1);
    expect(found(entry("control.examples"), { names: ["Control.EXAMPLE"] })).toEqual([]);
  });

  test("taking away the workload whose identity a role is bound to", () => {
    const operator = document("WorkloadEntry", "ops/laptop", "| {address: 10.0.0.8, serviceAccount: alice}");
    const needed = {
      neededIdentities: [{ identity: new SpiffeId("cluster.local", "ops", "alice"), role: "admin" }],
    };
    expect(found(nothing, needed, view(operator))).toEqual([
      {
        kind: "role",
        reason:
          "no workload would have the identity spiffe://cluster.local/ns/ops/sa/alice any longer, which has the role admin",
        resource: null,
        location: null,
      },
    ]);
    expect(found(view(operator.replace("10.0.0.8", "10.0.0.9")), needed, view(operator))).toEqual([]);
    expect(found(nothing, needed, nothing)).toEqual([]);
  });
});

describe("what would not", () => {
  const cases: readonly (readonly [name: string, texts: readonly string[]])[] = [
    ["a workload beside it, without policy", [self]],
    [
      "policy for other ports",
      [
        self,
        document(
          "AuthorizationPolicy",
          "infra/deny",
          '| {action: DENY, rules: [{to: [{operation: {ports: ["80"]}}]}]}',
        ),
      ],
    ],
    [
      "a dry run of a policy",
      [self, document("AuthorizationPolicy", "infra/deny", "annotations: {istio.io/dry-run: 'true'} | {}")],
    ],
    [
      "STRICT with its port left open",
      [
        self,
        document(
          "PeerAuthentication",
          "infra/strict",
          "| {selector: {matchLabels: {app: control}}, mtls: {mode: STRICT}, portLevelMtls: {15012: {mode: PERMISSIVE}}}",
        ),
      ],
    ],
    [
      "permission for where the nodes are",
      [
        self,
        document(
          "AuthorizationPolicy",
          "infra/allow",
          "| {rules: [{from: [{source: {ipBlocks: [10.0.0.0/8]}}]}]}",
        ),
      ],
    ],
    [
      "denial of everything elsewhere",
      [
        self,
        document("AuthorizationPolicy", "shop/deny", "| {}"),
        document("PeerAuthentication", "shop/strict", "| {mtls: {mode: STRICT}}"),
      ],
    ],
    [
      "STRICT mutual TLS of a mesh that it is not in",
      [document("PeerAuthentication", "istio-system/strict", "| {mtls: {mode: STRICT}}")],
    ],
    [
      "a service that leads to it by its name",
      [
        document(
          "ServiceEntry",
          "infra/s",
          "| {hosts: [control.example], resolution: STATIC, ports: [{number: 15012, name: a, protocol: TCP}], endpoints: [{address: 10.9.9.9}]}",
        ),
      ],
    ],
  ];
  for (const [name, texts] of cases) test(name, () => expect(found(view(...texts))).toEqual([]));

  test("what was so before", () => {
    const denied = view(self, document("PeerAuthentication", "infra/strict", "| {mtls: {mode: STRICT}}"));
    expect(found(denied).length).toBe(1);
    expect(found(denied, {}, denied)).toEqual([]);
  });
});

test("each client is asked for, so that one who is left out is seen", () => {
  const some = view(
    self,
    document(
      "AuthorizationPolicy",
      "infra/allow",
      "| {rules: [{from: [{source: {ipBlocks: [10.0.0.0/24]}}]}]}",
    ),
  );
  expect(found(some)).toEqual([]);
  expect(found(some, { clients: [ip("10.0.0.1"), ip("192.0.2.1")] })[0]?.reason).toContain("192.0.2.1");
  const joined = function* () {
    yield;
    return [ip("10.0.0.2"), ip("192.0.2.2")];
  };
  expect(found(some, { joined })[0]?.reason).toContain("192.0.2.2");
});

test("such a change is refused with the reason, is in the audit log, and goes through when insisted on", async () => {
  const w = new DocumentWorld();
  const { documents, state } = await w.documents();
  const texts = [
    {
      source: "f",
      text: `${self}---\n${document("PeerAuthentication", "infra/strict", "| {mtls: {mode: STRICT}}")}`,
    },
  ];
  const refused = await w.settle(documents.apply(texts, admin));
  expect(told(refused)).toBe("refused: lock_out");
  expect(refused.outcome === "refused" && refused.message).toContain(
    "would not let 10.0.0.1 in on port 15012",
  );
  expect(w.policies()).toEqual([]);
  expect(state.audit.read({ limit: 1 })[0]).toMatchObject({ outcome: "refused", action: "documents.apply" });
  // A caller's own address counts, too.
  const open = "| {rules: [{from: [{source: {ipBlocks: [10.0.0.0/24]}}]}]}";
  const partly = [
    { source: "f", text: `${self}---\n${document("AuthorizationPolicy", "infra/allow", open)}` },
  ];
  const outside = { ...admin, facts: { clients: [ip("192.0.2.1")] } };
  expect(told(await w.settle(documents.apply(partly, outside)))).toBe("refused: lock_out");
  const forced = await w.settle(documents.apply(texts, { ...admin, force: true }));
  expect(forced.outcome === "applied" && forced.plan.lockOuts.length).toBe(1);
  expect(state.audit.read({ limit: 1 })[0]?.detail).toContain("forced");
});

test("what is reserved is not to be had by insisting", async () => {
  const w = new DocumentWorld();
  const { documents } = await w.documents();
  const spec = "| {address: 10.0.0.1, serviceAccount: fairlead-control}";
  const text = document("WorkloadEntry", "istio-system/x", spec);
  const result = await w.settle(documents.apply([{ source: "f", text }], { ...admin, force: true }));
  expect(told(result)).toBe("refused: lock_out");
  expect(documents.version).toBe(0);
});
