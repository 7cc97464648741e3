/** The clusters of a waypoint: made when they are first used, brought up to date when the mesh or a policy changed, gone with their service. */
import type { Clock } from "../../host/host.ts";
import { type Service, serviceKey } from "../../mesh/service.ts";
import type { Endpoint as MeshEndpoint } from "../../mesh/store/endpoints.ts";
import type { MeshStore } from "../../mesh/store/store.ts";
import {
  type DestinationPlan,
  type DestinationPolicy,
  type DestinationSubset,
  defaultDestinationPolicy,
} from "../../mesh/traffic/destination_policy.ts";
import type { Destination } from "../../mesh/traffic/route_plan.ts";
import type { Workload } from "../../mesh/workload.ts";
import { Cluster, type ClusterEvents } from "./cluster.ts";
import { endpointsOf } from "./endpoints.ts";

export interface ClustersContext {
  readonly clock: Clock;
  readonly store: MeshStore;
  /** What the documents say of a service, by its key; null: defaults. The same value as long as nothing changed. */
  readonly plan: (service: string) => DestinationPlan | null;
  readonly labels: (workload: Workload) => ReadonlyMap<string, string>;
  readonly events: ClusterEvents;
}

interface Kept {
  readonly cluster: Cluster;
  readonly subset: DestinationSubset | null;
  readonly policy: DestinationPolicy;
  /** What `endpoints` were made of. */
  service: Service;
  source: Workload;
  members: readonly MeshEndpoint[];
}

/** What a destination was found to be, and what that rests on. */
interface Found {
  readonly cluster: Cluster;
  readonly storeVersion: number;
  readonly plan: DestinationPlan | null;
  readonly source: Workload;
}

type Wanted = Pick<Destination, "service" | "port" | "subset">;

export class Clusters {
  readonly #context: ClustersContext;
  readonly #kept = new Map<string, Kept>();
  /** Routes name the same destinations again and again: while nothing changes their requests look up no more than that. */
  readonly #found = new WeakMap<Wanted, Found>();
  #storeVersion = -1;

  constructor(context: ClustersContext) {
    this.#context = context;
  }

  /** For metrics and the administrator, by `namespace/hostname:port[/subset]`. */
  get all(): ReadonlyMap<string, Cluster> {
    return new Map([...this.#kept].map(([key, { cluster }]) => [key, cluster]));
  }

  serviceOf(key: string): Service | null {
    return this.#context.store.serviceByKey(key);
  }

  /** @returns null for a service, port or subset that is not there. @param source the waypoint. */
  of(wanted: Wanted, source: Workload): Cluster | null {
    const plan = this.#context.plan(wanted.service);
    const { version: storeVersion } = this.#context.store;
    const found = this.#found.get(wanted);
    if (found?.storeVersion === storeVersion && found.plan === plan && found.source === source)
      return found.cluster;
    const cluster = this.#look(wanted, source, plan);
    if (cluster !== null) this.#found.set(wanted, { cluster, storeVersion, plan, source });
    return cluster;
  }

  #look(
    { service: name, port, subset }: Wanted,
    source: Workload,
    plans: DestinationPlan | null,
  ): Cluster | null {
    this.#forgetGone();
    const { store, clock, events } = this.#context;
    const service = store.serviceByKey(name);
    if (service?.ports.has(port) !== true) return null;
    const wanted = subset === null ? null : (plans?.subsets.get(subset) ?? null);
    if (subset !== null && wanted === null) return null;
    const policy = (wanted ?? plans)?.ports.get(port) ?? defaultDestinationPolicy;
    const key = subset === null ? `${name}:${port}` : `${name}:${port}/${subset}`;
    const members = store.endpoints(name);
    let kept = this.#kept.get(key);
    const isNew = kept === undefined || kept.policy !== policy || kept.subset !== wanted;
    if (kept === undefined || isNew) {
      kept = { cluster: new Cluster(policy, events), subset: wanted, policy, service, source, members };
      this.#kept.set(key, kept);
    } else if (kept.service === service && kept.source === source && kept.members === members)
      return kept.cluster;
    kept.service = service;
    kept.source = source;
    kept.members = members;
    kept.cluster.update(this.#endpoints(kept, port), clock.now());
    return kept.cluster;
  }

  #endpoints({ subset, policy, service, source }: Kept, port: number) {
    const { store, labels } = this.#context;
    const inSubset = (workload: Workload): boolean => {
      if (subset === null) return true;
      const theirs = labels(workload);
      for (const [name, value] of subset.labels) if (theirs.get(name) !== value) return false;
      return true;
    };
    return endpointsOf(store, { service, port, policy, source, inSubset, labels });
  }

  /** Once for each change of the mesh. */
  #forgetGone(): void {
    const { store } = this.#context;
    if (store.version === this.#storeVersion) return;
    this.#storeVersion = store.version;
    for (const [key, { service }] of this.#kept)
      if (store.serviceByKey(serviceKey(service)) === null) this.#kept.delete(key);
  }
}
