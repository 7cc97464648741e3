/** Workloads by uid, address, name and host name. Every update touches only what the workload itself names. */
import type { IpAddress } from "../../base/ip.ts";
import { compareText } from "../../base/turns/steps.ts";
import type { Workload } from "../workload.ts";
import { SortedMultimap } from "./sorted_multimap.ts";

export class WorkloadIndex {
  readonly #byUid = new Map<string, Workload>();
  readonly #byAddress = new SortedMultimap<Workload>(compareTrust);
  readonly #byName = new SortedMultimap<Workload>(compareTrust);
  readonly #byHostname = new SortedMultimap<Workload>(compareTrust);

  get(uid: string): Workload | null {
    return this.#byUid.get(uid) ?? null;
  }

  all(): Iterable<Workload> {
    return this.#byUid.values();
  }

  /** The most trustworthy of those that claim the address, as ztunnel ranks them: a Pod before anything else, then HBONE; then by uid. */
  byAddress(network: string, ip: IpAddress): Workload | null {
    return this.#byAddress.get(addressKey(network, ip))[0] ?? null;
  }

  byName(namespace: string, name: string): readonly Workload[] {
    return this.#byName.get(`${namespace}/${name}`);
  }

  byHostname(namespace: string, hostname: string): Workload | null {
    return this.#byHostname.get(`${namespace}/${hostname}`)[0] ?? null;
  }

  /**
   * Adds the workload, or replaces the one of its uid. What both name is never empty in between: to delete a key of a large Map and set
   * it again costs JavaScriptCore time in proportion to the Map.
   *
   * @returns what was there.
   */
  set(workload: Workload): Workload | null {
    const previous = this.get(workload.uid);
    if (previous === workload) return previous;
    this.#byUid.set(workload.uid, workload);
    for (const [index, key] of this.#keys(workload)) index.add(key, workload);
    if (previous !== null) for (const [index, key] of this.#keys(previous)) index.remove(key, previous);
    return previous;
  }

  /** @returns what was there. */
  remove(uid: string): Workload | null {
    const workload = this.#byUid.get(uid);
    if (workload === undefined) return null;
    this.#byUid.delete(uid);
    for (const [index, key] of this.#keys(workload)) index.remove(key, workload);
    return workload;
  }

  #keys(workload: Workload): [SortedMultimap<Workload>, string][] {
    const keys: [SortedMultimap<Workload>, string][] = [
      [this.#byName, `${workload.namespace}/${workload.name}`],
    ];
    if (workload.hostname !== "") keys.push([this.#byHostname, `${workload.namespace}/${workload.hostname}`]);
    // A workload on its node's network shares the address with others; an address would not tell them apart (ztunnel does the same).
    if (workload.networkMode === "HOST_NETWORK") return keys;
    for (const ip of workload.addresses) keys.push([this.#byAddress, addressKey(workload.network, ip)]);
    return keys;
  }
}

/** `network/ip`, ztunnel's key for an address on a network. */
export function addressKey(network: string, ip: IpAddress): string {
  return `${network}/${ip.text}`;
}

function compareTrust(a: Workload, b: Workload): number {
  return trust(b) - trust(a) || compareText(a.uid, b.uid);
}

/** Pods are not (generally) spoofable; a workload of the mesh says more than one outside (ztunnel `state/workload.rs`). */
function trust(workload: Workload): number {
  return (workload.uid.includes("//Pod/") ? 2 : 0) + (workload.tunnelProtocol === "HBONE" ? 1 : 0);
}
