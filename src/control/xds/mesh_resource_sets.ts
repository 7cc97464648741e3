/** The mesh as xDS resources: each encoded once when it changes, under a version that its content alone decides. */
import { sha256 } from "../../base/sha256.ts";
import { authorizationKey } from "../../mesh/authorization.ts";
import { encodeService, encodeWorkload } from "../../mesh/encode_address.ts";
import { encodeAuthorization } from "../../mesh/encode_authorization.ts";
import { type Service, serviceKey } from "../../mesh/service.ts";
import type { MeshChange, MeshStore } from "../../mesh/store.ts";
import type { Workload } from "../../mesh/workload.ts";
import { addressType, authorizationType } from "../../wire/ads/delta.ts";
import { type NewResource, ResourceSet } from "../../wire/ads/resource_set.ts";

/** The workloads of a node, as a group that an on-demand client of that node is given unasked (istiod `ambientindex.go`). */
export function nodeGroup(node: string): string {
  return `node ${node}`;
}

export class MeshResourceSets {
  readonly addresses = new ResourceSet(addressType);
  readonly policies = new ResourceSet(authorizationType);
  readonly #store: MeshStore;
  /** What may have changed since the last flush, by key. What became of each is read from the store then. */
  readonly #workloads = new Set<string>();
  readonly #services = new Set<string>();
  readonly #policies = new Set<string>();
  readonly #unsubscribe: () => void;

  /** @param onChange after each change of the store; `flush` takes it in. */
  constructor(store: MeshStore, onChange: () => void) {
    this.#store = store;
    for (const { uid } of store.workloads()) this.#workloads.add(uid);
    for (const service of store.services()) this.#services.add(serviceKey(service));
    for (const policy of store.policies()) this.#policies.add(authorizationKey(policy));
    this.flush();
    this.#unsubscribe = store.subscribe((change) => {
      this.#note(change);
      onChange();
    });
  }

  close(): void {
    this.#unsubscribe();
  }

  /** Both types in one step, so that whoever looks sees one state of the mesh. @returns whether anything changed. */
  flush(): boolean {
    const policies = collect(
      this.#policies,
      (key) => this.#store.policy(key),
      (key, policy) => contentResource(key, encodeAuthorization(policy)),
    );
    const workloads = collect(this.#workloads, (uid) => this.#store.workload(uid), workloadResource);
    const services = collect(this.#services, (key) => this.#store.serviceByKey(key), serviceResource);
    const changedPolicies = this.policies.apply(policies.upsert, policies.remove);
    const changedAddresses = this.addresses.apply(
      [...workloads.upsert, ...services.upsert],
      [...workloads.remove, ...services.remove],
    );
    return changedPolicies || changedAddresses;
  }

  #note({ workloads, services, policies }: MeshChange): void {
    for (const { uid } of workloads?.upsert ?? []) this.#workloads.add(uid);
    for (const uid of workloads?.remove ?? []) this.#workloads.add(uid);
    for (const service of services?.upsert ?? []) this.#services.add(serviceKey(service));
    for (const key of services?.remove ?? []) this.#services.add(key);
    for (const policy of policies?.upsert ?? []) this.#policies.add(authorizationKey(policy));
    for (const key of policies?.remove ?? []) this.#policies.add(key);
  }
}

/** @param name of one resource whose version is the hash of its content. */
export function contentResource(name: string, value: Uint8Array): NewResource {
  return { name, version: sha256(value).subarray(0, versionBytes).toHex(), value };
}

/** 96 bits: two contents of one resource would have to agree in them, and clients send each version back when they reconnect. */
const versionBytes = 12;

function workloadResource(uid: string, workload: Workload): NewResource {
  const aliases = workload.addresses.map((ip) => `${workload.network}/${ip.text}`);
  const groups = [...workload.services.keys(), ...(workload.node === "" ? [] : [nodeGroup(workload.node)])];
  return { ...contentResource(uid, encodeWorkload(workload)), aliases, groups };
}

function serviceResource(key: string, service: Service): NewResource {
  const aliases = service.addresses.map(({ network, ip }) => `${network}/${ip.text}`);
  return { ...contentResource(key, encodeService(service)), aliases };
}

function collect<T>(
  keys: Set<string>,
  find: (key: string) => T | null,
  resource: (key: string, value: T) => NewResource,
): { readonly upsert: NewResource[]; readonly remove: string[] } {
  const upsert: NewResource[] = [];
  const remove: string[] = [];
  for (const key of keys) {
    const value = find(key);
    if (value === null) remove.push(key);
    else upsert.push(resource(key, value));
  }
  keys.clear();
  return { upsert, remove };
}
