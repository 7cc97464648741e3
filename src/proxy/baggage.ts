/** What we say of our own workloads in `baggage`. */
import type { Workload } from "../mesh/workload.ts";
import type { Baggage } from "../wire/headers.ts";

export function workloadBaggage(workload: Workload): Baggage {
  return {
    cluster: workload.clusterId,
    namespace: workload.namespace,
    workloadType: workload.workloadType,
    workloadName: workload.workloadName,
    serviceName: workload.canonicalName,
    serviceVersion: workload.canonicalRevision,
    region: workload.locality.region,
    zone: workload.locality.zone,
  };
}
