/** Meshes for tests: a workload or a service with every default filled in, and what the test is about on top. */
import { assert } from "../../base/assert.ts";
import { IpAddress } from "../../base/ip.ts";
import { SpiffeId } from "../identity.ts";
import type { Service, ServicePort } from "../service.ts";
import type { GatewayAddress, Workload } from "../workload.ts";

export function ip(text: string): IpAddress {
  const parsed = IpAddress.parse(text);
  assert(parsed !== null, `${text} is not an address`);
  return parsed;
}

/** A workload `shop/NAME` of cluster `test` with service account NAME, in the mesh, and without an address unless given. */
export function workload(name: string, fields: Partial<Workload> = {}): Workload {
  const namespace = fields.namespace ?? "shop";
  const serviceAccount = fields.serviceAccount ?? name;
  const trustDomain = fields.trustDomain ?? "cluster.local";
  return {
    uid: `test/networking.istio.io/WorkloadEntry/${namespace}/${name}`,
    name,
    namespace,
    addresses: [],
    hostname: "",
    network: "",
    tunnelProtocol: "HBONE",
    trustDomain,
    serviceAccount,
    identity: new SpiffeId(trustDomain, namespace, serviceAccount),
    waypoint: null,
    networkGateway: null,
    node: "",
    canonicalName: name,
    canonicalRevision: "latest",
    workloadType: "pod",
    workloadName: name,
    nativeTunnel: false,
    applicationTunnel: null,
    services: new Map(),
    authorizationPolicies: [],
    status: "HEALTHY",
    clusterId: "test",
    locality: { region: "", zone: "", subzone: "" },
    labels: new Map(),
    networkMode: "STANDARD",
    capacity: 1,
    location: null,
    ...fields,
  };
}

/** A service `shop/NAME` called `NAME.shop`, without a VIP unless given. */
export function service(
  name: string,
  ports: Readonly<Record<number, number>>,
  fields: Partial<Service> = {},
): Service {
  const namespace = fields.namespace ?? "shop";
  return {
    name,
    namespace,
    hostname: `${name}.${namespace}`,
    addresses: [],
    cidrAddresses: [],
    ports: new Map(
      Object.entries(ports).map(([port, target]) => [Number(port), servicePort(Number(port), target)]),
    ),
    subjectAltNames: [],
    waypoint: null,
    weightedWaypoints: [],
    loadBalancing: { routingPreferences: [], mode: "STANDARD", healthPolicy: "ONLY_HEALTHY" },
    ipFamilies: "AUTOMATIC",
    canonical: false,
    visibility: "PUBLIC",
    location: null,
    ...fields,
  };
}

function servicePort(port: number, targetPort: number): ServicePort {
  return { servicePort: port, targetPort, protocol: "TCP" };
}

/** Membership for `Workload.services`. */
export function member(
  key: string,
  ports: Readonly<Record<number, number>> = {},
): Map<string, ReadonlyMap<number, number>> {
  return new Map([[key, new Map(Object.entries(ports).map(([port, target]) => [Number(port), target]))]]);
}

export function gatewayAt(text: string, network = ""): GatewayAddress {
  return { kind: "address", network, ip: ip(text), hboneMtlsPort: 15008 };
}

export function gatewayNamed(namespace: string, hostname: string, hboneMtlsPort = 15008): GatewayAddress {
  return { kind: "hostname", namespace, hostname, hboneMtlsPort };
}
