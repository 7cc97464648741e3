/** The workloads that run on this host, by address. Their identities are the ones this node may show. */
import { MeshError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import type { Logger } from "../base/log.ts";
import type { Clock, Timer } from "../host/host.ts";
import type { MeshChange, MeshStore } from "../mesh/store/store.ts";
import type { Workload } from "../mesh/workload.ts";

export interface LocalSelection {
  /** `namespace/name` of the workloads that run here; null chooses those with an address of this host, or of this node's name. */
  readonly names: readonly string[] | null;
  /** Services by the same form of name, or by host name: their endpoints on this host run here, too. Default: none. */
  readonly services?: readonly string[];
  readonly nodeName: string;
  /** This node's network: without `names` only workloads of it run here. */
  readonly network: string;
  /** Whether an address of this host is enough to run here. */
  readonly isByAddress: () => boolean;
  readonly hostAddresses: () => readonly IpAddress[];
}

export class LocalWorkloads {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #store: MeshStore;
  readonly #selection: LocalSelection;
  #byAddress = new Map<string, Workload>();
  #all: readonly Workload[] = [];
  /** Uids of those that run here or claim to. */
  #chosen: ReadonlySet<string> = new Set();
  /** Addresses that workloads of this host had, in this process's time. */
  readonly #former = new Set<string>();
  readonly #listeners = new Set<() => void>();
  /** The host's addresses when the set was last made. */
  #hostAddresses: ReadonlySet<string> = new Set();
  /** Addresses that two claim, with the two, as far as they were told. */
  #disputes: ReadonlySet<string> = new Set();
  #look: Timer;

  constructor(clock: Clock, logger: Logger, store: MeshStore, selection: LocalSelection) {
    this.#clock = clock;
    this.#logger = logger;
    this.#store = store;
    this.#selection = selection;
    this.#rebuild();
    store.subscribe((change) => {
      if (this.#isTouched(change)) this.#rebuild();
    });
    this.#look = this.#lookLater();
  }

  close(): void {
    this.#look.cancel();
  }

  get all(): readonly Workload[] {
    return this.#all;
  }

  byAddress(ip: IpAddress): Workload | null {
    return this.#byAddress.get(ip.text) ?? null;
  }

  byName(name: string): Workload | null {
    return this.#all.find((workload) => `${workload.namespace}/${workload.name}` === name) ?? null;
  }

  /**
   * Whose process calls from `ip`: the workload's with that address. On a host with just one workload that is whoever calls from an
   * address of none, unless the address was a workload's before: its process may run on, and must not speak in another's name.
   */
  caller(ip: IpAddress): Workload | null {
    const known = this.byAddress(ip);
    if (known !== null || this.#all.length !== 1 || this.#former.has(ip.text)) return known;
    return this.#all[0] ?? null;
  }

  /** Whether a listener of this host can have it: loopback is all of 127.0.0.0/8, of which one is listed. */
  isBindable(ip: IpAddress): boolean {
    return ip.isLoopback || this.isHostAddress(ip);
  }

  /** Whether `ip` was an address of this host when it was last looked, a second ago at most. */
  isHostAddress(ip: IpAddress): boolean {
    return this.#hostAddresses.has(ip.text);
  }

  /** Called after the set may have changed. */
  subscribe(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Waits, bounded, until `find` finds: a host may be called before its first documents are read. @throws MeshError `unknown_workload`. */
  wait(find: () => Workload | null, what: string): Workload | Promise<Workload> {
    const found = find();
    if (found !== null) return found;
    return new Promise((resolve, reject) => {
      const unsubscribe = this.subscribe(() => {
        const workload = find();
        if (workload === null) return;
        unsubscribe();
        timer.cancel();
        resolve(workload);
      });
      const timer = this.#clock.setTimer(proxyLimits.workloadWaitMs, () => {
        unsubscribe();
        reject(new MeshError("unknown_workload", "local", `no workload of this host ${what}`));
      });
    });
  }

  /**
   * A link may come up, or an address be leased, after this process has started: no event tells, so it is looked for. An
   * address that goes away takes nothing along: most come back (a cable that was moved, a lease that was late).
   */
  #lookLater(): Timer {
    return this.#clock.setTimer(proxyLimits.hostAddressesPollMs, () => {
      if (this.#selection.hostAddresses().some((ip) => !this.#hostAddresses.has(ip.text))) this.#rebuild();
      this.#look = this.#lookLater();
    });
  }

  #rebuild(): void {
    this.#hostAddresses = new Set(this.#selection.hostAddresses().map((ip) => ip.text));
    const chosen: Workload[] = [];
    for (const workload of this.#store.workloads()) if (this.#isChosen(workload)) chosen.push(workload);
    this.#chosen = new Set(chosen.map(({ uid }) => uid));
    const byAddress = this.#holders(chosen);
    for (const text of this.#byAddress.keys()) this.#former.add(text);
    this.#all = chosen.filter(
      (workload) =>
        this.#isPlaced(workload) || workload.addresses.some((ip) => byAddress.get(ip.text) === workload),
    );
    this.#byAddress = byAddress;
    for (const listener of [...this.#listeners]) listener();
  }

  /** Most changes of a large mesh are of other hosts' workloads, and cost nothing here. */
  #isTouched({ workloads }: MeshChange): boolean {
    return (
      workloads?.remove?.some((uid) => this.#chosen.has(uid)) === true ||
      workloads?.upsert?.some((workload) => this.#chosen.has(workload.uid) || this.#isChosen(workload)) ===
        true
    );
  }

  #isChosen(workload: Workload): boolean {
    if (this.#isPlaced(workload)) return true;
    const { names, isByAddress, network } = this.#selection;
    // Networks may use the same addresses: one of another network is another host's.
    return (
      names === null &&
      isByAddress() &&
      workload.network === network &&
      workload.addresses.some((ip) => this.#hostAddresses.has(ip.text))
    );
  }

  /** By name, or by its node's; not for an address that it says it has. */
  #isPlaced(workload: Workload): boolean {
    const { names, nodeName, network } = this.#selection;
    if (names !== null)
      return names.includes(`${workload.namespace}/${workload.name}`) || this.#isEndpointHere(workload);
    return nodeName !== "" && workload.node === nodeName && workload.network === network;
  }

  /** An endpoint of a service that was named, by an address or the name of this host: its other endpoints are other hosts'. */
  #isEndpointHere(workload: Workload): boolean {
    const { services = [], nodeName, network } = this.#selection;
    if (services.length === 0 || workload.network !== network) return false;
    const isHere =
      (nodeName !== "" && workload.node === nodeName) || workload.addresses.some((ip) => this.isBindable(ip));
    return (
      isHere &&
      [...workload.services.keys()].some((key) =>
        services.some((name) => key === name || key.startsWith(`${name}.`)),
      )
    );
  }

  /** Who has each address: whoever had it goes on, else the first that was declared. A later one takes over neither SVID nor policy. */
  #holders(chosen: readonly Workload[]): Map<string, Workload> {
    const holders = new Map<string, Workload>();
    for (const workload of chosen) {
      for (const { text } of workload.addresses) {
        const isHolder = this.#byAddress.get(text)?.uid === workload.uid;
        if (isHolder || !holders.has(text)) holders.set(text, workload);
      }
    }
    const disputes = new Set<string>();
    for (const workload of chosen) {
      for (const { text } of workload.addresses) {
        const holder = holders.get(text);
        if (holder !== undefined && holder !== workload) this.#dispute(disputes, text, holder, workload);
      }
    }
    this.#disputes = disputes;
    return holders;
  }

  /** Said once while it lasts. */
  #dispute(disputes: Set<string>, address: string, holder: Workload, other: Workload): void {
    // Pods on their node's network have its address, all of them.
    if (holder.networkMode === "HOST_NETWORK" || other.networkMode === "HOST_NETWORK") return;
    const key = `${address} ${holder.uid} ${other.uid}`;
    disputes.add(key);
    if (this.#disputes.has(key)) return;
    const [first, second] = [holder, other].map(({ namespace, name }) => `${namespace}/${name}`);
    this.#logger.log(
      "warn",
      "node",
      `${first} and ${second} both have the address ${address}: ${first} was first and keeps it`,
      {
        first: holder.uid,
        second: other.uid,
      },
    );
  }
}
