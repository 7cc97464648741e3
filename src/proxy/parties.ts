/** Who talks to whom, and how ztunnel's metrics name them (`metrics.rs`, `proxy/metrics.rs`). */
import type { HostPort, SocketAddress } from "../base/ip.ts";
import type { SpiffeId } from "../mesh/identity.ts";
import type { Service } from "../mesh/service.ts";
import type { Workload } from "../mesh/workload.ts";
import type { Baggage } from "../wire/headers.ts";

export interface Party {
  /** Of a destination that is called by name, the name until it is resolved. */
  readonly address: SocketAddress | HostPort;
  readonly workload: Workload | null;
  /** What the other tunnel said of it, when we do not know it ourselves. */
  readonly baggage: Baggage | null;
  /** Of a source: verified in its handshake. Of a destination: whom we mean to reach. Null for plaintext. */
  readonly identity: SpiffeId | null;
}

/** Who talks to whom. `address` of the destination is where TCP goes; for HBONE `hboneAddress` has the authority. */
export interface Parties {
  readonly direction: "inbound" | "outbound";
  readonly source: Party;
  readonly destination: Party & { readonly hboneAddress: string | null; readonly service: Service | null };
}

export const labelNames = [
  "reporter",
  "source_workload",
  "source_canonical_service",
  "source_canonical_revision",
  "source_workload_namespace",
  "source_principal",
  "source_app",
  "source_version",
  "source_cluster",
  "destination_service",
  "destination_service_namespace",
  "destination_service_name",
  "destination_workload",
  "destination_canonical_service",
  "destination_canonical_revision",
  "destination_workload_namespace",
  "destination_principal",
  "destination_app",
  "destination_version",
  "destination_cluster",
  "request_protocol",
  "response_flags",
  "connection_security_policy",
  "source_region",
  "source_zone",
  "destination_region",
  "destination_zone",
] as const;

export type Labels = Record<(typeof labelNames)[number], string>;

export function partyKey(party: Party): string {
  const { workload, baggage } = party;
  const described =
    workload === null
      ? baggage === null
        ? ""
        : `~${baggage.cluster}/${baggage.namespace}/${baggage.workloadName}/${baggage.serviceName}/${baggage.serviceVersion}/${baggage.region}/${baggage.zone}`
      : `${workload.uid}/${workload.workloadName}/${workload.canonicalName}/${workload.canonicalRevision}/${workload.locality.region}/${workload.locality.zone}`;
  return `${described}@${party.identity?.uri ?? ""}`;
}

export function makeLabels(parties: Parties): Labels {
  const source = describe(parties.source);
  const destination = describe(parties.destination);
  const { service } = parties.destination;
  const secure = parties.destination.hboneAddress !== null;
  return {
    reporter: parties.direction === "outbound" ? "source" : "destination",
    source_workload: source.workload,
    source_canonical_service: source.canonicalName,
    source_canonical_revision: source.canonicalRevision,
    source_workload_namespace: source.namespace,
    source_principal: source.principal,
    source_app: source.canonicalName,
    source_version: source.canonicalRevision,
    source_cluster: source.cluster,
    destination_service: known(service?.hostname),
    destination_service_namespace: known(service?.namespace),
    destination_service_name: known(service?.name),
    destination_workload: destination.workload,
    destination_canonical_service: destination.canonicalName,
    destination_canonical_revision: destination.canonicalRevision,
    destination_workload_namespace: destination.namespace,
    destination_principal: destination.principal,
    destination_app: destination.canonicalName,
    destination_version: destination.canonicalRevision,
    destination_cluster: destination.cluster,
    request_protocol: "tcp",
    response_flags: "-",
    connection_security_policy: secure ? "mutual_tls" : "unknown",
    source_region: source.region,
    source_zone: source.zone,
    destination_region: destination.region,
    destination_zone: destination.zone,
  };
}

function describe(party: Party) {
  const { workload, baggage } = party;
  return {
    workload: known(workload?.workloadName ?? baggage?.workloadName),
    canonicalName: known(workload?.canonicalName ?? baggage?.serviceName),
    canonicalRevision: known(workload?.canonicalRevision ?? baggage?.serviceVersion),
    namespace: known(workload?.namespace ?? baggage?.namespace),
    principal: known(party.identity?.uri),
    cluster: known(workload?.clusterId ?? baggage?.cluster),
    region: known(workload?.locality.region ?? baggage?.region),
    zone: known(workload?.locality.zone ?? baggage?.zone),
  };
}

function known(value: string | undefined): string {
  return value === undefined || value === "" ? "unknown" : value;
}
