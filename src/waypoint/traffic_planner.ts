/** Keeps what waypoints do with traffic in step with the documents and the services: planned again when either changed. */
import { runSteps, TimeSlice } from "../base/turns/time_slice.ts";
import type { Watch } from "../base/watch.ts";
import type { Clock } from "../host/host.ts";
import type { DocumentsInForce } from "../mesh/documents/in_force.ts";
import { hasWaypoint } from "../mesh/route/client_route.ts";
import { gatewayHas } from "../mesh/route/gateway.ts";
import { type Service, serviceKey } from "../mesh/service.ts";
import type { MeshStore } from "../mesh/store/store.ts";
import { identitiesOf, ownGateways } from "../mesh/targets/own_gateways.ts";
import type { DestinationPlan } from "../mesh/traffic/destination_policy.ts";
import { planTrafficInSteps } from "../mesh/traffic/plan_traffic.ts";
import type { RateLimit, RateLimitTarget } from "../mesh/traffic/rate_limit.ts";
import type { RoutePlan } from "../mesh/traffic/route_plan.ts";
import { noTraffic, type TrafficPlan } from "../mesh/traffic/traffic_plan.ts";
import type { TrafficScope } from "../mesh/traffic/traffic_scope.ts";
import type { Workload } from "../mesh/workload.ts";

export interface PlannerParts {
  readonly clock: Clock;
  readonly store: MeshStore;
  /** Null while they are not known. */
  readonly documents: Watch<DocumentsInForce | null>;
  readonly rootNamespace: string;
  /** The waypoints of this process: each routes its own services alone, by the documents of its own namespace and theirs. */
  readonly waypoints: () => readonly Workload[];
  /** Sidecar mode: the one workload here whose own calls are routed. @returns null where it does not run here, or there is none. */
  readonly client?: () => Workload | null;
  /** Once for each plan, with the documents that it was made of. */
  readonly onPlan: (plan: TrafficPlan, documents: DocumentsInForce) => void;
}

export class TrafficPlanner {
  readonly #parts: PlannerParts;
  /** By the waypoint's uid: what did not change stays the same value. */
  #plans = new Map<string, TrafficPlan>();
  /** Those that the last plan is for. Which services are theirs, and which Gateways they are, is in what is known of them. */
  #planned: readonly Workload[] = [];
  #isPlanning = false;
  #isStale = false;
  readonly #stops: readonly (() => void)[];

  /** The first plan is made at once: no request is to be answered as if there were no documents. */
  constructor(parts: PlannerParts) {
    this.#parts = parts;
    const documents = parts.documents.value;
    if (documents !== null) parts.onPlan(runSteps(this.#plan(documents)), documents);
    this.#stops = [
      parts.documents.subscribe(() => this.#again()),
      parts.store.subscribe(({ services }) => {
        if (services !== undefined) this.#again();
        else this.refresh();
      }),
    ];
  }

  stop(): void {
    for (const stop of this.#stops) stop();
  }

  /** After the waypoints of this process may have changed. */
  refresh(): void {
    if (!sameList(this.#planned, this.#locals())) this.#again();
  }

  /** Many changes that come together are one. */
  #again(): void {
    this.#isStale = true;
    if (!this.#isPlanning) void this.#replan();
  }

  async #replan(): Promise<void> {
    this.#isPlanning = true;
    try {
      while (this.#isStale) {
        this.#isStale = false;
        const documents = this.#parts.documents.value;
        if (documents === null) continue;
        const plan = await new TimeSlice(this.#parts.clock).run(this.#plan(documents));
        this.#parts.onPlan(plan, documents);
      }
    } finally {
      this.#isPlanning = false;
    }
  }

  #locals(): readonly Workload[] {
    const client = this.#parts.client?.() ?? null;
    return client === null ? this.#parts.waypoints() : [client];
  }

  *#plan(documents: DocumentsInForce): Generator<void, TrafficPlan> {
    const { store, client, rootNamespace } = this.#parts;
    const services = [...store.services()];
    const gateways = documents.documents.filter((document) => document.kind === "Gateway");
    const plans = new Map<string, TrafficPlan>();
    const locals = this.#locals();
    const caller = client?.() ?? null;
    this.#planned = locals;
    const merged: Merged = { routes: new Map(), destinations: new Map(), rateLimits: new Map() };
    for (const local of locals) {
      const own = ownGateways(local, gateways, (key) => store.serviceByKey(key));
      const identities = identitiesOf(local, own).map(({ namespace, name }) => `${namespace}/${name}`);
      const isAlone = locals.length === 1;
      // A call is taken for what has the waypoint alone: of one waypoint the others' services are planned to no harm.
      const served = services.filter((service) =>
        isAlone
          ? service.waypoint !== null || service.weightedWaypoints.length > 0
          : isServedBy(store, service, local),
      );
      const keys = new Set(served.map(serviceKey));
      const scope: TrafficScope =
        local === caller
          ? clientScope(local, rootNamespace)
          : {
              waypoint: { namespace: local.namespace, gateways: identities },
              serves: (service: Service) => keys.has(serviceKey(service)),
              rootNamespace,
            };
      const before = this.#plans.get(local.uid) ?? noTraffic;
      const plan = yield* planTrafficInSteps(documents.documents, services, scope, silent, before);
      plans.set(local.uid, plan);
      if (isAlone) {
        this.#plans = plans;
        return plan;
      }
      merge(merged, plan, keys);
    }
    this.#plans = plans;
    return { ...merged, rateLimits: [...merged.rateLimits.values()] };
  }
}

/** Calls of services that have no waypoint; what is limited in front of the workload are its own such services. */
function clientScope(local: Workload, rootNamespace: string): TrafficScope {
  const limits = (service: Service) => !hasWaypoint(service) && local.services.has(serviceKey(service));
  return {
    waypoint: { namespace: local.namespace, gateways: [], client: { labels: local.labels, limits } },
    serves: (service) => !hasWaypoint(service),
    rootNamespace,
  };
}

function sameList(a: readonly Workload[], b: readonly Workload[]): boolean {
  return a.length === b.length && a.every((one, i) => one === b[i]);
}

/** As where its CONNECTs are accepted (`mesh/route/waypoint_route.ts`). */
function isServedBy(store: MeshStore, { waypoint, weightedWaypoints }: Service, local: Workload): boolean {
  const isUs = (candidate: Workload): boolean =>
    candidate.uid === local.uid ||
    (candidate.identity.equals(local.identity) &&
      candidate.addresses.some((ip) => local.addresses.some((own) => own.equals(ip))));
  return [waypoint, ...weightedWaypoints.map(({ destination }) => destination)].some(
    (address) => address !== null && gatewayHas(store, address, isUs),
  );
}

interface Merged {
  readonly routes: Map<string, RoutePlan>;
  readonly destinations: Map<string, DestinationPlan>;
  readonly rateLimits: Map<string, RateLimit>;
}

/** One waypoint's plan beside those of the others of this process. What is for all of a waypoint's services is not for the others'. */
function merge(into: Merged, plan: TrafficPlan, served: ReadonlySet<string>): void {
  for (const [key, route] of plan.routes) if (!into.routes.has(key)) into.routes.set(key, route);
  for (const [key, destination] of plan.destinations)
    if (served.has(key) || !into.destinations.has(key)) into.destinations.set(key, destination);
  for (const limit of plan.rateLimits) {
    const known = into.rateLimits.get(limit.key);
    const targets = limit.targets.flatMap((target): readonly RateLimitTarget[] =>
      target.kind === "service" ? [target] : [...served].map((service) => ({ kind: "service", service })),
    );
    into.rateLimits.set(limit.key, { ...limit, targets: [...(known?.targets ?? []), ...targets] });
  }
}

/** What is wrong with documents is said where they are converted, once for all waypoints. */
const silent = { warn: () => {} };
