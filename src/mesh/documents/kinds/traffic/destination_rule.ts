/** DestinationRule (Istio `ValidateDestinationRule`). */
import { trafficLimits } from "../../../../base/limits/traffic.ts";
import type { Location } from "../../../location.ts";
import type { DestinationRuleDocument, Metadata } from "../../document.ts";
import { type Located, type ObjectReader, type Problems, quote } from "../../reader.ts";
import type { SubsetSpec } from "../../traffic_specs.ts";
import { isDnsLabel, isServiceHost, normalHost } from "../address.ts";
import { checkCount } from "../bounds.ts";
import { readLabels } from "../labels.ts";
import { readExportTo } from "./export_to.ts";
import { readTrafficPolicy } from "./traffic_policy.ts";

const fields = {
  known: ["host", "trafficPolicy", "subsets", "exportTo"],
  unsupported: { workloadSelector: "a waypoint's rules are for all who call the service" },
};

export function readDestinationRule(
  root: ObjectReader,
  metadata: Metadata,
  location: Location,
  problems: Problems,
): DestinationRuleDocument | null {
  const spec = root.object("spec", fields);
  if (spec === null) {
    if (!root.has("spec")) problems.add(root.at, "spec is missing");
    return null;
  }
  const host = readHost(spec, problems);
  const policy = readTrafficPolicy(spec, metadata.namespace, problems);
  const subsets = readSubsets(spec, metadata.namespace, problems);
  const exportTo = readExportTo(spec, metadata.namespace, problems);
  if (host === null) return null;
  return {
    kind: "DestinationRule",
    metadata,
    location,
    warnings: [],
    spec: { host, exportTo, policy, subsets },
  };
}

function readHost(spec: ObjectReader, problems: Problems): Located<string> | null {
  const host = spec.requiredString("host");
  if (host === null) return null;
  if (host.value !== "*" && !isServiceHost(host.value))
    problems.add(
      host.at,
      `spec.host: ${quote(host.value)} is not a host name, nor one that begins with "*."`,
      host.value,
    );
  return { value: normalHost(host.value), at: host.at };
}

function readSubsets(spec: ObjectReader, namespace: string, problems: Problems): readonly SubsetSpec[] {
  const readers = spec.objects("subsets", { known: ["name", "labels", "trafficPolicy"] });
  checkCount(spec, "subsets", readers.length, trafficLimits.maxSubsets, problems);
  const seen = new Set<string>();
  return readers.flatMap((reader): SubsetSpec[] => {
    const name = reader.requiredString("name");
    const labels = readLabels(reader, "labels", problems);
    const policy = readTrafficPolicy(reader, namespace, problems);
    if (name === null) return [];
    if (!isDnsLabel(name.value))
      problems.add(name.at, `${reader.path("name")}: ${quote(name.value)} is not a name`, name.value);
    if (seen.has(name.value))
      problems.add(name.at, `spec.subsets: ${quote(name.value)} is given twice`, name.value);
    seen.add(name.value);
    const plain = new Map([...labels].map(([label, { value }]) => [label, value]));
    return [{ at: reader.at, name: name.value, labels: plain, policy }];
  });
}
