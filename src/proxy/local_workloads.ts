/** The workloads that run on this host, by address. Their identities are the ones this node may show. */
import { MeshError } from "../base/errors.ts";
import type { IpAddress } from "../base/ip.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import type { Clock, Timer } from "../host/host.ts";
import type { MeshStore } from "../mesh/store/store.ts";
import type { Workload } from "../mesh/workload.ts";

export interface LocalSelection {
  /** `namespace/name` of the workloads that run here; null chooses those with an address of this host, or of this node's name. */
  readonly names: readonly string[] | null;
  readonly nodeName: string;
  readonly hostAddresses: () => readonly IpAddress[];
}

export class LocalWorkloads {
  readonly #clock: Clock;
  readonly #store: MeshStore;
  readonly #selection: LocalSelection;
  #byAddress = new Map<string, Workload>();
  #all: readonly Workload[] = [];
  /** Addresses that workloads of this host had, in this process's time. */
  readonly #former = new Set<string>();
  readonly #listeners = new Set<() => void>();
  /** The host's addresses when the set was last made. */
  #hostAddresses: ReadonlySet<string> = new Set();
  #look: Timer;

  constructor(clock: Clock, store: MeshStore, selection: LocalSelection) {
    this.#clock = clock;
    this.#store = store;
    this.#selection = selection;
    this.#rebuild();
    store.subscribe((change) => {
      if (change.workloads !== undefined) this.#rebuild();
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
   * A link may come up, or an address be leased, after this process has started; nobody tells, so it is looked for. An address
   * that goes away takes nothing along: most come back (a cable that was moved, a lease that was late).
   */
  #lookLater(): Timer {
    return this.#clock.setTimer(proxyLimits.hostAddressesPollMs, () => {
      if (this.#selection.hostAddresses().some((ip) => !this.#hostAddresses.has(ip.text))) this.#rebuild();
      this.#look = this.#lookLater();
    });
  }

  #rebuild(): void {
    const { names, nodeName } = this.#selection;
    const here = new Set(this.#selection.hostAddresses().map((ip) => ip.text));
    this.#hostAddresses = here;
    const isLocal = (workload: Workload) =>
      names === null
        ? (nodeName !== "" && workload.node === nodeName) ||
          workload.addresses.some((ip) => here.has(ip.text))
        : names.includes(`${workload.namespace}/${workload.name}`);
    const all: Workload[] = [];
    const byAddress = new Map<string, Workload>();
    for (const workload of this.#store.workloads()) {
      if (!isLocal(workload)) continue;
      all.push(workload);
      for (const ip of workload.addresses) byAddress.set(ip.text, workload);
    }
    for (const text of this.#byAddress.keys()) this.#former.add(text);
    this.#all = all;
    this.#byAddress = byAddress;
    for (const listener of [...this.#listeners]) listener();
  }
}
