/**
 * What a workload with the application inside its tunnel (sidecar mode, `--l7`) does: the policies that its requests are decided by, those
 * that are left for its connections (`policy/split_engine`), and which documents route its own calls.
 */
import { authorizationKey } from "../../mesh/authorization.ts";
import type { MeshDocument } from "../../mesh/documents/document.ts";
import { hasWaypoint } from "../../mesh/route/client_route.ts";
import type { Service } from "../../mesh/service.ts";
import type { MeshStore } from "../../mesh/store/store.ts";
import { serviceTargets, targetKey } from "../../mesh/targets/targets.ts";
import { hostCovers, ServiceLookup } from "../../mesh/traffic/service_lookup.ts";
import type { Workload } from "../../mesh/workload.ts";
import { PolicySet } from "../policy_set.ts";
import { type RequestFacts, traceRequests, type WaypointTrace } from "./waypoint_trace.ts";

/** Of the workload's namespace and the root namespace those that select it; with targets, those for its services without a waypoint. */
export function traceInside(
  documents: readonly MeshDocument[],
  store: MeshStore,
  rootNamespace: string,
  workload: Workload,
  call: RequestFacts,
): WaypointTrace {
  const services = [...workload.services.keys()].flatMap((key) => store.serviceByKey(key) ?? []);
  const keys = new Set(services.filter((service) => !hasWaypoint(service)).flatMap(serviceTargets));
  const applying = documents.filter((document) => {
    if (
      document.kind !== "AuthorizationPolicy" &&
      document.kind !== "RequestAuthentication" &&
      document.kind !== "AccessCondition"
    )
      return false;
    const { namespace, name } = document.metadata;
    // An AccessCondition has no other way to say what it is for.
    if (document.kind === "AccessCondition" || document.targetRefs.length > 0)
      return document.targetRefs.some(({ value }) => keys.has(targetKey(namespace, value)));
    if (workload.authorizationPolicies.includes(`${namespace}/${name}`)) return true;
    if (namespace !== workload.namespace && namespace !== rootNamespace) return false;
    return [...(document.selector ?? [])].every(([label, { value }]) => workload.labels.get(label) === value);
  });
  return traceRequests(applying, call, "no policy is for its requests");
}

/** What decides on its connections: all but what its requests are decided by. */
export function connectionPolicies(
  documents: readonly MeshDocument[],
  store: MeshStore,
  workload: Workload,
): { readonly policies: PolicySet; readonly workload: Workload } {
  const elsewhere = new Set(
    documents.flatMap((document) =>
      document.kind === "AuthorizationPolicy" && document.targetRefs.length === 0
        ? [`${document.metadata.namespace}/${document.metadata.name}`]
        : [],
    ),
  );
  const rest = [...store.policies()].filter((policy) => !elsewhere.has(authorizationKey(policy)));
  const authorizationPolicies = workload.authorizationPolicies.filter((key) => !elsewhere.has(key));
  return { policies: new PolicySet(rest), workload: { ...workload, authorizationPolicies } };
}

/** Which documents may route calls of the service, in words. */
export function routesInside(
  documents: readonly MeshDocument[] | null,
  source: Workload,
  service: Service,
): string {
  if (documents === null)
    return "each request is routed on its own host, by documents that are not known here";
  const lookup = new ServiceLookup([service], documents);
  const names = documents.flatMap((document) => {
    const { namespace, name } = document.metadata;
    if (namespace !== service.namespace && namespace !== source.namespace) return [];
    if (document.kind === "VirtualService") {
      const { hosts, appliesToMesh } = document.spec;
      if (!appliesToMesh || !hosts.some(({ value }) => hostCovers(value, namespace, service))) return [];
    } else if (document.kind === "HTTPRoute" || document.kind === "GRPCRoute") {
      if (document.spec.parents.every((parent) => lookup.byRef(parent, namespace).length === 0)) return [];
    } else return [];
    return [`${document.kind} ${namespace}/${name}`];
  });
  return names.length === 0
    ? "each request goes to an endpoint that its own host chooses; no route is for the service"
    : `each request is routed on its own host, by ${names.join(", ")}`;
}
