/**
 * What the mesh is, now: workloads, services and policies with the indexes that routing needs. `apply` is synchronous, so
 * no reader ever sees half of a change, and costs what the change costs, not what the mesh does.
 */
import { assert } from "../../base/assert.ts";
import type { IpAddress } from "../../base/ip.ts";
import { type Authorization, authorizationKey } from "../authorization.ts";
import type { Service } from "../service.ts";
import type { Workload } from "../workload.ts";
import { type Endpoint, EndpointSet } from "./endpoints.ts";
import { ServiceIndex } from "./service_index.ts";
import { WorkloadIndex } from "./workload_index.ts";

/** Removals are applied before upserts; an upsert of a known key replaces what was there. */
export interface MeshChange {
  /** Removal by uid. */
  readonly workloads?: { readonly upsert?: readonly Workload[]; readonly remove?: readonly string[] };
  /** Removal by `namespace/hostname`. */
  readonly services?: { readonly upsert?: readonly Service[]; readonly remove?: readonly string[] };
  /** Removal by `namespace/name`. */
  readonly policies?: { readonly upsert?: readonly Authorization[]; readonly remove?: readonly string[] };
  /** More of the same change follows: whoever passes it on to others waits for the one without this. */
  readonly isPart?: boolean;
}

export class MeshStore {
  readonly #workloads = new WorkloadIndex();
  readonly #services = new ServiceIndex();
  readonly #policies = new Map<string, Authorization>();
  /** By service key, whether or not the service is known. */
  readonly #endpoints = new Map<string, EndpointSet>();
  readonly #listeners = new Set<(change: MeshChange, version: number) => void>();
  #version = 0;
  #applying = false;

  /** Counts the changes applied. */
  get version(): number {
    return this.#version;
  }

  /** Swaps the change in, then tells the listeners, in the order they subscribed. */
  apply(change: MeshChange): void {
    assert(!this.#applying, "a listener of the store may not apply a change");
    this.#applying = true;
    try {
      this.#applyWorkloads(change);
      for (const key of change.services?.remove ?? []) this.#services.remove(key);
      for (const service of change.services?.upsert ?? []) this.#services.set(service);
      for (const key of change.policies?.remove ?? []) this.#policies.delete(key);
      for (const policy of change.policies?.upsert ?? [])
        this.#policies.set(authorizationKey(policy), policy);
      this.#version++;
      for (const listener of [...this.#listeners])
        if (this.#listeners.has(listener)) listener(change, this.#version);
    } finally {
      this.#applying = false;
    }
  }

  /** `listener` runs synchronously after each change, never for what is there now. @returns a function that ends the subscription. */
  subscribe(listener: (change: MeshChange, version: number) => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  workload(uid: string): Workload | null {
    return this.#workloads.get(uid);
  }

  workloadByAddress(network: string, ip: IpAddress): Workload | null {
    return this.#workloads.byAddress(network, ip);
  }

  /** Several when clusters or kinds give the same name. */
  workloadsByName(namespace: string, name: string): readonly Workload[] {
    return this.#workloads.byName(namespace, name);
  }

  workloadByHostname(namespace: string, hostname: string): Workload | null {
    return this.#workloads.byHostname(namespace, hostname);
  }

  /** @param key `namespace/hostname` */
  serviceByKey(key: string): Service | null {
    return this.#services.get(key);
  }

  /** @param clientNamespace null when there is no client to be visible to. */
  serviceByVip(network: string, ip: IpAddress, clientNamespace: string | null): Service | null {
    return this.#services.byVip(network, ip, clientNamespace);
  }

  /** The exact name, then `*.b.c`, then `*.c`, as ztunnel's DNS proxy searches (`dns/server.rs`). Case is ignored (RFC 4343). */
  serviceByHostname(hostname: string, clientNamespace: string | null): Service | null {
    let name = hostname.toLowerCase();
    if (name.endsWith(".")) name = name.slice(0, -1);
    const exact = this.#services.byHostname(name, clientNamespace);
    if (exact !== null) return exact;
    for (let dot = name.indexOf("."); dot !== -1; dot = name.indexOf(".", dot + 1)) {
      const wildcard = this.#services.byHostname(`*${name.slice(dot)}`, clientNamespace);
      if (wildcard !== null) return wildcard;
    }
    return null;
  }

  /** The name as it stands, without wildcards: what the authority of a CONNECT is looked up by. */
  serviceByExactHostname(hostname: string, clientNamespace: string | null): Service | null {
    return this.#services.byHostname(hostname.toLowerCase(), clientNamespace);
  }

  /** Those that may be chosen: the unhealthy are left out unless the service's health policy says otherwise. Ordered by workload uid. */
  endpoints(key: string): readonly Endpoint[] {
    const healthPolicy = this.#services.get(key)?.loadBalancing.healthPolicy ?? "ONLY_HEALTHY";
    return this.#endpoints.get(key)?.select(healthPolicy) ?? [];
  }

  /** One endpoint, healthy or not. */
  endpoint(key: string, uid: string): Endpoint | null {
    return this.#endpoints.get(key)?.get(uid) ?? null;
  }

  /** Service keys that workloads name and no service has. */
  stagedServiceKeys(): readonly string[] {
    return [...this.#endpoints.keys()].filter((key) => this.#services.get(key) === null).sort();
  }

  workloads(): Iterable<Workload> {
    return this.#workloads.all();
  }

  services(): Iterable<Service> {
    return this.#services.all();
  }

  policies(): Iterable<Authorization> {
    return this.#policies.values();
  }

  /** @param key `namespace/name` */
  policy(key: string): Authorization | null {
    return this.#policies.get(key) ?? null;
  }

  #applyWorkloads(change: MeshChange): void {
    for (const uid of change.workloads?.remove ?? []) {
      const workload = this.#workloads.remove(uid);
      for (const key of workload?.services.keys() ?? []) this.#leave(key, uid);
    }
    for (const workload of change.workloads?.upsert ?? []) {
      const previous = this.#workloads.set(workload);
      for (const [key, ports] of workload.services) {
        const endpoints = this.#endpoints.get(key) ?? new EndpointSet();
        this.#endpoints.set(key, endpoints);
        endpoints.set({ workload, ports });
      }
      for (const key of previous?.services.keys() ?? [])
        if (!workload.services.has(key)) this.#leave(key, workload.uid);
    }
  }

  #leave(key: string, uid: string): void {
    const endpoints = this.#endpoints.get(key);
    endpoints?.delete(uid);
    if (endpoints?.isEmpty === true) this.#endpoints.delete(key);
  }
}
