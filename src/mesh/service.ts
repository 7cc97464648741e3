/** A service as `istio.workload.Service` describes it (ztunnel `proto/workload.proto`). */
import type { IpAddress } from "../base/ip.ts";
import type { IpPrefix } from "../base/prefix.ts";
import type { Location } from "./location.ts";
import type { GatewayAddress } from "./workload.ts";

/** An address on a named network; "" is the default network. */
export interface NetworkAddress {
  readonly network: string;
  readonly ip: IpAddress;
}

export type RoutingScope = "REGION" | "ZONE" | "SUBZONE" | "NODE" | "CLUSTER" | "NETWORK";

export interface LoadBalancing {
  readonly routingPreferences: readonly RoutingScope[];
  readonly mode: "STANDARD" | "STRICT" | "FAILOVER" | "PASSTHROUGH";
  readonly healthPolicy: "ONLY_HEALTHY" | "ALLOW_ALL";
}

export type AppProtocol = "UNKNOWN" | "HTTP11" | "HTTP2" | "GRPC" | "TCP" | "TLS";

export interface ServicePort {
  readonly servicePort: number;
  /** 0: each endpoint's own map decides. */
  readonly targetPort: number;
  readonly protocol: AppProtocol;
}

export interface Service {
  readonly name: string;
  readonly namespace: string;
  readonly hostname: string;
  /** VIPs. Empty is headless. */
  readonly addresses: readonly NetworkAddress[];
  readonly cidrAddresses: readonly { readonly network: string; readonly prefix: IpPrefix }[];
  /** By service port. */
  readonly ports: ReadonlyMap<number, ServicePort>;
  /** Further accepted server identities, SPIFFE URIs. */
  readonly subjectAltNames: readonly string[];
  readonly waypoint: GatewayAddress | null;
  readonly weightedWaypoints: readonly { readonly destination: GatewayAddress; readonly weight: number }[];
  readonly loadBalancing: LoadBalancing;
  readonly ipFamilies: "AUTOMATIC" | "IPV4_ONLY" | "IPV6_ONLY" | "DUAL";
  readonly canonical: boolean;
  readonly visibility: "PUBLIC" | "NAMESPACE";
  readonly location: Location | null;
}

/** The key of a service: `namespace/hostname`. */
export function serviceKey(service: { readonly namespace: string; readonly hostname: string }): string {
  return `${service.namespace}/${service.hostname}`;
}
