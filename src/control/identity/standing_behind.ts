/**
 * Who stands behind a workload that shows an SVID. What a node was given for its workloads is the node's as long as it goes on being
 * renewed: otherwise whoever has taken a node over would renew the SVIDs by themselves, and keep them when the node is revoked.
 */
import { isNodeName, nodeNamespace, SpiffeId } from "../../mesh/identity.ts";
import type { Caller, NodeCaller } from "./caller.ts";
import type { IdentityState } from "./identity_state.ts";

/** @returns the caller itself; the node that has asked for the SVID it shows; or why that node speaks for nobody any more, for the audit log. */
export function standingBehind(
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
  if (registration === null) return `${about}, which is not registered any more`;
  if (registration.revokedAtMs !== null || revocations.isRevokedNode(node))
    return `${about}, which is revoked`;
  const id = new SpiffeId(caller.id.trustDomain, nodeNamespace, node);
  return { kind: "node", id, node, registration, serialNumber, credential: "valid" } satisfies NodeCaller;
}
