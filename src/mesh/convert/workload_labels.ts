/**
 * Which labels a workload has. A WorkloadEntry's are in two places, and those of its metadata win (istiod
 * `ConvertClientWorkloadEntry` of `serviceentry/conversion.go`). An endpoint of a ServiceEntry has its own, while
 * policies select it by those of its ServiceEntry (istiod `serviceEntryWorkloadBuilder` of `ambient/workloads.go`).
 */
import type {
  EndpointSpec,
  Labels,
  ServiceEntryDocument,
  WorkloadEntryDocument,
} from "../documents/document.ts";
import type { Located } from "../documents/reader.ts";

type Holder = WorkloadEntryDocument | ServiceEntryDocument;

/** What selectors of policies and services look at. */
export function selectableLabels(document: Holder, spec: EndpointSpec): Labels {
  const { labels } = document.metadata;
  return document.kind === "ServiceEntry" || spec.labels.size === 0
    ? labels
    : new Map([...spec.labels, ...labels]);
}

/** What the workload says of itself; what an endpoint does not say, its ServiceEntry may say for it. */
export function labelOf(document: Holder, spec: EndpointSpec, name: string): Located<string> | undefined {
  const { labels } = document.metadata;
  return document.kind === "ServiceEntry"
    ? (spec.labels.get(name) ?? labels.get(name))
    : (labels.get(name) ?? spec.labels.get(name));
}
