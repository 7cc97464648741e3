import { describe, expect, test } from "bun:test";
import {
  type Action,
  actions,
  allowedNamespaces,
  type Grant,
  isAllowed,
  meshScope,
  type Scope,
} from "./roles.ts";

const own: Scope = { kind: "namespace", namespace: "shop" };
const other: Scope = { kind: "namespace", namespace: "bank" };
const grants: Readonly<Record<string, Grant>> = {
  "mesh-admin": { role: "mesh-admin", namespaces: null },
  "namespace-admin of shop": { role: "namespace-admin", namespaces: ["shop"] },
  viewer: { role: "viewer", namespaces: null },
  "viewer of shop": { role: "viewer", namespaces: ["shop"] },
  auditor: { role: "auditor", namespaces: null },
  "auditor of shop": { role: "auditor", namespaces: ["shop"] },
};

/**
 * The whole truth, written out: for each role the scopes in which it may. `m` the mesh, `o` its own namespace, `x` another's.
 * A new action without a row here is a failure.
 */
const table: Readonly<Record<Action, readonly [string, string, string, string, string, string]>> = {
  //                       mesh-admin, ns-admin, viewer, viewer of, auditor, auditor of
  "documents.read": ["mox", "o", "mox", "o", "mox", "o"],
  "documents.write": ["mox", "o", "", "", "", ""],
  "tokens.read": ["mox", "o", "mox", "o", "mox", "o"],
  "tokens.create": ["mox", "o", "", "", "", ""],
  "tokens.revoke": ["mox", "o", "", "", "", ""],
  "nodes.read": ["mox", "o", "mox", "o", "mox", "o"],
  "nodes.remove": ["mox", "o", "", "", "", ""],
  "certificates.read": ["mox", "o", "mox", "o", "mox", "o"],
  "revocations.read": ["mox", "o", "mox", "o", "mox", "o"],
  "revocations.write": ["mox", "o", "", "", "", ""],
  "audit.read": ["mox", "o", "", "", "mox", "o"],
  "administrators.read": ["mox", "", "", "", "mox", "o"],
  "administrators.write": ["mox", "", "", "", "", ""],
  "authority.rotate": ["mox", "", "", "", "", ""],
  backup: ["mox", "", "", "", "", ""],
  "status.read": ["mox", "mox", "mox", "mox", "mox", "mox"],
  "authority.read": ["mox", "mox", "mox", "mox", "mox", "mox"],
};

describe("roles", () => {
  test("every action has its row", () => {
    expect(Object.keys(table).sort()).toEqual([...actions].sort());
  });

  for (const action of actions)
    for (const [index, [name, grant]] of Object.entries(grants).entries())
      test(`${name}: ${action}`, () => {
        const may = [
          isAllowed([grant], action, meshScope) ? "m" : "",
          isAllowed([grant], action, own) ? "o" : "",
          isAllowed([grant], action, other) ? "x" : "",
        ].join("");
        expect(may).toBe(table[action][index] ?? "missing");
      });

  test("a caller without a role may do nothing", () => {
    for (const action of actions)
      for (const scope of [meshScope, own]) expect(isAllowed([], action, scope)).toBe(false);
  });

  test("several roles add up, each in its own namespaces", () => {
    const both: readonly Grant[] = [
      { role: "namespace-admin", namespaces: ["shop"] },
      { role: "viewer", namespaces: ["bank"] },
    ];
    expect(isAllowed(both, "documents.write", own)).toBe(true);
    expect(isAllowed(both, "documents.write", other)).toBe(false);
    expect(isAllowed(both, "documents.read", other)).toBe(true);
    expect(allowedNamespaces(both, "documents.read")).toEqual(new Set(["shop", "bank"]));
    expect(allowedNamespaces(both, "documents.write")).toEqual(new Set(["shop"]));
    expect(allowedNamespaces([...both, { role: "viewer", namespaces: null }], "documents.read")).toBe("all");
    expect(allowedNamespaces(both, "backup")).toEqual(new Set());
  });
});
