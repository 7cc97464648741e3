/** One endpoint of a cluster, with what is known of it from the requests it was sent. It outlives changes of the cluster's endpoints. */
import type { Locality, Workload } from "../../mesh/workload.ts";
import type { Endpoint } from "../exchange.ts";
import { type EjectionState, newEjectionState } from "./outlier.ts";

/** An endpoint as the mesh knows it. */
export interface UpstreamEndpoint {
  readonly workload: Workload;
  /** Of the application. */
  readonly targetPort: number;
  /** In the numbers of its level: 0 first. Lower ones are used as long as enough of them are healthy. */
  readonly priority: number;
  /** 0: only when there is no other way. */
  readonly weight: number;
}

export class UpstreamHost {
  /** The same for the same endpoint, always: what hashes rest on. */
  readonly key: string;
  endpoint: UpstreamEndpoint;
  /** As whoever sends to it sees it; kept by its cluster. */
  as: Endpoint | null = null;
  /** Requests under way. */
  active = 0;
  readonly ejection: EjectionState = newEjectionState();
  /** Monotonic: when it came, for the warm-up. */
  readonly since: number;

  constructor(endpoint: UpstreamEndpoint, since: number) {
    this.key = hostKey(endpoint);
    this.endpoint = endpoint;
    this.since = since;
  }

  get locality(): Locality {
    return this.endpoint.workload.locality;
  }

  get isEjected(): boolean {
    return this.ejection.ejectedUntil !== null;
  }
}

/** The uid alone would do, but one workload may serve a port twice while its entry changes. */
export function hostKey({ workload, targetPort }: UpstreamEndpoint): string {
  return `${workload.uid}:${targetPort}`;
}
