/** What the mesh says of a name: its services' addresses, as ztunnel's DNS proxy answers (`src/dns/server.rs`). */
import type { IpAddress } from "../base/ip.ts";
import { dnsLimits } from "../base/limits/dns.ts";
import { aliasesOf, type NameAlias } from "../mesh/names/name_search.ts";
import type { VirtualAddresses } from "../mesh/names/virtual_addresses.ts";
import { type Service, serviceKey } from "../mesh/service.ts";
import type { MeshStore } from "../mesh/store/store.ts";
import type { Workload } from "../mesh/workload.ts";

export interface MeshNamesOptions {
  readonly store: MeshStore;
  /** Null where nothing captures what is sent to them. */
  readonly virtual: VirtualAddresses | null;
  /** `cluster.local` */
  readonly clusterDomain: string;
  /** Of the host's resolver; they may change. */
  readonly searchDomains: () => readonly string[];
  /** Uniform in [0, 1). */
  readonly random: () => number;
}

export interface MeshAnswer {
  readonly canonicalName: string | null;
  /** Of both families. */
  readonly addresses: readonly IpAddress[];
}

export class MeshNames {
  readonly #options: MeshNamesOptions;

  constructor(options: MeshNamesOptions) {
    this.#options = options;
  }

  /** @returns null for what the mesh does not know, or cannot give an address of: the answer is someone else's. */
  find(name: string, client: Workload): MeshAnswer | null {
    const { clusterDomain, searchDomains } = this.#options;
    for (const alias of aliasesOf(name, client.namespace, clusterDomain, searchDomains())) {
      const service = this.#options.store.serviceByHostname(alias.name, client.namespace);
      if (service === null) continue;
      const addresses = this.#addressesOf(service, alias, client);
      if (addresses === null) continue;
      const canonicalName = alias.isStripped ? alias.name : null;
      return { canonicalName, addresses: this.#shuffled(addresses).slice(0, dnsLimits.maxAddresses) };
    }
    return null;
  }

  #addressesOf(service: Service, { name }: NameAlias, { network }: Workload): readonly IpAddress[] | null {
    const { store, virtual, clusterDomain } = this.#options;
    if (service.addresses.length > 0)
      return service.addresses.filter((address) => address.network === network).map(({ ip }) => ip);
    // Its addresses are wherever the outside says, and its clients go there.
    if (service.loadBalancing.mode === "PASSTHROUGH" || service.cidrAddresses.length > 0) return null;
    if (name.endsWith(`.svc.${clusterDomain}`))
      return store
        .endpoints(serviceKey(service))
        .filter(({ workload }) => workload.network === network)
        .flatMap(({ workload }) => workload.addresses);
    if (virtual === null || !isNameable(service.hostname)) return null;
    const pair = virtual.of(service.hostname);
    return pair === null ? null : [pair.ipv4, pair.ipv6];
  }

  #shuffled(addresses: readonly IpAddress[]): readonly IpAddress[] {
    const shuffled = [...addresses];
    for (let index = shuffled.length - 1; index > 0; index--) {
      const other = Math.floor(this.#options.random() * (index + 1));
      const [a, b] = [shuffled[index], shuffled[other]];
      if (a !== undefined && b !== undefined) [shuffled[index], shuffled[other]] = [b, a];
    }
    return shuffled;
  }
}

/** A wildcard stands for many names, and an address for one. */
function isNameable(hostname: string): boolean {
  return !hostname.startsWith("*");
}

/**
 * Keeps a virtual address for each service that needs one, so that a connection is routed by it also when its name was asked for before
 * this process began. @returns a function that ends it.
 */
export function keepVirtualAddresses(store: MeshStore, virtual: VirtualAddresses): () => void {
  const isNeeded = ({ addresses, cidrAddresses, hostname, loadBalancing }: Service): boolean =>
    addresses.length + cidrAddresses.length === 0 &&
    loadBalancing.mode !== "PASSTHROUGH" &&
    isNameable(hostname);
  const take = (services: Iterable<Service>): void => {
    for (const service of services) if (isNeeded(service)) virtual.of(service.hostname);
  };
  take(store.services());
  return store.subscribe(({ services }) => {
    if (services === undefined) return;
    if ((services.remove ?? []).length > 0)
      virtual.prune((name) => store.serviceByExactHostname(name, null) !== null);
    take(services.upsert ?? []);
  });
}
