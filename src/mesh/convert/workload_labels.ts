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

/**
 * All that the workload says of itself, as plain words, and where it is (Istio `labelutil.AugmentLabels`): what subsets and locality
 * settings go by.
 */
export function ownLabels(document: Holder, spec: EndpointSpec): ReadonlyMap<string, string> {
  const { labels } = document.metadata;
  const said = document.kind === "ServiceEntry" ? [labels, spec.labels] : [spec.labels, labels];
  const own = new Map(said.flatMap((some) => [...some].map(([name, { value }]) => [name, value] as const)));
  const { region, zone, subzone } = spec.locality;
  const places = [
    ["topology.kubernetes.io/region", region],
    ["topology.kubernetes.io/zone", zone],
    ["topology.istio.io/subzone", subzone],
    ["topology.istio.io/network", spec.network ?? ""],
  ] as const;
  for (const [name, value] of places) if (value !== "" && !own.has(name)) own.set(name, value);
  return own;
}
