/** Whose traffic is planned, and who is told what is wrong with the documents. */
import type { MeshDocument } from "../documents/document.ts";
import type { DocumentWarning, Location } from "../location.ts";
import type { Service } from "../service.ts";

export interface TrafficScope {
  /** Null: no waypoint in particular; documents are only checked. */
  readonly waypoint: {
    readonly namespace: string;
    /** `namespace/name` of the Gateways that it is an instance of. */
    readonly gateways: readonly string[];
    /** Sidecar mode: the workload whose own calls are routed. Its labels are known, and it is in front of its own services alone. */
    readonly client?: {
      readonly labels: ReadonlyMap<string, string>;
      /** Whether the limits of a service are counted in front of the workload. */
      readonly limits: (service: Service) => boolean;
    };
  } | null;
  /** Whether the waypoint is in front of the service; in sidecar mode whether calls of it are routed by the client. */
  readonly serves: (service: Service) => boolean;
  readonly rootNamespace: string;
}

/** `ConversionReport` is one. */
export interface TrafficReport {
  warn(document: MeshDocument, reason: DocumentWarning["reason"], message: string, location?: Location): void;
}

/** Routes are for services of their own namespace, or for all of a waypoint of it (Istio `getVirtualServiceForWaypoint`). */
export function mayRoute(namespace: string, service: Service, scope: TrafficScope): boolean {
  return namespace === service.namespace || scope.waypoint === null || namespace === scope.waypoint.namespace;
}
