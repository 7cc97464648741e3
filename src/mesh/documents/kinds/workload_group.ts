/** WorkloadGroup: what a WorkloadEntry would say, but for the address, of every host that joins it. */

import type { DocumentWarning, Location } from "../../location.ts";
import type { Metadata, WorkloadGroupDocument } from "../document.ts";
import type { ObjectReader, Problems } from "../reader.ts";
import { readLabels } from "./labels.ts";
import { checkProbe } from "./probe.ts";
import { endpointFields, readEndpointTemplate } from "./workload_entry.ts";

const fields = { known: ["metadata", "template", "probe"] };
const entryMetadataFields = { known: ["labels", "annotations"] };
const templateFields = {
  known: endpointFields.known.filter((field) => field !== "address"),
  unsupported: { address: "each host has its own" },
};

export function readWorkloadGroup(
  root: ObjectReader,
  metadata: Metadata,
  location: Location,
  problems: Problems,
): WorkloadGroupDocument | null {
  const spec = root.object("spec", fields);
  if (spec === null) {
    if (!root.has("spec")) problems.add(root.at, "spec is missing");
    return null;
  }
  if (!spec.has("template")) problems.add(spec.at, "spec.template is missing");
  const template = spec.object("template", templateFields);
  const entry = spec.object("metadata", entryMetadataFields);
  checkProbe(spec, problems);
  const entryLabels = entry === null ? new Map() : readLabels(entry, "labels", problems);
  if (template === null) return null;
  return {
    kind: "WorkloadGroup",
    metadata,
    location,
    warnings: probeWarnings(spec),
    entryLabels,
    entryAnnotations: entry?.stringMap("annotations") ?? new Map(),
    template: readEndpointTemplate(template, problems),
  };
}

/** Istio's agent would probe the application and take an unhealthy host out of its services. */
function probeWarnings(spec: ObjectReader): DocumentWarning[] {
  if (!spec.has("probe")) return [];
  const message = "spec.probe is not carried out; a host counts as healthy while it is connected";
  return [{ location: spec.where("probe"), reason: "Ignored", message }];
}
