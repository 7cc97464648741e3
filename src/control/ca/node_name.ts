/** What a joining host will be called, and whether the name is free: pure, so that every case is a row of a test. */
import { sha256 } from "../../base/sha256.ts";
import { isNodeName } from "../../mesh/identity.ts";
import type { MeshFacts } from "../identity/entitlement.ts";
import type { Registration } from "../records/registrations.ts";
import type { StoredToken, TokenBinding } from "../records/tokens.ts";

export interface NameRefusal {
  readonly code: "name_not_allowed" | "name_taken" | "address_not_allowed";
  /** The token was good, so the caller may know. */
  readonly message: string;
}

/**
 * A token for a node says the name. Others let the host choose, but never a name that documents place foreign workloads on;
 * without a choice a workload's host is always called the same, so that a second one is noticed, and each member of a group
 * by its token.
 *
 * @param requested null when the host leaves it to us.
 */
export function chooseNodeName(
  token: Pick<StoredToken, "id" | "binding">,
  requested: string | null,
  mesh: MeshFacts,
): string | NameRefusal {
  const { binding } = token;
  if (binding.kind === "node") {
    if (requested === null || requested === binding.node) return binding.node;
    return refuse("name_not_allowed", `the token is for node ${binding.node}, not for ${requested}`);
  }
  const node = requested ?? derivedName(binding, token.id);
  const own =
    binding.kind === "workload"
      ? mesh.workload(binding.workload)?.identity
      : mesh.groupIdentity(binding.group);
  const isForeign = mesh
    .workloadsOn(node)
    .some(({ identity }) => own === null || own === undefined || !identity.equals(own));
  return isForeign
    ? refuse("name_not_allowed", `the name ${node} belongs to a host with other workloads`)
    : node;
}

/** Two hosts never share a name: the first keeps it until it is removed, or a token says that it is to be replaced. */
export function refuseTakenName(
  node: string,
  existing: Registration | null,
  token: Pick<StoredToken, "binding" | "replace">,
): NameRefusal | null {
  if (existing === null) return null;
  if (!token.replace) {
    const how = existing.revokedAtMs === null ? "has joined already" : "was revoked";
    return refuse(
      "name_taken",
      `node ${node} ${how}; only a token made with --replace lets another host have its name`,
    );
  }
  // Whoever may start a member of one group does not throw another's host out.
  if (token.binding.kind === "node" || isSame(token.binding, existing.binding)) return null;
  return refuse(
    "name_taken",
    `node ${node} joined for another node, workload or group than this token is for`,
  );
}

/** What the mesh's administrators have revoked no tenant's token brings back. @param right null when it is not revoked. */
export function refuseRevokedName(
  node: string,
  right: string | null,
  { byNamespace }: Pick<StoredToken, "byNamespace">,
): NameRefusal | null {
  if (right === null || byNamespace === "" || byNamespace === right) return null;
  const who = right === "" ? "an administrator of the mesh" : `an administrator of namespace ${right}`;
  return refuse(
    "name_taken",
    `node ${node} was revoked by ${who}; only a token that they made lets another host have its name`,
  );
}

function isSame(left: TokenBinding, right: TokenBinding): boolean {
  return JSON.stringify(keyOf(left)) === JSON.stringify(keyOf(right));
}

function keyOf(binding: TokenBinding): readonly [kind: string, name: string] {
  switch (binding.kind) {
    case "node":
      return ["node", binding.node];
    case "workload":
      return ["workload", binding.workload];
    case "group":
      return ["group", binding.group];
  }
}

/** `cart-1a2b3c4d`: what it is for, and what keeps names of two namespaces, or two members, apart. */
function derivedName(binding: Exclude<TokenBinding, { kind: "node" }>, tokenId: string): string {
  const key = binding.kind === "workload" ? binding.workload : binding.group;
  const distinction = binding.kind === "workload" ? shortHash(key) : tokenId.slice(0, 8);
  const name = key
    .slice(key.indexOf("/") + 1)
    .replaceAll(".", "-")
    .slice(0, 54);
  const node = `${name}-${distinction}`;
  return isNodeName(node) ? node : `node-${distinction}`;
}

function shortHash(text: string): string {
  const digest = sha256(new TextEncoder().encode(text)).subarray(0, 4);
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function refuse(code: NameRefusal["code"], message: string): NameRefusal {
  return { code, message };
}
