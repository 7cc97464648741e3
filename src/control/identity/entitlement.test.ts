import { describe, expect, test } from "bun:test";
import { SpiffeId } from "../../mesh/identity.ts";
import type { TokenBinding } from "../records/tokens.ts";
import type { Caller, NodeCaller } from "./caller.ts";
import { issuedThrough, type MeshFacts, type PlacedWorkload, refuseEntitlement } from "./entitlement.ts";
import { StoreMeshFacts, type WorkloadSource } from "./mesh_facts.ts";

const td = "cluster.local";
const id = (text: string): SpiffeId => {
  const [namespace = "", name = ""] = text.split("/");
  return new SpiffeId(td, namespace, name);
};

const placed: Readonly<Record<string, PlacedWorkload>> = {
  "shop/cart": { identity: id("shop/cart"), node: "edge-1" },
  "shop/db": { identity: id("shop/db"), node: "edge-2" },
  "shop/web": { identity: id("shop/web"), node: "" },
  // A document that claims what is reserved, should one ever get so far.
  "evil/node": { identity: id("fairlead-nodes/edge-2"), node: "edge-1" },
  "evil/control": { identity: id("istio-system/fairlead-control"), node: "edge-1" },
};

const mesh: MeshFacts = {
  workload: (key) => placed[key] ?? null,
  workloadsOn: (node) => Object.values(placed).filter((one) => one.node === node),
  groupIdentity: (key) => (key === "shop/vms" ? id("shop/worker") : null),
};

function node(
  name: string,
  binding: TokenBinding,
  credential: NodeCaller["credential"] = "valid",
): NodeCaller {
  const registration = {
    node: name,
    binding,
    addresses: [],
    network: "",
    labels: {},
    joinedAtMs: 0,
    lastSeenMs: 0,
    tokenId: null,
    revokedAtMs: null,
    revokeReason: null,
  };
  return {
    kind: "node",
    id: id(`fairlead-nodes/${name}`),
    node: name,
    registration,
    serialNumber: "01",
    credential,
  };
}

const byNode = node("edge-1", { kind: "node", node: "edge-1" });
const byWorkload = node("w-1", { kind: "workload", workload: "shop/web" });
const byGroup = node("edge-2", { kind: "group", group: "shop/vms" });
const cart: Caller = { kind: "workload", id: id("shop/cart"), via: "token" };
const operator: Caller = { kind: "operator", name: "i#ada", issuer: "i", subject: "ada", claims: {} };

describe("who may ask for whom", () => {
  const rows: readonly (readonly [who: string, caller: Caller, wanted: string, may: boolean])[] = [
    ["a workload", cart, "shop/cart", true],
    ["a workload", cart, "shop/db", false],
    ["a workload by its SVID", { ...cart, via: "certificate" }, "shop/cart", true],
    ["a workload by its SVID", { ...cart, via: "certificate" }, "other/cart", false],
    ["a node", byNode, "shop/cart", true],
    ["a node", byNode, "shop/db", false],
    ["a node, of a workload on no node", byNode, "shop/web", false],
    ["a node, of a group", byNode, "shop/worker", false],
    ["a node, of itself", byNode, "fairlead-nodes/edge-1", false],
    ["a node, of another", byNode, "fairlead-nodes/edge-2", false],
    ["a node, of the control plane", byNode, "istio-system/fairlead-control", false],
    ["an expired node", { ...byNode, credential: "expired" }, "shop/cart", false],
    ["a workload's host", byWorkload, "shop/web", true],
    ["a workload's host", byWorkload, "shop/cart", false],
    [
      "a workload's host on another node",
      node("edge-9", { kind: "workload", workload: "shop/cart" }),
      "shop/cart",
      false,
    ],
    [
      "a workload's host on its node",
      node("edge-1", { kind: "workload", workload: "shop/cart" }),
      "shop/cart",
      true,
    ],
    [
      "the host of a workload that is gone",
      node("w", { kind: "workload", workload: "shop/gone" }),
      "shop/gone",
      false,
    ],
    ["a group's host", byGroup, "shop/worker", true],
    ["a group's host that is called like a node", byGroup, "shop/db", false],
    [
      "the host of a group that is gone",
      node("g", { kind: "group", group: "shop/gone" }),
      "shop/worker",
      false,
    ],
    ["an operator", operator, "shop/cart", false],
    [
      "the first administrator",
      { kind: "workload", id: id("istio-system/fairlead-admin"), via: "certificate" },
      "istio-system/fairlead-admin",
      false,
    ],
  ];
  for (const [who, caller, wanted, may] of rows)
    test(`${who} ${may ? "may" : "may not"} have ${wanted}`, () => {
      const question = {
        caller,
        wanted: id(wanted),
        trustDomain: td,
        controlId: id("istio-system/fairlead-control"),
        reserved: [id("istio-system/fairlead-admin")],
        mesh,
      };
      expect(refuseEntitlement(question) === null).toBe(may);
    });

  test("no caller may have an identity of another trust domain", () => {
    const wanted = new SpiffeId("other.local", "shop", "cart");
    const caller: Caller = { kind: "workload", id: wanted, via: "token" };
    const question = {
      caller,
      wanted,
      trustDomain: td,
      controlId: id("istio-system/fairlead-control"),
      mesh,
    };
    expect(refuseEntitlement(question)).toContain("trust domain");
  });
});

describe("through whom a workload speaks", () => {
  /** Everything was asked for by edge-9, which may be registered or revoked. */
  const state = (registration: unknown, isRevoked = false) =>
    ({
      certificates: { bySerial: () => ({ requestedBy: "edge-9" }) },
      registrations: { byNode: (name: string) => (name === "edge-9" ? registration : null) },
      revocations: { isRevokedNode: () => isRevoked },
    }) as unknown as Parameters<typeof issuedThrough>[1];
  const shown: Caller = { ...cart, via: "certificate", serialNumber: "0c" };

  test("the node that asked for what it shows, as long as that one is registered and not revoked", () => {
    const { registration } = byNode;
    expect(issuedThrough(shown, state(registration))).toEqual({
      kind: "node",
      id: id("fairlead-nodes/edge-9"),
      node: "edge-9",
      registration,
      serialNumber: "0c",
      credential: "valid",
    });
    const about = "serial 0c of spiffe://cluster.local/ns/shop/sa/cart was issued to node edge-9";
    expect(issuedThrough(shown, state(null))).toBe(`${about}, which is no longer registered`);
    expect(issuedThrough(shown, state(registration, true))).toBe(`${about}, which is revoked`);
    expect(issuedThrough(shown, state({ ...registration, revokedAtMs: 7 }))).toBe(
      `${about}, which is revoked`,
    );
  });

  test("itself, for whoever shows no SVID of a workload", () => {
    for (const caller of [cart, byNode, byGroup, operator])
      expect(issuedThrough(caller, state(null))).toBe(caller);
  });
});

describe("facts out of the store", () => {
  const workload = (key: string, account: string, onNode: string) => {
    const [namespace = "", name = ""] = key.split("/");
    return { namespace, name, node: onNode, identity: new SpiffeId(td, namespace, account) };
  };

  test("follow its version, and say nothing where two documents disagree", () => {
    const rows = [workload("shop/cart", "cart", "edge-1"), workload("shop/db", "db", "")];
    const store = { version: 1, workloads: () => rows } as unknown as WorkloadSource & { version: number };
    const facts = new StoreMeshFacts(store, () => null);
    expect(facts.workload("shop/cart")?.identity.uri).toBe("spiffe://cluster.local/ns/shop/sa/cart");
    expect(facts.workloadsOn("edge-1").length).toBe(1);
    expect(facts.workloadsOn("")).toEqual([]);
    expect(facts.workload("shop/none")).toBeNull();
    rows.push(workload("shop/cart", "admin", "edge-1"), workload("shop/db", "db", ""));
    expect(facts.workloadsOn("edge-1").length).toBe(1);
    store.version = 2;
    expect(facts.workload("shop/cart")).toBeNull();
    expect(facts.workload("shop/db")).not.toBeNull();
    expect(facts.workloadsOn("edge-1").length).toBe(2);
  });
});
