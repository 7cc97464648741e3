/** What we say of our own workloads in `baggage`. */
import type { Workload } from "../mesh/workload.ts";
import { type Baggage, formatBaggage } from "../wire/headers.ts";

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

const texts = new WeakMap<Workload, string>();

/** The header. A workload is said with every connection, and changes with its documents alone, which make another object. */
export function baggageText(workload: Workload): string {
  const known = texts.get(workload);
  if (known !== undefined) return known;
  const text = formatBaggage(workloadBaggage(workload));
  texts.set(workload, text);
  return text;
}
