/**
 * Workloads and services → `istio.workload.Address`, as ztunnel takes them (its `proto/workload.proto`,
 * `src/state/workload.rs`). The same value gives the same bytes.
 */

import {
  ApplicationTunnel_Protocol,
  AppProtocol,
  IPFamilies,
  LoadBalancing_HealthPolicy,
  LoadBalancing_Mode,
  LoadBalancing_Scope,
  NetworkMode,
  Service_Visibility,
  TunnelProtocol,
  WorkloadStatus,
  WorkloadType,
} from "../../wire/messages/istio_workload.gen.ts";
import { encodeAddressMessage, labelsExtension } from "../../wire/messages/mesh_resources.ts";
import type { LoadBalancing, NetworkAddress, Service, ServicePort } from "../service.ts";
import type { GatewayAddress, Workload } from "../workload.ts";

/**
 * Where it was written is left out, unlike with policies: a line added at the top of a file would be a change of every workload
 * below it, for every node.
 */
export function encodeWorkload(workload: Workload): Uint8Array {
  const { applicationTunnel, waypoint, networkGateway } = workload;
  const value = {
    uid: workload.uid,
    name: workload.name,
    namespace: workload.namespace,
    addresses: workload.addresses.map(({ bytes }) => bytes),
    hostname: workload.hostname,
    network: workload.network,
    tunnelProtocol: TunnelProtocol[workload.tunnelProtocol],
    // Said even where ztunnel has a default: its default is not ours to count on.
    trustDomain: workload.trustDomain,
    serviceAccount: workload.serviceAccount,
    clusterId: workload.clusterId,
    node: workload.node,
    canonicalName: workload.canonicalName,
    canonicalRevision: workload.canonicalRevision,
    workloadType: workloadTypes[workload.workloadType],
    workloadName: workload.workloadName,
    nativeTunnel: workload.nativeTunnel,
    services: encodeServices(workload.services),
    authorizationPolicies: [...workload.authorizationPolicies],
    status: WorkloadStatus[workload.status],
    networkMode: NetworkMode[workload.networkMode],
    ...(workload.labels.size === 0 ? {} : { extensions: [labelsExtension(sortedLabels(workload))] }),
    ...(hasLocality(workload) ? { locality: workload.locality } : {}),
    ...(workload.capacity === 1 ? {} : { capacity: workload.capacity }),
    ...(waypoint === null ? {} : { waypoint: encodeGateway(waypoint) }),
    ...(networkGateway === null ? {} : { networkGateway: encodeGateway(networkGateway) }),
    ...(applicationTunnel === null
      ? {}
      : {
          applicationTunnel: {
            protocol: ApplicationTunnel_Protocol[applicationTunnel.protocol],
            port: applicationTunnel.port,
          },
        }),
  };
  return encodeAddressMessage({ type: { case: "workload", value } });
}

export function encodeService(service: Service): Uint8Array {
  const { waypoint, loadBalancing } = service;
  const value = {
    name: service.name,
    namespace: service.namespace,
    hostname: service.hostname,
    addresses: [
      ...service.addresses.map(encodeNetworkAddress),
      ...service.cidrAddresses.map(({ network, prefix }) => ({
        network,
        address: prefix.ip.bytes,
        length: prefix.length,
      })),
    ],
    ports: [...service.ports.values()].sort((a, b) => a.servicePort - b.servicePort).map(encodePort),
    subjectAltNames: [...service.subjectAltNames],
    weightedWaypoints: service.weightedWaypoints.map(({ destination, weight }) => ({
      destination: encodeGateway(destination),
      weight,
    })),
    ipFamilies: IPFamilies[service.ipFamilies],
    canonical: service.canonical,
    visibility: Service_Visibility[service.visibility],
    ...(waypoint === null ? {} : { waypoint: encodeGateway(waypoint) }),
    ...(isPlain(loadBalancing) ? {} : { loadBalancing: encodeLoadBalancing(loadBalancing) }),
  };
  return encodeAddressMessage({ type: { case: "service", value } });
}

const workloadTypes = {
  deployment: WorkloadType.DEPLOYMENT,
  cronjob: WorkloadType.CRONJOB,
  pod: WorkloadType.POD,
  job: WorkloadType.JOB,
} as const;

function sortedLabels({ labels }: Workload) {
  return [...labels].map(([name, value]) => ({ name, value })).sort((a, b) => (a.name < b.name ? -1 : 1));
}

function hasLocality({ locality }: Workload): boolean {
  return locality.region !== "" || locality.zone !== "" || locality.subzone !== "";
}

/** Sorted: the order in which documents were joined is not told, and does not change the version. */
function encodeServices(services: Workload["services"]) {
  const sorted = [...services].sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(
    sorted.map(([key, ports]) => [
      key,
      {
        ports: [...ports]
          .sort(([a], [b]) => a - b)
          .map(([servicePort, targetPort]) => ({ servicePort, targetPort })),
      },
    ]),
  );
}

function encodePort({ servicePort, targetPort, protocol }: ServicePort) {
  return { servicePort, targetPort, appProtocol: AppProtocol[protocol] };
}

function encodeNetworkAddress({ network, ip }: NetworkAddress) {
  return { network, address: ip.bytes };
}

function encodeGateway(gateway: GatewayAddress) {
  const { hboneMtlsPort } = gateway;
  if (gateway.kind === "address") {
    return { destination: { case: "address" as const, value: encodeNetworkAddress(gateway) }, hboneMtlsPort };
  }
  const { namespace, hostname } = gateway;
  return { destination: { case: "hostname" as const, value: { namespace, hostname } }, hboneMtlsPort };
}

/** No `load_balancing` at all means the same to ztunnel. */
function isPlain({ mode, healthPolicy, routingPreferences }: LoadBalancing): boolean {
  return mode === "STANDARD" && healthPolicy === "ONLY_HEALTHY" && routingPreferences.length === 0;
}

function encodeLoadBalancing({ mode, healthPolicy, routingPreferences }: LoadBalancing) {
  return {
    routingPreference: routingPreferences.map((scope) => LoadBalancing_Scope[scope]),
    mode: mode === "STANDARD" ? LoadBalancing_Mode.UNSPECIFIED_MODE : LoadBalancing_Mode[mode],
    healthPolicy: LoadBalancing_HealthPolicy[healthPolicy],
  };
}
