/**
 * Changes after which the control plane could not be reached by those who would have to undo them. Pure: two meshes and what is
 * known of the control plane in, reasons out. What was so before is not held against a change.
 */
import type { IpAddress } from "../../base/ip.ts";
import { prefixContains } from "../../base/prefix.ts";
import { filterInSteps, flatMapInSteps, inSteps, mapInSteps } from "../../base/turns/steps.ts";
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

/** @returns null when it is permitted, otherwise who denies it. */
export type ControlPolicy = (workload: Workload, connection: ControlConnection) => string | null;

export interface ControlPlaneFacts {
  /** Where it is reached. */
  readonly addresses: readonly IpAddress[];
  readonly port: number;
  /** The DNS names it is reached by. */
  readonly names: readonly string[];
  /** Its own, of which it holds a certificate. */
  readonly identity: SpiffeId;
  /** From where people come: the address of whoever asks now. */
  readonly clients: readonly IpAddress[];
  /** From where nodes come that have joined; there may be a hundred thousand. */
  readonly joined?: () => Generator<void, readonly IpAddress[]>;
  /** Identities that roles are bound to, the one of whoever asks now among them, and for what. */
  readonly neededIdentities: readonly { readonly identity: SpiffeId; readonly role: string }[];
  /** What the policies of a mesh say; `policy/` is handed in. */
  readonly policyOf: (state: MeshState) => ControlPolicy;
}

export interface MeshView {
  readonly documents: readonly MeshDocument[];
  readonly state: MeshState;
}

/** @returns what `after` does that `before` did not. */
export function* findLockOuts(
  before: MeshView,
  after: MeshView,
  facts: ControlPlaneFacts,
): Generator<void, readonly LockOut[]> {
  const were = yield* lockOutsOf(before, facts);
  const known = new Set(were.map(({ reason }) => reason));
  const found = (yield* lockOutsOf(after, facts)).filter(({ reason }) => !known.has(reason));
  return [...found, ...(yield* lostIdentities(before.state, after.state, facts))];
}

/** @returns the reason by the key of each of these documents whose workload is what locks the control plane out. */
export function* lockedOutBy(
  derived: readonly MeshDocument[],
  lockOuts: readonly LockOut[],
): Generator<void, ReadonlyMap<string, string>> {
  const found = new Map<string, string>();
  if (lockOuts.length === 0) return found;
  const keys = new Map<string, string>();
  yield* inSteps(derived, ({ kind, metadata: { key, namespace, name } }) => {
    keys.set(key, key);
    keys.set(`${kind}/${namespace}/${name}`, key);
  });
  for (const { resource, reason } of lockOuts) {
    if (resource === null) continue;
    // A workload's uid ends as its document is called.
    const key = keys.get(resource) ?? keys.get(resource.split("/").slice(-3).join("/"));
    if (key !== undefined) found.set(key, reason);
  }
  return found;
}

function* lockOutsOf(view: MeshView, facts: ControlPlaneFacts): Generator<void, readonly LockOut[]> {
  const { documents, state } = view;
  const own = yield* filterInSteps(state.workloads, (workload) => isControlPlane(workload, facts));
  const leadingHome = new Set(own.flatMap(({ services }) => [...services.keys()]));
  return [
    ...(yield* flatMapInSteps(documents, reservedNamespace)),
    ...(yield* flatMapInSteps(documents, (document) => reservedTemplate(document, facts))),
    ...(yield* flatMapInSteps(state.workloads, (workload) => reservedIdentity(workload, facts))),
    ...(yield* flatMapInSteps(state.services, (service) => capturedAddress(service, facts))),
    ...(yield* flatMapInSteps(state.services, (service) => capturedName(service, leadingHome, facts))),
    ...(yield* deniedClients(state, facts)),
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
function capturedName(
  service: Service,
  leadingHome: ReadonlySet<string>,
  facts: ControlPlaneFacts,
): readonly LockOut[] {
  const name = facts.names.find((candidate) => covers(service.hostname, candidate));
  if (name === undefined) return [];
  const key = serviceKey(service);
  if (leadingHome.has(key)) return [];
  const reason = `service ${key} takes the name ${name}, by which nodes reach the control plane, and does not lead to it`;
  return [{ kind: "unreachable", reason, resource: key, location: service.location }];
}

function covers(hostname: string, name: string): boolean {
  const lower = name.toLowerCase();
  return hostname.startsWith("*.") ? lower.endsWith(hostname.slice(1)) : lower === hostname;
}

/** A workload at the control plane's address counts as it: policy for the one is policy for the other. */
function* deniedClients(state: MeshState, facts: ControlPlaneFacts): Generator<void, readonly LockOut[]> {
  const there = yield* flatMapInSteps(state.workloads, (workload) => {
    const destination = facts.addresses.find((own) => workload.addresses.some((ip) => ip.equals(own)));
    return destination === undefined ? [] : [{ workload, destination }];
  });
  if (there.length === 0) return [];
  const policy = facts.policyOf(state);
  yield;
  const joined = facts.joined === undefined ? [] : yield* facts.joined();
  const clients = [...facts.clients, ...joined];
  const found: LockOut[] = [];
  for (const { workload, destination } of there)
    for (const source of clients.length === 0 ? [destination] : clients) {
      yield;
      const denial = policy(workload, { source, destination, port: facts.port });
      if (denial === null) continue;
      const where = `workload ${workload.namespace}/${workload.name}, which has the control plane's address ${destination.text}`;
      const reason = `${where}, would not let ${source.text} in on port ${facts.port}: ${denial}`;
      found.push({ kind: "unreachable", reason, resource: workload.uid, location: workload.location });
      break;
    }
  return found;
}

function isControlPlane(workload: Workload, { addresses, names }: ControlPlaneFacts): boolean {
  return (
    workload.addresses.some((ip) => addresses.some((own) => own.equals(ip))) ||
    names.some((name) => name.toLowerCase() === workload.hostname)
  );
}

/** Certificates are renewed for workloads that are there; a role bound to one that is gone ends with its certificate. */
function* lostIdentities(
  before: MeshState,
  after: MeshState,
  facts: ControlPlaneFacts,
): Generator<void, readonly LockOut[]> {
  if (facts.neededIdentities.length === 0) return [];
  const were = new Set(yield* mapInSteps(before.workloads, ({ identity }) => identity.uri));
  const are = new Set(yield* mapInSteps(after.workloads, ({ identity }) => identity.uri));
  return facts.neededIdentities
    .filter(({ identity }) => were.has(identity.uri) && !are.has(identity.uri))
    .map(({ identity, role }) => ({
      kind: "role",
      reason: `no workload would have the identity ${identity.uri} any longer, which has the role ${role}`,
      resource: null,
      location: null,
    }));
}
