import { describe, expect, test } from "bun:test";
import { SpiffeId } from "../../mesh/identity.ts";
import type { MeshFacts } from "../identity/entitlement.ts";
import type { Registration } from "../records/registrations.ts";
import type { TokenBinding } from "../records/tokens.ts";
import { chooseNodeName, refuseRevokedName, refuseTakenName } from "./node_name.ts";

const cart = new SpiffeId("td", "shop", "cart");
const web = new SpiffeId("td", "shop", "web");
const node: TokenBinding = { kind: "node", node: "edge-1" };
const workload: TokenBinding = { kind: "workload", workload: "shop/cart.v1" };
const group: TokenBinding = { kind: "group", group: "shop/vms" };

/** A mesh in which `busy` has web's workload, and `own` has cart's. */
const mesh = {
  workload: (name: string) => (name === "shop/cart.v1" ? { identity: cart } : null),
  groupIdentity: (name: string) => (name === "shop/vms" ? cart : null),
  workloadsOn: (name: string) =>
    name === "busy" ? [{ identity: web }] : name === "own" ? [{ identity: cart }] : [],
} as unknown as MeshFacts;

const choose = (binding: TokenBinding, requested: string | null) => {
  const chosen = chooseNodeName({ id: "0123456789abcdef", binding }, requested, mesh);
  return typeof chosen === "string" ? chosen : `${chosen.code}: ${chosen.message}`;
};

describe("the name of a host", () => {
  test("is what its token says, if it says one", () => {
    expect([choose(node, null), choose(node, "edge-1")]).toEqual(["edge-1", "edge-1"]);
    expect(choose(node, "edge-2")).toBe("name_not_allowed: the token is for node edge-1, not for edge-2");
  });

  test("is its own choice, but none that others' workloads are on", () => {
    for (const binding of [workload, group]) {
      expect([choose(binding, "free"), choose(binding, "own")]).toEqual(["free", "own"]);
      expect(choose(binding, "busy")).toBe(
        "name_not_allowed: the name busy belongs to a host with other workloads",
      );
    }
    // Of whom the mesh knows nothing, no host is its own.
    for (const unknown of [
      { kind: "workload", workload: "shop/x" },
      { kind: "group", group: "shop/x" },
    ] as const) {
      expect(choose(unknown, "own")).toStartWith("name_not_allowed");
      expect(choose(unknown, "free")).toBe("free");
    }
  });

  test("is made of the workload, always the same, or of the group and the token", () => {
    expect(choose(workload, null)).toMatch(/^cart-v1-[0-9a-f]{8}$/);
    expect(choose(workload, null)).toBe(choose(workload, null));
    expect(choose(group, null)).toBe("vms-01234567");
    const [one, other] = ["shop/cart", "zoo/cart"].map((name) =>
      choose({ kind: "workload", workload: name }, null),
    );
    expect(one).not.toBe(other);
    expect(choose({ kind: "group", group: `shop/${"g".repeat(80)}` }, null)).toBe(
      `${"g".repeat(54)}-01234567`,
    );
    expect(choose({ kind: "group", group: "shop/-" }, null)).toBe("node-01234567");
  });
});

describe("a name that is taken", () => {
  const registered = (binding: TokenBinding, revokedAtMs: number | null = null): Registration =>
    ({ binding, revokedAtMs }) as Registration;
  const refused = (existing: Registration | null, binding: TokenBinding, replace: boolean) =>
    refuseTakenName("edge-1", existing, { binding, replace })?.message ?? null;

  test("is given to another host by a token that says so alone", () => {
    expect(refused(null, node, false)).toBeNull();
    expect(refused(registered(node), node, false)).toContain("edge-1 has joined already");
    expect(refused(registered(node, 7), node, false)).toContain("edge-1 was revoked");
    expect(refused(registered(node), node, true)).toBeNull();
  });

  test("and by one for the same workload or group, unless it is the mesh's own for a node", () => {
    expect(refused(registered(workload), workload, true)).toBeNull();
    expect(refused(registered(group), group, true)).toBeNull();
    expect(refused(registered(workload), node, true)).toBeNull();
    for (const existing of [group, node, { kind: "workload", workload: "shop/other" }] as const)
      expect(refused(registered(existing), workload, true)).toContain(
        "joined for another node, workload or group",
      );
    expect(refused(registered({ kind: "group", group: "shop/cart.v1" }), workload, true)).not.toBeNull();
  });
});

describe("a name that was revoked", () => {
  const refused = (right: string | null, byNamespace: string) =>
    refuseRevokedName("edge-1", right, { byNamespace })?.message ?? null;

  test("comes back by a token of whoever has revoked it, or of the mesh's administrators", () => {
    for (const [right, by] of [
      [null, "shop"],
      [null, ""],
      ["", ""],
      ["shop", ""],
      ["shop", "shop"],
    ] as const)
      expect([right, by, refused(right, by)]).toEqual([right, by, null]);
    expect(refused("", "shop")).toContain("was revoked by an administrator of the mesh");
    expect(refused("zoo", "shop")).toContain("was revoked by an administrator of namespace zoo");
  });
});
