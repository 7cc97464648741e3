/**
 * The mesh as ztunnel's `/config_dump` shows it, field by field as its serde attributes say (`state/workload.rs`,
 * `state/service.rs`, `rbac.rs`), so that `istioctl ztunnel-config` reads it. Fields that ztunnel leaves out at their default are left out.
 */
import type { IpAddress } from "../../base/ip.ts";
import { formatPrefix } from "../../base/prefix.ts";
import { compareText } from "../../base/turns/steps.ts";
import type { Authorization, Match, StringMatch } from "../authorization.ts";
import { type LoadBalancing, type Service, serviceKey } from "../service.ts";
import type { Endpoint } from "../store/endpoints.ts";
import type { MeshStore } from "../store/store.ts";
import type { GatewayAddress, Workload } from "../workload.ts";

export type JsonObject = { readonly [name: string]: unknown };

export interface MeshDump {
  /** Sorted by uid. */
  readonly workloads: readonly JsonObject[];
  /** Sorted by host name. */
  readonly services: readonly JsonObject[];
  /** Sorted by `namespace/name`. */
  readonly policies: readonly JsonObject[];
  /** `namespace/hostname` of services that are not known, with the endpoints that wait for them. */
  readonly stagedServices: JsonObject;
}

export function dumpMesh(store: MeshStore): MeshDump {
  const workloads = [...store.workloads()].sort((a, b) => compareText(a.uid, b.uid));
  const services = [...store.services()].sort(
    (a, b) => compareText(a.hostname, b.hostname) || compareText(a.namespace, b.namespace),
  );
  const policies = [...store.policies()].sort((a, b) =>
    compareText(`${a.namespace}/${a.name}`, `${b.namespace}/${b.name}`),
  );
  return {
    workloads: workloads.map(dumpWorkload),
    services: services.map((service) => dumpService(service, store.endpoints(serviceKey(service)))),
    policies: policies.map(dumpPolicy),
    stagedServices: Object.fromEntries(
      store.stagedServiceKeys().map((key) => [key, dumpEndpoints(store.endpoints(key))]),
    ),
  };
}

function dumpWorkload(workload: Workload): JsonObject {
  const { locality } = workload;
  return {
    workloadIps: workload.addresses.map(text),
    ...unlessNull("waypoint", dumpGateway(workload.waypoint)),
    ...unlessNull("networkGateway", dumpGateway(workload.networkGateway)),
    protocol: workload.tunnelProtocol === "HBONE" ? "HBONE" : "TCP",
    networkMode: workload.networkMode === "STANDARD" ? "Standard" : "HostNetwork",
    ...unlessEmpty("uid", workload.uid),
    name: workload.name,
    namespace: workload.namespace,
    ...unlessEmpty("trustDomain", workload.trustDomain),
    ...unlessEmpty("serviceAccount", workload.serviceAccount),
    ...unlessEmpty("network", workload.network),
    ...unlessEmpty("workloadName", workload.workloadName),
    ...unlessEmpty("workloadType", workload.workloadType),
    ...unlessEmpty("canonicalName", workload.canonicalName),
    ...unlessEmpty("canonicalRevision", workload.canonicalRevision),
    ...unlessEmpty("hostname", workload.hostname),
    ...unlessEmpty("node", workload.node),
    ...(workload.nativeTunnel ? { nativeTunnel: true } : {}),
    ...unlessNull("applicationTunnel", dumpTunnel(workload)),
    ...unlessEmpty("authorizationPolicies", workload.authorizationPolicies),
    status: workload.status === "HEALTHY" ? "Healthy" : "Unhealthy",
    clusterId: workload.clusterId,
    ...(locality.region === "" && locality.zone === "" && locality.subzone === "" ? {} : { locality }),
    ...unlessEmpty("services", [...workload.services.keys()].sort()),
    capacity: workload.capacity,
  };
}

function dumpTunnel({ applicationTunnel: tunnel }: Workload): JsonObject | null {
  return tunnel === null ? null : { protocol: tunnel.protocol, port: tunnel.port === 0 ? null : tunnel.port };
}

function dumpService(service: Service, endpoints: readonly Endpoint[]): JsonObject {
  return {
    name: service.name,
    namespace: service.namespace,
    hostname: service.hostname,
    vips: service.addresses.map(({ network, ip }) => `${network}/${ip.text}`),
    ...unlessEmpty(
      "cidrVips",
      service.cidrAddresses.map(({ network, prefix }) => ({ network, cidr: formatPrefix(prefix) })),
    ),
    ports: Object.fromEntries([...service.ports.values()].map((port) => [port.servicePort, port.targetPort])),
    endpoints: dumpEndpoints(endpoints),
    subjectAltNames: service.subjectAltNames,
    ...unlessNull("waypoint", dumpGateway(service.waypoint)),
    ...unlessEmpty(
      "weightedWaypoints",
      service.weightedWaypoints.map(({ destination, weight }) => ({
        destination: dumpGateway(destination),
        weight,
      })),
    ),
    ...unlessNull("loadBalancer", dumpLoadBalancing(service.loadBalancing)),
    ...unlessNull("ipFamilies", families[service.ipFamilies]),
    canonical: service.canonical,
    visibility: service.visibility === "PUBLIC" ? "Public" : "Namespace",
  };
}

const families = { AUTOMATIC: null, IPV4_ONLY: "IPv4", IPV6_ONLY: "IPv6", DUAL: "Dual" } as const;

/** A standard balancer is none to ztunnel. */
function dumpLoadBalancing(balancing: LoadBalancing): JsonObject | null {
  const { mode, healthPolicy, routingPreferences } = balancing;
  if (mode === "STANDARD" && healthPolicy === "ONLY_HEALTHY") return null;
  return {
    routingPreferences: routingPreferences.map(capitalized),
    mode: capitalized(mode),
    healthPolicy: healthPolicy === "ONLY_HEALTHY" ? "OnlyHealthy" : "AllowAll",
  };
}

function dumpEndpoints(endpoints: readonly Endpoint[]): JsonObject {
  return Object.fromEntries(
    endpoints.map(({ workload, ports }) => [
      workload.uid,
      {
        workloadUid: workload.uid,
        port: Object.fromEntries(ports),
        status: workload.status === "HEALTHY" ? "Healthy" : "Unhealthy",
      },
    ]),
  );
}

function dumpGateway(gateway: GatewayAddress | null): JsonObject | null {
  if (gateway === null) return null;
  const destination =
    gateway.kind === "address"
      ? `${gateway.network}/${gateway.ip.text}`
      : `${gateway.namespace}/${gateway.hostname}`;
  return { destination, hboneMtlsPort: gateway.hboneMtlsPort };
}

const scopes = { GLOBAL: "Global", NAMESPACE: "Namespace", WORKLOAD_SELECTOR: "WorkloadSelector" } as const;

function dumpPolicy(policy: Authorization): JsonObject {
  return {
    name: policy.name,
    namespace: policy.namespace,
    scope: scopes[policy.scope],
    action: capitalized(policy.action),
    rules: policy.rules.map((rule) => rule.clauses.map((clause) => clause.matches.map(dumpMatch))),
    dryRun: policy.dryRun,
  };
}

function dumpMatch(match: Match): JsonObject {
  const entries = Object.entries({
    namespaces: match.namespaces.map(dumpString),
    notNamespaces: match.notNamespaces.map(dumpString),
    serviceAccounts: match.serviceAccounts,
    notServiceAccounts: match.notServiceAccounts,
    principals: match.principals.map(dumpString),
    notPrincipals: match.notPrincipals.map(dumpString),
    sourceIps: match.sourceIps.map(formatPrefix),
    notSourceIps: match.notSourceIps.map(formatPrefix),
    destinationIps: match.destinationIps.map(formatPrefix),
    notDestinationIps: match.notDestinationIps.map(formatPrefix),
    destinationPorts: match.destinationPorts,
    notDestinationPorts: match.notDestinationPorts,
  });
  return Object.fromEntries(entries.filter(([, values]) => values.length > 0));
}

/** An enum of serde: the variant's name over its value. */
function dumpString(match: StringMatch): JsonObject {
  return match.kind === "presence" ? { Presence: [] } : { [capitalized(match.kind)]: match.value };
}

function text(ip: IpAddress): string {
  return ip.text;
}

function capitalized(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1).toLowerCase();
}

function unlessEmpty(name: string, value: string | readonly unknown[]): JsonObject {
  return value.length === 0 ? {} : { [name]: value };
}

function unlessNull(name: string, value: unknown): JsonObject {
  return value === null ? {} : { [name]: value };
}
