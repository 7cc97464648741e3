/** ReferenceGrant (Gateway API v1beta1): which routes of other namespaces may send to services of this one. */
import { trafficLimits } from "../../../../base/limits/traffic.ts";
import type { Location } from "../../../location.ts";
import type { Metadata, ReferenceGrantDocument } from "../../document.ts";
import { type ObjectReader, type Problems, quote } from "../../reader.ts";
import { isDnsLabel } from "../address.ts";
import { checkCount } from "../bounds.ts";

/** What may refer, and to what; anything else in a grant has no effect here, and is said so. */
const routeKinds: readonly string[] = ["HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute"];
const gatewayGroup = "gateway.networking.k8s.io";
const targetGroups: Readonly<Record<string, string>> = { Service: "", ServiceEntry: "networking.istio.io" };

export function readReferenceGrant(
  root: ObjectReader,
  metadata: Metadata,
  location: Location,
  problems: Problems,
): ReferenceGrantDocument | null {
  const spec = root.object("spec", { known: ["from", "to"] });
  if (spec === null) {
    if (!root.has("spec")) problems.add(root.at, "spec is missing");
    return null;
  }
  for (const field of ["from", "to"]) {
    checkCount(spec, field, spec.list(field).length, trafficLimits.maxGrantItems, problems);
    if (spec.list(field).length === 0)
      problems.add(spec.where(field), `spec.${field} must have at least one entry`);
  }
  const from = spec.objects("from", { known: ["group", "kind", "namespace"] }).flatMap((reader) => {
    const group = reader.string("group")?.value ?? "";
    const kind = reader.requiredString("kind");
    const namespace = reader.requiredString("namespace");
    if (kind === null || namespace === null) return [];
    if (!isDnsLabel(namespace.value))
      problems.add(
        namespace.at,
        `${reader.path("namespace")}: ${quote(namespace.value)} is not a namespace`,
        namespace.value,
      );
    if (group === gatewayGroup && routeKinds.includes(kind.value))
      return [{ kind: kind.value, namespace: namespace.value }];
    ignored(reader, kind.value, problems);
    return [];
  });
  const to = spec.objects("to", { known: ["group", "kind", "name"] }).flatMap((reader) => {
    const group = reader.string("group")?.value ?? "";
    const kind = reader.requiredString("kind");
    if (kind === null) return [];
    const known = Object.hasOwn(targetGroups, kind.value) ? targetGroups[kind.value] : undefined;
    if (known === group) return [{ kind: kind.value, name: reader.string("name")?.value || null }];
    ignored(reader, kind.value, problems);
    return [];
  });
  return { kind: "ReferenceGrant", metadata, location, warnings: [], spec: { from, to } };
}

function ignored(reader: ObjectReader, kind: string, problems: Problems): void {
  problems.warn(
    reader.at,
    "Ignored",
    `${reader.name}: ${quote(kind)} of this group is nothing that is referred by or to here`,
  );
}
