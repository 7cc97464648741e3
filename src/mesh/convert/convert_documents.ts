/**
 * Documents, taken together, → the mesh as tunnels see it, as istiod would make it. A document that cannot stand beside the
 * others is refused alone. Pure: the same documents give the same mesh.
 */

import { inSteps } from "../../base/turns/steps.ts";
import { runSteps } from "../../base/turns/time_slice.ts";
import type { Authorization } from "../authorization.ts";
import type { MeshDocument } from "../documents/document.ts";
import type { RefusedPolicy } from "../documents/refused_policy.ts";
import type { DocumentError } from "../location.ts";
import type { Service } from "../service.ts";
import { planTrafficInSteps } from "../traffic/plan_traffic.ts";
import { noTraffic } from "../traffic/traffic_plan.ts";
import type { Workload } from "../workload.ts";
import { Claims } from "./claims.ts";
import { ConversionCache } from "./conversion_cache.ts";
import type { ConversionContext } from "./conversion_context.ts";
import { ConversionReport, type DocumentStatus } from "./conversion_report.ts";
import { MeshAssembly } from "./mesh_assembly.ts";
import { checkWorkloadWords } from "./workload_entry.ts";

export interface Conversion {
  readonly workloads: readonly Workload[];
  readonly services: readonly Service[];
  readonly policies: readonly Authorization[];
  /** One for each document, in their order. */
  readonly statuses: readonly DocumentStatus[];
  readonly errors: readonly DocumentError[];
}

/**
 * @param refused policies that were refused before they became documents and have no good version; traffic they may concern is denied.
 * @param cache of earlier conversions in the same context.
 */
export function convertDocuments(
  documents: readonly MeshDocument[],
  context: ConversionContext,
  refused: readonly RefusedPolicy[] = [],
  cache: ConversionCache = new ConversionCache(),
): Conversion {
  return runSteps(convertInSteps(documents, context, refused, cache));
}

/** The same, in steps short enough to let connections have their turn in between: a mesh of ten thousand documents takes a while. */
export function* convertInSteps(
  documents: readonly MeshDocument[],
  context: ConversionContext,
  refused: readonly RefusedPolicy[],
  cache: ConversionCache,
): Generator<void, Conversion> {
  const report = new ConversionReport();
  const claims = new Claims(context, cache, report);
  const accepted: MeshDocument[] = [];
  yield* inSteps(documents, (document) => {
    if (checkWords(document, cache, report) && claims.take(document)) accepted.push(document);
  });
  const conversion = yield* MeshAssembly.of(accepted, refused, context, cache, report);
  yield* conversion.join();
  const services = yield* conversion.services();
  yield* checkTraffic(accepted, services, context, report);
  const policies = yield* conversion.policies();
  const workloads = yield* conversion.workloads();
  const statuses: DocumentStatus[] = [];
  yield* inSteps(documents, (document) => void statuses.push(cache.status(document, report)));
  return { workloads, services, policies, statuses, errors: report.errors() };
}

/** Documents about traffic are a waypoint's to act on; what they name and is not there is said here, once for all waypoints. */
function* checkTraffic(
  documents: readonly MeshDocument[],
  services: readonly Service[],
  { rootNamespace }: ConversionContext,
  report: ConversionReport,
): Generator<void> {
  if (!documents.some(({ kind }) => trafficKinds.has(kind))) return;
  const scope = { waypoint: null, serves: () => true, rootNamespace };
  yield* planTrafficInSteps(documents, services, scope, report, noTraffic);
}

const trafficKinds: ReadonlySet<MeshDocument["kind"]> = new Set([
  ...(["VirtualService", "DestinationRule", "HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute"] as const),
  ...(["BackendTLSPolicy", "RateLimit"] as const),
]);

function checkWords(document: MeshDocument, cache: ConversionCache, report: ConversionReport): boolean {
  if (document.kind === "WorkloadEntry") checkWorkloadWords(cache.source(document, document.spec), report);
  if (document.kind === "ServiceEntry") {
    for (const endpoint of document.endpoints) checkWorkloadWords(cache.source(document, endpoint), report);
  }
  // A node tunnel reads no tokens, and Istio's waypoints take policies by their targets alone.
  if (document.kind === "RequestAuthentication" && document.targetRefs.length === 0) {
    const message =
      "it names no target, and only a waypoint reads tokens: it has no effect without spec.targetRefs";
    report.warn(document, "Ignored", message);
  }
  return !report.isRefused(document);
}
