/** The endpoints of one service: the workloads that name it, with their own port maps. */

import { compareText } from "../../base/turns/steps.ts";
import type { Service } from "../service.ts";
import type { Workload } from "../workload.ts";

export interface Endpoint {
  readonly workload: Workload;
  /** Service port → target port of this endpoint; it wins over the service's own map. */
  readonly ports: ReadonlyMap<number, number>;
}

/**
 * Kept whether or not the service is known yet, so the order in which workloads and services arrive is free (ztunnel calls
 * these "staged"). Unhealthy workloads are kept too and left out when read, so that a change of health policy needs no rebuild.
 */
export class EndpointSet {
  readonly #byUid = new Map<string, Endpoint>();
  #healthy: readonly Endpoint[] | null = null;
  #all: readonly Endpoint[] | null = null;

  get isEmpty(): boolean {
    return this.#byUid.size === 0;
  }

  set(endpoint: Endpoint): void {
    this.#byUid.set(endpoint.workload.uid, endpoint);
    this.#forget();
  }

  delete(uid: string): void {
    this.#byUid.delete(uid);
    this.#forget();
  }

  get(uid: string): Endpoint | null {
    return this.#byUid.get(uid) ?? null;
  }

  /** Ordered by uid: the same mesh gives the same order however it came about. The list is made once per change, then shared. */
  select(healthPolicy: Service["loadBalancing"]["healthPolicy"]): readonly Endpoint[] {
    this.#all ??= [...this.#byUid.values()].sort((a, b) => compareText(a.workload.uid, b.workload.uid));
    if (healthPolicy === "ALLOW_ALL") return this.#all;
    this.#healthy ??= this.#all.filter((endpoint) => endpoint.workload.status === "HEALTHY");
    return this.#healthy;
  }

  #forget(): void {
    this.#healthy = null;
    this.#all = null;
  }
}
