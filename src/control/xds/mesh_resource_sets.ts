/** The mesh as xDS resources: each encoded once when it changes, under a version that its content alone decides. */
import { sha256 } from "../../base/sha256.ts";
import { inSteps } from "../../base/turns/steps.ts";
import { runSteps } from "../../base/turns/time_slice.ts";
import { type Authorization, authorizationKey } from "../../mesh/authorization.ts";
import { encodeService, encodeWorkload } from "../../mesh/codec/encode_address.ts";
import { encodeAuthorization } from "../../mesh/codec/encode_authorization.ts";
import { type Service, serviceKey } from "../../mesh/service.ts";
import type { MeshChange, MeshStore } from "../../mesh/store/store.ts";
import type { Workload } from "../../mesh/workload.ts";
import { addressType, authorizationType } from "../../wire/ads/delta.ts";
import { type NewResource, ResourceSet } from "../../wire/ads/resource_set.ts";
import { encodeResourceField } from "../../wire/ads/response_parts.ts";

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
  /** Made ahead by `prepare`, by what they were made of: a value that was replaced meanwhile is not found again. */
  readonly #prepared = new Map<object, NewResource>();
  readonly #unsubscribe: () => void;
  /** More of the change that the store is taking is to come. */
  #isPartial = false;
  #isFlushing = false;

  /** @param onChange after each change of the store; `flush` takes it in. */
  constructor(store: MeshStore, onChange: () => void) {
    this.#store = store;
    for (const { uid } of store.workloads()) this.#workloads.add(uid);
    for (const service of store.services()) this.#services.add(serviceKey(service));
    for (const policy of store.policies()) this.#policies.add(authorizationKey(policy));
    this.flush();
    this.#unsubscribe = store.subscribe((change) => {
      this.#note(change);
      this.#isPartial = change.isPart === true;
      if (!this.#isPartial) onChange();
    });
  }

  close(): void {
    this.#unsubscribe();
  }

  /** How much waits for a flush. */
  get waiting(): number {
    return this.#workloads.size + this.#services.size + this.#policies.size;
  }

  /**
   * Makes the resources that a flush will want, in steps between which connections have their turn: ten thousand at once would hold
   * everybody up for a good part of a second. Changes may come in between; what they replace is made again by the flush.
   */
  *prepare(): Generator<void> {
    const each = <T extends object>(
      keys: ReadonlySet<string>,
      typeUrl: string,
      find: (key: string) => T | null,
      make: (key: string, value: T) => NewResource,
    ) =>
      inSteps(
        [...keys],
        (key) => {
          const value = find(key);
          if (value === null) return;
          const made = make(key, value);
          const field = encodeResourceField(typeUrl, made.name, made.version, made.value);
          this.#prepared.set(value, { ...made, field });
        },
        resourcesPerStep,
      );
    yield* each(this.#policies, authorizationType, (key) => this.#store.policy(key), policyResource);
    yield* each(this.#workloads, addressType, (uid) => this.#store.workload(uid), workloadResource);
    yield* each(this.#services, addressType, (key) => this.#store.serviceByKey(key), serviceResource);
  }

  /** Whether what is there may be read: the sets are of one state of the mesh, with nothing of the next. */
  get isSettled(): boolean {
    return !this.#isFlushing;
  }

  /** Both types, so that whoever looks sees one state of the mesh. @returns whether anything changed. */
  flush(): boolean {
    return runSteps(this.flushInSteps());
  }

  /** The same in steps; in between `isSettled` is false. Nothing while another one is under way, or half of a change is there. */
  *flushInSteps(): Generator<void, boolean> {
    if (this.#isFlushing || this.#isPartial) return false;
    this.#isFlushing = true;
    try {
      const find = this.#store;
      // Taken at once: what changes from here on is the next flush's.
      const taken = {
        policies: this.#take(this.#policies, (key) => find.policy(key)),
        workloads: this.#take(this.#workloads, (uid) => find.workload(uid)),
        services: this.#take(this.#services, (key) => find.serviceByKey(key)),
      };
      const prepared = new Map(this.#prepared);
      this.#prepared.clear();
      const policies = yield* collect(taken.policies, prepared, policyResource);
      const workloads = yield* collect(taken.workloads, prepared, workloadResource);
      const services = yield* collect(taken.services, prepared, serviceResource);
      const changedPolicies = yield* this.policies.applyInSteps(policies.upsert, policies.remove);
      const changedAddresses = yield* this.addresses.applyInSteps(
        [...workloads.upsert, ...services.upsert],
        [...workloads.remove, ...services.remove],
      );
      return changedPolicies || changedAddresses;
    } finally {
      this.#isFlushing = false;
    }
  }

  #take<T extends object>(keys: Set<string>, find: (key: string) => T | null): Taken<T>[] {
    const taken = [...keys].map((key) => ({ key, value: find(key) }));
    keys.clear();
    return taken;
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

/** One may name hundreds of services and policies. */
const resourcesPerStep = 10;

/** What is there now under a key; null: nothing any more. */
interface Taken<T> {
  readonly key: string;
  readonly value: T | null;
}

function* collect<T extends object>(
  taken: readonly Taken<T>[],
  prepared: ReadonlyMap<object, NewResource>,
  make: (key: string, value: T) => NewResource,
): Generator<void, { readonly upsert: NewResource[]; readonly remove: string[] }> {
  const upsert: NewResource[] = [];
  const remove: string[] = [];
  yield* inSteps(taken, ({ key, value }) => {
    if (value === null) remove.push(key);
    else upsert.push(prepared.get(value) ?? make(key, value));
  });
  return { upsert, remove };
}

/** @param name of one resource whose version is the hash of its content. */
export function contentResource(name: string, value: Uint8Array): NewResource {
  return { name, version: sha256(value).subarray(0, versionBytes).toHex(), value };
}

/** 96 bits: two contents of one resource would have to agree in them, and clients send each version back when they reconnect. */
const versionBytes = 12;

function policyResource(key: string, policy: Authorization): NewResource {
  return contentResource(key, encodeAuthorization(policy));
}

function workloadResource(uid: string, workload: Workload): NewResource {
  const aliases = workload.addresses.map((ip) => `${workload.network}/${ip.text}`);
  const groups = [...workload.services.keys(), ...(workload.node === "" ? [] : [nodeGroup(workload.node)])];
  return { ...contentResource(uid, encodeWorkload(workload)), aliases, groups };
}

function serviceResource(key: string, service: Service): NewResource {
  const aliases = service.addresses.map(({ network, ip }) => `${network}/${ip.text}`);
  return { ...contentResource(key, encodeService(service)), aliases };
}
