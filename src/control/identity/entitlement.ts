/**
 * Who may ask for whom: the whole rule, in one function without state. A workload asks for itself; a node for the workloads that run
 * there, by its registration and by the documents; no caller for a node or for the control plane. And through whom a workload that
 * asks has its SVID.
 */
import { isNodeName, nodeNamespace, SpiffeId } from "../../mesh/identity.ts";
import type { Caller, NodeCaller } from "./caller.ts";
import type { IdentityState } from "./identity_state.ts";

/** A workload as far as this question goes. */
export interface PlacedWorkload {
  readonly identity: SpiffeId;
  /** The node its document names; "" when it names none. */
  readonly node: string;
}

/** What the mesh's documents say, now. */
export interface MeshFacts {
  /** By `namespace/name`. */
  workload(key: string): PlacedWorkload | null;
  /** Those whose document names this node; for "" none. */
  workloadsOn(node: string): readonly PlacedWorkload[];
  /** Who the members of a WorkloadGroup are, by `namespace/name`. */
  groupIdentity(key: string): SpiffeId | null;
}

export interface EntitlementQuestion {
  readonly caller: Caller;
  readonly wanted: SpiffeId;
  readonly trustDomain: string;
  /** The control plane's own identity. */
  readonly controlId: SpiffeId;
  /** Others that it issues by itself alone: the first administrator's. */
  readonly reserved?: readonly SpiffeId[];
  readonly mesh: MeshFacts;
}

/** @returns null when the caller may have it, else why not, for the audit log. */
export function refuseEntitlement(question: EntitlementQuestion): string | null {
  const { caller, wanted, trustDomain, controlId, reserved = [], mesh } = question;
  if (wanted.trustDomain !== trustDomain) return `${wanted} is not of trust domain ${trustDomain}`;
  if (wanted.namespace === nodeNamespace)
    return "an identity of a node cannot be requested; a node renews its own certificate";
  if (wanted.equals(controlId)) return "the control plane's identity cannot be requested";
  if (reserved.some((one) => one.equals(wanted)))
    return `${wanted} cannot be requested; the control plane issues it by itself`;
  switch (caller.kind) {
    case "workload":
      return caller.id.equals(wanted) ? null : `${caller.id} may only ask for its own identity`;
    case "node":
      if (caller.credential === "expired")
        return "the node's certificate has expired; it may only renew that certificate";
      return refuseNode(caller, wanted, mesh);
    case "operator":
      return "an operator has no workload identity";
  }
}

function refuseNode({ node, registration }: NodeCaller, wanted: SpiffeId, mesh: MeshFacts): string | null {
  const { binding } = registration;
  switch (binding.kind) {
    case "node":
      return mesh.workloadsOn(node).some((one) => one.identity.equals(wanted))
        ? null
        : `no document places ${wanted} on node ${node}`;
    case "workload": {
      const workload = mesh.workload(binding.workload);
      if (workload === null) return `there is no workload ${binding.workload}, which node ${node} joined for`;
      if (workload.node !== "" && workload.node !== node)
        return `the document of ${binding.workload} places it on node ${workload.node}, not on ${node}`;
      return workload.identity.equals(wanted)
        ? null
        : `node ${node} joined for ${binding.workload}, which is ${workload.identity}`;
    }
    case "group": {
      const member = mesh.groupIdentity(binding.group);
      if (member === null) return `there is no group ${binding.group}, which node ${node} joined for`;
      return member.equals(wanted)
        ? null
        : `node ${node} joined for group ${binding.group}, whose members are ${member}`;
    }
  }
}

/**
 * The node through which a workload got the SVID that it shows. What a node was given for its workloads is the node's as long as it
 * goes on being renewed: otherwise whoever has taken a node over would renew the SVIDs by themselves, and keep them when the node is
 * revoked.
 *
 * @returns the caller itself; the node that has asked for the SVID it shows; or why that node speaks for it no more, for the audit log.
 */
export function issuedThrough(
  caller: Caller,
  {
    certificates,
    registrations,
    revocations,
  }: Pick<IdentityState, "certificates" | "registrations" | "revocations">,
): Caller | string {
  if (caller.kind !== "workload" || caller.serialNumber === undefined) return caller;
  const { serialNumber } = caller;
  const node = certificates.bySerial(serialNumber)?.requestedBy;
  // Issued to itself by a token, or by a CA before us.
  if (node === undefined || !isNodeName(node)) return caller;
  const registration = registrations.byNode(node);
  const about = `serial ${serialNumber} of ${caller.id} was issued to node ${node}`;
  if (registration === null) return `${about}, which is no longer registered`;
  if (registration.revokedAtMs !== null || revocations.isRevokedNode(node))
    return `${about}, which is revoked`;
  const id = new SpiffeId(caller.id.trustDomain, nodeNamespace, node);
  return { kind: "node", id, node, registration, serialNumber, credential: "valid" } satisfies NodeCaller;
}
