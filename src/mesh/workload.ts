/**
 * A workload as `istio.workload.Workload` describes it (ztunnel `proto/workload.proto`); all defaults are already
 * filled in.
 */
import type { IpAddress } from "../base/ip.ts";
import type { SpiffeId } from "./identity.ts";
import type { Location } from "./location.ts";

export interface Locality {
  readonly region: string;
  readonly zone: string;
  readonly subzone: string;
}

/** Where a waypoint or a network gateway is. The port is the HBONE port to ask the destination for. */
export type GatewayAddress =
  | {
      readonly kind: "address";
      readonly network: string;
      readonly ip: IpAddress;
      readonly hboneMtlsPort: number;
    }
  | {
      readonly kind: "hostname";
      readonly namespace: string;
      readonly hostname: string;
      readonly hboneMtlsPort: number;
    };

export type WorkloadType = "deployment" | "cronjob" | "pod" | "job";

export interface Workload {
  /** Unique key, `networking.istio.io/WorkloadEntry/namespace/name` for a WorkloadEntry, with its cluster in front where it has one. */
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly addresses: readonly IpAddress[];
  /** Resolved by DNS at connect time when there are no addresses; "" for none. */
  readonly hostname: string;
  /** "" is the default network. */
  readonly network: string;
  readonly tunnelProtocol: "NONE" | "HBONE";
  readonly trustDomain: string;
  readonly serviceAccount: string;
  /** Derived from trust domain, namespace and service account. */
  readonly identity: SpiffeId;
  readonly waypoint: GatewayAddress | null;
  readonly networkGateway: GatewayAddress | null;
  /** "" matches every node. */
  readonly node: string;
  readonly canonicalName: string;
  readonly canonicalRevision: string;
  readonly workloadType: WorkloadType;
  readonly workloadName: string;
  readonly nativeTunnel: boolean;
  readonly applicationTunnel: { readonly protocol: "NONE" | "PROXY"; readonly port: number } | null;
  /** `namespace/hostname` of each service it is an endpoint of → service port → target port. */
  readonly services: ReadonlyMap<string, ReadonlyMap<number, number>>;
  /** `namespace/name` of the selector policies that apply to it. */
  readonly authorizationPolicies: readonly string[];
  readonly status: "HEALTHY" | "UNHEALTHY";
  /** "" in a mesh without clusters. */
  readonly clusterId: string;
  readonly locality: Locality;
  /** By which subsets and locality settings of a waypoint choose. Empty where the control plane does not tell them, as istiod. */
  readonly labels: ReadonlyMap<string, string>;
  readonly networkMode: "STANDARD" | "HOST_NETWORK";
  /** Load-balancing weight, at least 1 unless the document says 0. */
  readonly capacity: number;
  readonly location: Location | null;
}
