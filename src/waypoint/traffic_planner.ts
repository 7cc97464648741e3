/** Keeps what a waypoint does with traffic in step with the documents and the services: planned again when either changed. */
import { TimeSlice } from "../base/time_slice.ts";
import type { Watch } from "../base/watch.ts";
import type { Clock } from "../host/host.ts";
import type { DocumentsInForce } from "../mesh/documents/in_force.ts";
import type { MeshStore } from "../mesh/store/store.ts";
import { planTraffic, planTrafficInSteps } from "../mesh/traffic/plan_traffic.ts";
import { noTraffic, type TrafficPlan } from "../mesh/traffic/traffic_plan.ts";
import type { TrafficScope } from "../mesh/traffic/traffic_scope.ts";

export interface PlannerParts {
  readonly clock: Clock;
  readonly store: MeshStore;
  /** Null while they are not known. */
  readonly documents: Watch<DocumentsInForce | null>;
  readonly rootNamespace: string;
  /** `namespace/name` of the waypoint. */
  readonly waypoint: string;
  /** Once for each plan, with the documents that it was made of. */
  readonly onPlan: (plan: TrafficPlan, documents: DocumentsInForce) => void;
}

export class TrafficPlanner {
  readonly #parts: PlannerParts;
  readonly #scope: TrafficScope;
  #plan = noTraffic;
  #isPlanning = false;
  #isStale = false;
  readonly #stops: readonly (() => void)[];

  /** The first plan is made at once: no request is to be answered as if there were no documents. */
  constructor(parts: PlannerParts) {
    this.#parts = parts;
    const [namespace = "", name = ""] = parts.waypoint.split("/");
    this.#scope = {
      waypoint: { namespace, name },
      serves: ({ waypoint, weightedWaypoints }) => waypoint !== null || weightedWaypoints.length > 0,
      rootNamespace: parts.rootNamespace,
    };
    const documents = parts.documents.value;
    if (documents !== null)
      this.#take(planTraffic(documents.documents, this.#services(), this.#scope, silent), documents);
    this.#stops = [
      parts.documents.subscribe(() => this.#again()),
      parts.store.subscribe(({ services }) => {
        if (services !== undefined) this.#again();
      }),
    ];
  }

  stop(): void {
    for (const stop of this.#stops) stop();
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
        const steps = planTrafficInSteps(
          documents.documents,
          this.#services(),
          this.#scope,
          silent,
          this.#plan,
        );
        const plan = await new TimeSlice(this.#parts.clock).run(steps);
        this.#take(plan, documents);
      }
    } finally {
      this.#isPlanning = false;
    }
  }

  #services() {
    return [...this.#parts.store.services()];
  }

  #take(plan: TrafficPlan, documents: DocumentsInForce): void {
    this.#plan = plan;
    this.#parts.onPlan(plan, documents);
  }
}

/** What is wrong with documents is said where they are converted, once for all waypoints. */
const silent = { warn: () => {} };
