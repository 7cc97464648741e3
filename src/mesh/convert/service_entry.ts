/** ServiceEntry → services, one for each host (istiod `ambient/services.go`). */

import { inSteps, mapInSteps } from "../../base/turns/steps.ts";
import type { Labels, ServiceEntryDocument } from "../documents/document.ts";
import { SpiffeId } from "../identity.ts";
import type { LoadBalancing, Service } from "../service.ts";
import type { ConversionCache } from "./conversion_cache.ts";
import type { ConversionContext } from "./conversion_context.ts";
import type { ConversionReport } from "./conversion_report.ts";
import type { WaypointLabels } from "./waypoint_labels.ts";

const trafficDistribution = "networking.istio.io/traffic-distribution";

export function convertServiceEntry(
  document: ServiceEntryDocument,
  waypoints: WaypointLabels,
  context: ConversionContext,
  cache: ConversionCache,
  report: ConversionReport,
): readonly Service[] {
  const { namespace } = document.metadata;
  const loadBalancing = balancing(document, waypoints.namespace(namespace)?.metadata.annotations, report);
  const waypoint = waypoints.forService(document);
  warn(document, context, report);
  const weightedWaypoints = waypoints.weightedForService(document, waypoint);
  return cache.services(document, { waypoint, weightedWaypoints, loadBalancing }, context);
}

/**
 * Of the services that share a host name, the oldest public one is canonical: it answers clients of namespaces that have none
 * (istiod `selectWorkloadServices`). Documents without a creation time count as created in the order they are in.
 */
export function* markCanonical(
  services: readonly { readonly service: Service; readonly createdMs: number | null }[],
  cache: ConversionCache,
): Generator<void, readonly Service[]> {
  const canonical = new Map<string, { readonly service: Service; readonly createdMs: number | null }>();
  yield* inSteps(services, (entry) => {
    if (entry.service.visibility === "NAMESPACE") return;
    const best = canonical.get(entry.service.hostname);
    if (best === undefined || isOlder(entry.createdMs, best.createdMs))
      canonical.set(entry.service.hostname, entry);
  });
  return yield* mapInSteps(services, (entry) =>
    canonical.get(entry.service.hostname) === entry ? cache.canonical(entry.service) : entry.service,
  );
}

/** Strictly: of equals, and where a time is missing, the first in the order of documents stays. */
export function isOlder(createdMs: number | null, otherMs: number | null): boolean {
  return createdMs !== null && otherMs !== null && createdMs < otherMs;
}

const standard: LoadBalancing = { routingPreferences: [], mode: "STANDARD", healthPolicy: "ONLY_HEALTHY" };
const passthrough: LoadBalancing = { routingPreferences: [], mode: "PASSTHROUGH", healthPolicy: "ALLOW_ALL" };
const sameZone: LoadBalancing = {
  routingPreferences: ["NETWORK", "REGION", "ZONE"],
  mode: "FAILOVER",
  healthPolicy: "ONLY_HEALTHY",
};
const sameNode: LoadBalancing = {
  routingPreferences: ["NETWORK", "REGION", "ZONE", "SUBZONE", "NODE"],
  mode: "FAILOVER",
  healthPolicy: "ONLY_HEALTHY",
};

/** PreferClose is the older word for PreferSameZone. */
const distributions: Readonly<Record<string, LoadBalancing>> = {
  Any: standard,
  PreferClose: sameZone,
  PreferSameZone: sameZone,
  PreferSameNode: sameNode,
};

/** The document's own annotation, else its namespace's. */
function balancing(
  document: ServiceEntryDocument,
  inherited: Labels | undefined,
  report: ConversionReport,
): LoadBalancing {
  if (document.resolution === "NONE") return passthrough;
  const annotation =
    document.metadata.annotations.get(trafficDistribution) ?? inherited?.get(trafficDistribution);
  if (annotation === undefined) return standard;
  const distribution = distributions[annotation.value];
  if (distribution !== undefined) return distribution;
  const words = Object.keys(distributions).join(", ");
  report.warn(
    document,
    "Ignored",
    `${trafficDistribution} must be one of ${words}, not ${JSON.stringify(annotation.value)}`,
    annotation.at,
  );
  return standard;
}

function warn(
  document: ServiceEntryDocument,
  { trustDomain }: ConversionContext,
  report: ConversionReport,
): void {
  for (const { value, at } of document.subjectAltNames) {
    const id = SpiffeId.parse(value);
    if (id === null || id.trustDomain === trustDomain) continue;
    const meant = new SpiffeId(trustDomain, id.namespace, id.serviceAccount).uri;
    const message = `${JSON.stringify(value)} is of another trust domain than this mesh's, ${trustDomain}, and matches no server; did you mean ${meant}?`;
    report.warn(document, "Ignored", message, at);
  }

  if (document.addresses.length === 0 && document.resolution !== "NONE") {
    const message =
      "without spec.addresses it has no VIP: call it by name, through --dns with capture, SOCKS5, HTTP CONNECT or a mapped port";
    report.warn(document, "NoAddress", message);
  }
  const [first, ...others] = document.hosts;
  if (document.addresses.length > 0 && first !== undefined && others.length > 0) {
    report.warn(
      document,
      "Ignored",
      `its hosts share spec.addresses, which then belong to the first host by name`,
      first.at,
    );
  }
  if (
    document.endpoints.length === 0 &&
    document.workloadSelector === null &&
    document.resolution === "STATIC"
  ) {
    report.warn(
      document,
      "Ignored",
      "spec.resolution is STATIC, but it has neither endpoints nor a workloadSelector",
    );
  }
}
