/** A mesh of a given size, as istiod would make it of Kubernetes: each workload in one service, some policies by selector. */
import { IpAddress } from "../../src/base/ip.ts";
import { type Authorization, emptyMatch } from "../../src/mesh/authorization.ts";
import { SpiffeId } from "../../src/mesh/identity.ts";
import type { Service } from "../../src/mesh/service.ts";
import type { MeshChange } from "../../src/mesh/store/store.ts";
import type { Workload } from "../../src/mesh/workload.ts";

export interface MeshSize {
  readonly workloads: number;
  readonly services: number;
  readonly policies: number;
}

const trustDomain = "cluster.local";
const namespaces = 50;

export function meshOf(size: MeshSize): MeshChange {
  const range = (count: number) => Array.from({ length: count }, (_, index) => index);
  return {
    workloads: { upsert: range(size.workloads).map((index) => workloadAt(index, size, 1)) },
    services: { upsert: range(size.services).map((index) => serviceAt(index, 8080)) },
    policies: { upsert: range(size.policies).map((index) => policyAt(index, 8080)) },
  };
}

/** @param revision a change of it is a change of the workload. */
export function workloadAt(index: number, size: MeshSize, revision: number): Workload {
  const service = index % size.services;
  const namespace = namespaceOf(service);
  const name = `app-${service}-${index}`;
  const serviceAccount = `app-${service}`;
  return {
    uid: `c1/networking.istio.io/WorkloadEntry/${namespace}/${name}`,
    name,
    namespace,
    addresses: [ip(`10.${(index >> 16) & 255}.${(index >> 8) & 255}.${index & 255}`)],
    hostname: "",
    network: "",
    tunnelProtocol: "HBONE",
    trustDomain,
    serviceAccount,
    identity: new SpiffeId(trustDomain, namespace, serviceAccount),
    waypoint: null,
    networkGateway: null,
    node: `node-${index % 100}`,
    canonicalName: serviceAccount,
    canonicalRevision: `v${revision}`,
    workloadType: "pod",
    workloadName: name,
    nativeTunnel: false,
    applicationTunnel: null,
    services: new Map([[`${namespace}/app-${service}.${namespace}.mesh`, new Map([[80, 8080]])]]),
    authorizationPolicies: service < size.policies ? [`${namespace}/only-${service}`] : [],
    status: "HEALTHY",
    clusterId: "c1",
    locality: { region: "r1", zone: `z${index % 3}`, subzone: "" },
    labels: new Map(),
    networkMode: "STANDARD",
    capacity: 1,
    location: null,
  };
}

export function serviceAt(index: number, targetPort: number): Service {
  const namespace = namespaceOf(index);
  return {
    name: `app-${index}`,
    namespace,
    hostname: `app-${index}.${namespace}.mesh`,
    addresses: [{ network: "", ip: ip(`10.200.${(index >> 8) & 255}.${index & 255}`) }],
    cidrAddresses: [],
    ports: new Map([[80, { servicePort: 80, targetPort, protocol: "HTTP11" }]]),
    subjectAltNames: [],
    waypoint: null,
    weightedWaypoints: [],
    loadBalancing: { routingPreferences: [], mode: "STANDARD", healthPolicy: "ONLY_HEALTHY" },
    ipFamilies: "AUTOMATIC",
    canonical: true,
    visibility: "PUBLIC",
    location: null,
  };
}

export function policyAt(index: number, port: number): Authorization {
  const namespace = namespaceOf(index);
  const caller = `${trustDomain}/ns/${namespace}/sa/app-${index + 1}`;
  const matches = [{ ...emptyMatch, principals: [{ kind: "exact" as const, value: caller }] }];
  const ports = [{ ...emptyMatch, destinationPorts: [port] }];
  const location = { file: "mesh.yaml", line: index * 12 + 1, column: 1 };
  return {
    name: `only-${index}`,
    namespace,
    scope: "WORKLOAD_SELECTOR",
    action: "ALLOW",
    dryRun: false,
    rules: [
      { clauses: [{ matches }, { matches: ports }], location: { ...location, line: location.line + 8 } },
    ],
    location,
  };
}

function namespaceOf(service: number): string {
  return `team-${service % namespaces}`;
}

function ip(text: string): IpAddress {
  const parsed = IpAddress.parse(text);
  if (parsed === null) throw new Error(`${text} is not an address`);
  return parsed;
}
