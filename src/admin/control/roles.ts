/** Who may do what: roles, where they hold, and the one function that decides. */

/**
 * `mesh-admin`: everything. `namespace-admin`: documents, tokens, nodes, certificates, revocations and audit of its namespaces.
 * `viewer`: reads, but not the audit log. `auditor`: reads, the audit log too.
 */
export const roles = ["mesh-admin", "namespace-admin", "viewer", "auditor"] as const;
export type Role = (typeof roles)[number];

export interface Grant {
  readonly role: Role;
  /** Null: the whole mesh. A `namespace-admin` always has some, a `mesh-admin` never. */
  readonly namespaces: readonly string[] | null;
}

export const actions = [
  "documents.read",
  "documents.write",
  "tokens.read",
  "tokens.create",
  "tokens.revoke",
  "nodes.read",
  "nodes.remove",
  "certificates.read",
  "revocations.read",
  "revocations.write",
  "audit.read",
  "administrators.read",
  "administrators.write",
  "authority.rotate",
  "backup",
  // Nothing of any tenant's is in these.
  "status.read",
  "authority.read",
] as const;
export type Action = (typeof actions)[number];

/** Whose thing it is: one namespace's, or the mesh's: the root namespace, a Namespace, a node of several tenants. */
export type Scope = { readonly kind: "mesh" } | { readonly kind: "namespace"; readonly namespace: string };

export const meshScope: Scope = { kind: "mesh" };

const tenantReads: ReadonlySet<Action> = new Set([
  "documents.read",
  "tokens.read",
  "nodes.read",
  "certificates.read",
  "revocations.read",
]);
const tenantWrites: ReadonlySet<Action> = new Set([
  "documents.write",
  "tokens.create",
  "tokens.revoke",
  "revocations.write",
  "nodes.remove",
]);
const withoutRole: ReadonlySet<Action> = new Set(["status.read", "authority.read"]);

export function isAllowed(grants: readonly Grant[], action: Action, scope: Scope): boolean {
  return grants.some((grant) => allows(grant, action, scope));
}

function allows({ role, namespaces }: Grant, action: Action, scope: Scope): boolean {
  if (withoutRole.has(action)) return true;
  if (!may(role, action)) return false;
  return namespaces === null || (scope.kind === "namespace" && namespaces.includes(scope.namespace));
}

function may(role: Role, action: Action): boolean {
  switch (role) {
    case "mesh-admin":
      return true;
    case "namespace-admin":
      return tenantReads.has(action) || tenantWrites.has(action) || action === "audit.read";
    case "viewer":
      return tenantReads.has(action);
    case "auditor":
      return tenantReads.has(action) || action === "audit.read" || action === "administrators.read";
  }
}

/** The namespaces whose things the action may be done to; `all` includes what is the mesh's. */
export function allowedNamespaces(grants: readonly Grant[], action: Action): "all" | ReadonlySet<string> {
  const namespaces = new Set<string>();
  for (const grant of grants) {
    if (!may(grant.role, action)) continue;
    if (grant.namespaces === null) return "all";
    for (const namespace of grant.namespaces) namespaces.add(namespace);
  }
  return namespaces;
}
