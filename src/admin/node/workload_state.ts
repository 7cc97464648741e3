/**
 * The workloads of this host with their open connections, in the shape of ztunnel's `/config_dump` (`inpod/admin.rs`, ProxyState, and
 * `proxy/connection_manager.rs`), which `istioctl ztunnel-config connections` reads.
 */
import { adminLimits } from "../../base/limits/admin.ts";
import type { ConnectionEntry, LocalWorkloadEntry } from "./sources.ts";

interface ConnectionDump {
  readonly src: string;
  /** What the client asked for; inbound the service, if that was one. */
  readonly originalDst: string | null;
  readonly actualDst: string;
  readonly protocol: "HBONE" | "TCP";
}

interface WorkloadState {
  readonly state: "Up";
  readonly connections: { readonly inbound: ConnectionDump[]; readonly outbound: ConnectionDump[] };
  readonly info: Omit<LocalWorkloadEntry, "uid">;
}

/**
 * By uid. @param connections as many as are listed elsewhere; those of no workload of this host are in no list, for ztunnel knows none
 *   such.
 */
export function dumpWorkloadState(
  workloads: readonly LocalWorkloadEntry[],
  connections: Iterable<ConnectionEntry>,
): Readonly<Record<string, WorkloadState>> {
  const byUid: Record<string, WorkloadState> = Object.create(null);
  const byName = new Map<string, WorkloadState>();
  for (const { uid, ...info } of workloads) {
    const state: WorkloadState = { state: "Up", connections: { inbound: [], outbound: [] }, info };
    byUid[uid] = state;
    byName.set(`${info.namespace}/${info.name}`, state);
  }
  let listed = 0;
  for (const connection of connections) {
    if (listed++ >= adminLimits.maxListedConnections) break;
    const { direction, source, destination } = connection;
    const own = direction === "outbound" ? source.workload : destination.workload;
    byName.get(own ?? "")?.connections[direction].push(dumpConnection(connection));
  }
  return byUid;
}

function dumpConnection({ direction, source, destination }: ConnectionEntry): ConnectionDump {
  const ends = { src: source.address, actualDst: destination.address };
  return direction === "outbound"
    ? {
        ...ends,
        originalDst: destination.hboneAddress ?? destination.address,
        protocol: destination.hboneAddress === null ? "TCP" : "HBONE",
      }
    : { ...ends, originalDst: destination.service, protocol: source.identity === null ? "TCP" : "HBONE" };
}
