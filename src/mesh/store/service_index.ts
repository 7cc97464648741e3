/** Services by key, host name and VIP, and the choice among several that share one (ztunnel `src/state/service.rs`). */
import type { IpAddress } from "../../base/ip.ts";
import { compareText } from "../../base/turns/steps.ts";
import { type Service, serviceKey } from "../service.ts";
import { PrefixIndex } from "./prefix_index.ts";
import { SortedMultimap } from "./sorted_multimap.ts";
import { addressKey } from "./workload_index.ts";

export class ServiceIndex {
  readonly #byKey = new Map<string, Service>();
  readonly #byHostname = new SortedMultimap<Service>(compareServices);
  readonly #byVip = new SortedMultimap<Service>(compareServices);
  /** By network. */
  readonly #byCidr = new Map<string, PrefixIndex<Service>>();

  get(key: string): Service | null {
    return this.#byKey.get(key) ?? null;
  }

  all(): Iterable<Service> {
    return this.#byKey.values();
  }

  /** @param clientNamespace null: no client, so everything is visible and no namespace is preferred. */
  byHostname(hostname: string, clientNamespace: string | null): Service | null {
    return bestMatch(this.#byHostname.get(hostname), clientNamespace);
  }

  /** An exact VIP first; only then prefixes, ranked by (client's namespace, prefix length, canonical), as ztunnel does. */
  byVip(network: string, ip: IpAddress, clientNamespace: string | null): Service | null {
    return (
      bestMatch(this.#byVip.get(addressKey(network, ip)), clientNamespace) ??
      this.#bestCidr(network, ip, clientNamespace)
    );
  }

  /** Adds the service, or replaces the one of its key; in the order that `WorkloadIndex.set` explains. */
  set(service: Service): void {
    const key = serviceKey(service);
    const previous = this.get(key);
    if (previous === service) return;
    this.#byKey.set(key, service);
    this.#index(service);
    if (previous !== null) this.#forget(previous);
  }

  remove(key: string): void {
    const service = this.#byKey.get(key);
    if (service === undefined) return;
    this.#byKey.delete(key);
    this.#forget(service);
  }

  #index(service: Service): void {
    this.#byHostname.add(service.hostname, service);
    for (const { network, ip } of service.addresses) this.#byVip.add(addressKey(network, ip), service);
    for (const { network, prefix } of service.cidrAddresses) {
      const index = this.#byCidr.get(network) ?? new PrefixIndex<Service>();
      this.#byCidr.set(network, index);
      index.add(prefix, service);
    }
  }

  #forget(service: Service): void {
    this.#byHostname.remove(service.hostname, service);
    for (const { network, ip } of service.addresses) this.#byVip.remove(addressKey(network, ip), service);
    for (const { network, prefix } of service.cidrAddresses) {
      const index = this.#byCidr.get(network);
      index?.remove(prefix, service);
      if (index?.isEmpty === true) this.#byCidr.delete(network);
    }
  }

  #bestCidr(network: string, ip: IpAddress, clientNamespace: string | null): Service | null {
    let best: Service | null = null;
    let bestRank = -1;
    this.#byCidr.get(network)?.visit(ip, (service, length) => {
      if (!isVisible(service, clientNamespace)) return;
      const rank =
        (service.namespace === clientNamespace ? 1024 : 0) + length * 2 + (service.canonical ? 1 : 0);
      if (rank < bestRank) return;
      if (rank === bestRank && best !== null && compareServices(best, service) <= 0) return;
      best = service;
      bestRank = rank;
    });
    return best;
  }
}

function isVisible(service: Service, clientNamespace: string | null): boolean {
  return service.visibility === "PUBLIC" || clientNamespace === null || service.namespace === clientNamespace;
}

/** Of the visible ones: the client's namespace, then the canonical one, then the first by key (ztunnel `find_best_match`). */
function bestMatch(services: readonly Service[], clientNamespace: string | null): Service | null {
  let canonical: Service | null = null;
  let first: Service | null = null;
  for (const service of services) {
    if (!isVisible(service, clientNamespace)) continue;
    if (service.namespace === clientNamespace) return service;
    if (service.canonical) canonical ??= service;
    first ??= service;
  }
  return canonical ?? first;
}

function compareServices(a: Service, b: Service): number {
  return compareText(a.namespace, b.namespace) || compareText(a.hostname, b.hostname);
}
