/**
 * Changes after which the control plane could not be reached by those who would have to undo them. Pure: two meshes and what is
 * known of the control plane in, reasons out. What was so before is not held against a change.
 */
import type { IpAddress } from "../../base/ip.ts";
import { prefixContains } from "../../base/prefix.ts";
import type { MeshDocument } from "../../mesh/documents/document.ts";
import { nodeNamespace, SpiffeId } from "../../mesh/identity.ts";
import type { Location } from "../../mesh/location.ts";
import { type Service, serviceKey } from "../../mesh/service.ts";
import type { MeshState } from "../../mesh/store/change.ts";
import type { Workload } from "../../mesh/workload.ts";

export interface LockOut {
  readonly reason: string;
  /** The document or the part of the mesh that does it; null when it is one that is missing. */
  readonly resource: string | null;
  readonly location: Location | null;
  /** `reserved`: a claim on the control plane's own names, which `force` does not go past. */
  readonly kind: "reserved" | "unreachable" | "role";
}

/** Plaintext, as a node or a person comes to the control plane: TLS within it is nothing that policy sees. */
export interface ControlConnection {
  readonly source: IpAddress;
  readonly destination: IpAddress;
  readonly port: number;
}

export interface ControlPlaneFacts {
  /** Where it is reached. */
  readonly addresses: readonly IpAddress[];
  readonly port: number;
  /** The DNS names it is reached by. */
  readonly names: readonly string[];
  /** Its own, of which it holds a certificate. */
  readonly identity: SpiffeId;
  /** From where nodes and people come: addresses of nodes that have joined, and of whoever asks now. */
  readonly clients: readonly IpAddress[];
  /** Identities that roles are bound to, the one of whoever asks now among them, and for what. */
  readonly neededIdentities: readonly { readonly identity: SpiffeId; readonly role: string }[];
  /** What policy says; `policy/` is handed in. @returns null when it is permitted, otherwise who denies it. */
  readonly denies: (state: MeshState, workload: Workload, connection: ControlConnection) => string | null;
}

export interface MeshView {
  readonly documents: readonly MeshDocument[];
  readonly state: MeshState;
}

/** @returns what `after` does that `before` did not. */
export function findLockOuts(
  before: MeshView,
  after: MeshView,
  facts: ControlPlaneFacts,
): readonly LockOut[] {
  const known = new Set(lockOutsOf(before, facts).map(({ reason }) => reason));
  const found = lockOutsOf(after, facts).filter(({ reason }) => !known.has(reason));
  return [...found, ...lostIdentities(before.state, after.state, facts)];
}

/** @returns the reason by the key of each of these documents whose workload is what locks the control plane out. */
export function lockedOutBy(
  derived: readonly MeshDocument[],
  lockOuts: readonly LockOut[],
): ReadonlyMap<string, string> {
  const found = new Map<string, string>();
  for (const { resource, reason } of lockOuts) {
    const document = derived.find(
      ({ kind, metadata: { key, namespace, name } }) =>
        resource === key || (resource?.endsWith(`/${kind}/${namespace}/${name}`) ?? false),
    );
    if (document !== undefined) found.set(document.metadata.key, reason);
  }
  return found;
}

function lockOutsOf(view: MeshView, facts: ControlPlaneFacts): readonly LockOut[] {
  return [
    ...view.documents.flatMap(reservedNamespace),
    ...view.documents.flatMap((document) => reservedTemplate(document, facts)),
    ...view.state.workloads.flatMap((workload) => reservedIdentity(workload, facts)),
    ...view.state.services.flatMap((service) => capturedAddress(service, facts)),
    ...view.state.services.flatMap((service) => capturedName(service, view.state, facts)),
    ...view.state.workloads.flatMap((workload) => deniedClients(workload, view.state, facts)),
  ];
}

/** Whoever is in it is a node: a document could name itself any node's identity, or write policy for one. */
function reservedNamespace({ kind, metadata, location }: MeshDocument): readonly LockOut[] {
  const namespace = kind === "Namespace" ? metadata.name : metadata.namespace;
  if (namespace !== nodeNamespace) return [];
  const reason = `${metadata.key}: the namespace ${nodeNamespace} is reserved for nodes, so no document can be in it`;
  return [{ kind: "reserved", reason, resource: metadata.key, location }];
}

/** Who runs such a workload would be given the control plane's certificate, and nodes would obey. */
function reservedIdentity(workload: Workload, { identity }: ControlPlaneFacts): readonly LockOut[] {
  if (!workload.identity.equals(identity)) return [];
  const reason = `workload ${workload.namespace}/${workload.name} claims ${identity.uri}, which is the control plane's own identity`;
  return [{ kind: "reserved", reason, resource: workload.uid, location: workload.location }];
}

/** The members of such a group would be given it as soon as one joins. */
function reservedTemplate(document: MeshDocument, { identity }: ControlPlaneFacts): readonly LockOut[] {
  if (document.kind !== "WorkloadGroup") return [];
  const { key, namespace } = document.metadata;
  const { serviceAccount } = document.template;
  if (!identity.equals(new SpiffeId(identity.trustDomain, namespace, serviceAccount))) return [];
  const reason = `members of ${key} would claim ${identity.uri}, which is the control plane's own identity`;
  return [{ kind: "reserved", reason, resource: key, location: document.location }];
}

/** A service's address is the mesh's to route: what is sent there arrives at its endpoints, or is refused. */
function capturedAddress(service: Service, { addresses }: ControlPlaneFacts): readonly LockOut[] {
  const captured = addresses.find(
    (own) =>
      service.addresses.some(({ ip }) => ip.equals(own)) ||
      service.cidrAddresses.some(({ prefix }) => prefixContains(prefix, own)),
  );
  if (captured === undefined) return [];
  const key = serviceKey(service);
  const reason = `service ${key} takes the address ${captured.text}, by which nodes reach the control plane`;
  return [{ kind: "unreachable", reason, resource: key, location: service.location }];
}

/** Those who go by name are led to the service's endpoints; that is well where the control plane is one. */
function capturedName(service: Service, state: MeshState, facts: ControlPlaneFacts): readonly LockOut[] {
  const name = facts.names.find((candidate) => covers(service.hostname, candidate));
  if (name === undefined) return [];
  const key = serviceKey(service);
  const leadsHome = state.workloads.some(
    (workload) => workload.services.has(key) && isControlPlane(workload, facts),
  );
  if (leadsHome) return [];
  const reason = `service ${key} takes the name ${name}, by which nodes reach the control plane, and does not lead to it`;
  return [{ kind: "unreachable", reason, resource: key, location: service.location }];
}

function covers(hostname: string, name: string): boolean {
  const lower = name.toLowerCase();
  return hostname.startsWith("*.") ? lower.endsWith(hostname.slice(1)) : lower === hostname;
}

/** A workload at the control plane's address counts as it: policy for the one is policy for the other. */
function deniedClients(workload: Workload, state: MeshState, facts: ControlPlaneFacts): readonly LockOut[] {
  const destination = facts.addresses.find((own) => workload.addresses.some((ip) => ip.equals(own)));
  if (destination === undefined) return [];
  for (const source of facts.clients.length === 0 ? [destination] : facts.clients) {
    const denial = facts.denies(state, workload, { source, destination, port: facts.port });
    if (denial === null) continue;
    const where = `workload ${workload.namespace}/${workload.name}, which has the control plane's address ${destination.text}`;
    const reason = `${where}, would not let ${source.text} in on port ${facts.port}: ${denial}`;
    return [{ kind: "unreachable", reason, resource: workload.uid, location: workload.location }];
  }
  return [];
}

function isControlPlane(workload: Workload, { addresses, names }: ControlPlaneFacts): boolean {
  return (
    workload.addresses.some((ip) => addresses.some((own) => own.equals(ip))) ||
    names.some((name) => name.toLowerCase() === workload.hostname)
  );
}

/** Certificates are renewed for workloads that are there; a role bound to one that is gone ends with its certificate. */
function lostIdentities(before: MeshState, after: MeshState, facts: ControlPlaneFacts): readonly LockOut[] {
  if (facts.neededIdentities.length === 0) return [];
  const were = new Set(before.workloads.map(({ identity }) => identity.uri));
  const are = new Set(after.workloads.map(({ identity }) => identity.uri));
  return facts.neededIdentities
    .filter(({ identity }) => were.has(identity.uri) && !are.has(identity.uri))
    .map(({ identity, role }) => ({
      kind: "role",
      reason: `no workload would have the identity ${identity.uri} any longer, which has the role ${role}`,
      resource: null,
      location: null,
    }));
}
