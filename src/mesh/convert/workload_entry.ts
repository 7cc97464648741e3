/** WorkloadEntry, and the endpoints of a ServiceEntry, → workloads (istiod `ambient/workloads.go`). */

import { ports } from "../../base/limits/ports.ts";
import { inSteps } from "../../base/turns/steps.ts";
import type {
  EndpointSpec,
  Labels,
  ServiceEntryDocument,
  WorkloadEntryDocument,
} from "../documents/document.ts";
import type { Located } from "../documents/reader.ts";
import { SpiffeId } from "../identity.ts";
import type { GatewayAddress, Workload } from "../workload.ts";
import type { ConversionContext } from "./conversion_context.ts";
import type { ConversionReport } from "./conversion_report.ts";
import { labelOf, ownLabels, selectableLabels } from "./workload_labels.ts";

/** A document or an endpoint of one, with the labels that selectors see. */
export interface WorkloadSource {
  readonly document: WorkloadEntryDocument | ServiceEntryDocument;
  readonly spec: EndpointSpec;
  readonly namespace: string;
  /** Those that selectors look at. */
  readonly labels: Labels;
}

/** What a workload gets from other documents. */
export interface WorkloadMembership {
  readonly services: Workload["services"];
  readonly authorizationPolicies: readonly string[];
  readonly waypoint: GatewayAddress | null;
  readonly networkGateway: GatewayAddress | null;
}

export function workloadSource(document: WorkloadSource["document"], spec: EndpointSpec): WorkloadSource {
  return { document, spec, namespace: document.metadata.namespace, labels: selectableLabels(document, spec) };
}

export function convertWorkload(
  source: WorkloadSource,
  membership: WorkloadMembership,
  context: ConversionContext,
): Workload {
  const { document, spec, labels, namespace } = source;
  const { name, annotations } = document.metadata;
  const address = spec.address.value;
  const hbone = isHbone(document, spec);
  return {
    uid: workloadUid(source, context),
    name,
    namespace,
    addresses: address.kind === "ip" ? [address.ip] : [],
    hostname: address.kind === "hostname" ? address.hostname : "",
    network: spec.network ?? context.network,
    tunnelProtocol: hbone ? "HBONE" : "NONE",
    trustDomain: context.trustDomain,
    serviceAccount: spec.serviceAccount,
    identity: new SpiffeId(context.trustDomain, namespace, spec.serviceAccount),
    ...membership,
    node: annotations.get("fairlead.dev/node")?.value ?? "",
    canonicalName: firstLabel(labels, canonicalNameLabels) ?? name,
    canonicalRevision: firstLabel(labels, canonicalRevisionLabels) ?? "latest",
    // istiod passes a WorkloadEntry off as a pod, too: the word goes into baggage and metrics.
    workloadType: "pod",
    workloadName: name,
    nativeTunnel: labelOf(document, spec, tunnel)?.value === "http",
    applicationTunnel: applicationTunnel(source),
    status: isHealthy(source) ? "HEALTHY" : "UNHEALTHY",
    clusterId: context.clusterId,
    locality: spec.locality,
    labels: ownLabels(document, spec),
    networkMode: "STANDARD",
    // istiod: a weight of 0 is no weight at all.
    capacity: spec.weight === null || spec.weight === 0 ? 1 : spec.weight,
    location: document.kind === "WorkloadEntry" ? document.location : spec.at,
  };
}

const tunnel = "networking.istio.io/tunnel";

/** A label or an annotation says that a tunnel takes the traffic (istiod `setTunnelProtocol`); without either it is plain TCP. */
export function isHbone(document: WorkloadSource["document"], spec: EndpointSpec): boolean {
  const { annotations } = document.metadata;
  return (
    annotations.get("ambient.istio.io/redirection")?.value === "enabled" ||
    labelOf(document, spec, tunnel)?.value === "http"
  );
}

/** As istiod makes them (`generateWorkloadEntryUID`, `generateServiceEntryUID`); a mesh without clusters has no cluster in front. */
function workloadUid(source: WorkloadSource, context: ConversionContext): string {
  const { document, spec, namespace } = source;
  const cluster = context.clusterId === "" ? "" : `${context.clusterId}/`;
  const base = `${cluster}networking.istio.io/${document.kind}/${namespace}/${document.metadata.name}`;
  if (document.kind === "WorkloadEntry") return base;
  const address = spec.address.value;
  return `${base}/${address.kind === "ip" ? address.ip.text : address.hostname}`;
}

const canonicalNameLabels = ["service.istio.io/canonical-name", "app.kubernetes.io/name", "app"];
const canonicalRevisionLabels = [
  "service.istio.io/canonical-revision",
  "app.kubernetes.io/version",
  "version",
];

function firstLabel(labels: Labels, names: readonly string[]): string | null {
  for (const name of names) {
    const value = labels.get(name)?.value;
    if (value !== undefined && value !== "") return value;
  }
  return null;
}

const bindingAnnotation = "ambient.istio.io/waypoint-inbound-binding";
const healthLabel = "fairlead.dev/health";

/** Refuses the document when one of its words about the workload is none we know: a guess would be about trust. */
export function checkWorkloadWords(source: WorkloadSource, report: ConversionReport): void {
  const binding = source.document.metadata.annotations.get(bindingAnnotation);
  if (binding !== undefined && applicationTunnel(source) === null) {
    report.refuse(
      source.document,
      binding.at,
      `${bindingAnnotation} must be PROXY/PORT, PROXY or NONE`,
      binding.value,
    );
  }
  const health = healthWord(source);
  if (health !== undefined && health.value !== "healthy" && health.value !== "unhealthy") {
    report.refuse(source.document, health.at, `${healthLabel} must be healthy or unhealthy`, health.value);
  }
}

/** `PROXY/15088`, `PROXY`, `NONE`. Istio has this on Gateways; here it is on the workload that is the waypoint. */
function applicationTunnel(source: WorkloadSource): Workload["applicationTunnel"] {
  const binding = source.document.metadata.annotations.get(bindingAnnotation);
  const match = /^(PROXY|NONE)(?:\/([1-9][0-9]{0,4}))?$/.exec(binding?.value ?? "");
  const port = Number(match?.[2] ?? 0);
  if (match === null || port > 65535) return null;
  return { protocol: match[1] === "PROXY" ? "PROXY" : "NONE", port };
}

/** Istio has no health on a WorkloadEntry; a label or an annotation says it here. */
function healthWord(source: WorkloadSource): Located<string> | undefined {
  const { document, spec } = source;
  return labelOf(document, spec, healthLabel) ?? document.metadata.annotations.get(healthLabel);
}

function isHealthy(source: WorkloadSource): boolean {
  const word = healthWord(source);
  return word === undefined || word.value === "healthy";
}

/**
 * Network gateways by the network they lead to: WorkloadEntries annotated `fairlead.dev/gateway-for-network`. In Istio these are
 * Gateways labelled `topology.istio.io/network`.
 */
export function* networkGateways(
  sources: readonly WorkloadSource[],
  context: ConversionContext,
): Generator<void, ReadonlyMap<string, GatewayAddress>> {
  const gateways = new Map<string, GatewayAddress>();
  yield* inSteps(sources, ({ document, spec, namespace }) => {
    const network = document.metadata.annotations.get("fairlead.dev/gateway-for-network")?.value;
    if (network === undefined || gateways.has(network)) return;
    const address = spec.address.value;
    const hboneMtlsPort = ports.hbone;
    gateways.set(
      network,
      address.kind === "ip"
        ? { kind: "address", network: spec.network ?? context.network, ip: address.ip, hboneMtlsPort }
        : { kind: "hostname", namespace, hostname: address.hostname, hboneMtlsPort },
    );
  });
  return gateways;
}

/** Every port of the service, by the endpoint's port of that name, else the service's own target (istiod `constructServicesFromWorkloadEntry`). */
export function endpointPorts(
  service: ServiceEntryDocument,
  endpoint: EndpointSpec,
): ReadonlyMap<number, number> {
  return new Map(
    service.ports.map(({ number, name, targetPort }) => [
      number,
      endpoint.ports.get(name)?.value ?? targetPort ?? number,
    ]),
  );
}
