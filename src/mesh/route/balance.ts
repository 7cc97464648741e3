/**
 * Which endpoint of a service, and which address of a workload (ztunnel `load_balance` and
 * `pick_workload_destination_or_resolve` of `src/state.rs`). Randomness comes in.
 */
import type { IpAddress, SocketAddress } from "../../base/ip.ts";
import { type LoadBalancing, type RoutingScope, type Service, serviceKey } from "../service.ts";
import type { Endpoint } from "../store/endpoints.ts";
import type { MeshStore } from "../store/store.ts";
import type { Workload } from "../workload.ts";

/**
 * - `standard`: the port must be one of the service and lead to a target port.
 * - `waypoint`: a waypoint that takes PROXY traffic needs no mapping for its HBONE port.
 */
export type ResolutionMode = "standard" | "waypoint";

export interface ChosenEndpoint {
  readonly workload: Workload;
  readonly targetPort: number;
}

/** Weighted by capacity among the best-ranked endpoints. @returns null when there is none for that port. */
export function chooseEndpoint(
  store: MeshStore,
  source: Workload,
  service: Service,
  servicePort: number,
  mode: ResolutionMode,
  random: () => number,
): ChosenEndpoint | null {
  if (mode === "standard" && !service.ports.has(servicePort)) return null;
  const usable = store
    .endpoints(serviceKey(service))
    .filter(
      (endpoint) => isReachable(endpoint.workload, source) && hasPort(endpoint, service, servicePort, mode),
    );
  const chosen = chooseWeighted(preferred(usable, source, service.loadBalancing), random);
  if (chosen === null) return null;
  const targetPort = targetPortOf(chosen, service, servicePort);
  return targetPort === null ? null : { workload: chosen.workload, targetPort };
}

/** An address, a name to resolve, or a gateway to go through when it is on another network. */
export function isReachable(workload: Workload, source: Workload): boolean {
  if (workload.addresses.length > 0 || workload.hostname !== "") return true;
  return workload.network !== source.network && workload.networkGateway !== null;
}

function hasPort(endpoint: Endpoint, service: Service, servicePort: number, mode: ResolutionMode): boolean {
  const port = service.ports.get(servicePort);
  if (mode === "waypoint") return port !== undefined || endpoint.workload.applicationTunnel !== null;
  return (port !== undefined && port.targetPort !== 0) || endpoint.ports.has(servicePort);
}

/** The endpoint's own map, else the service's, else the service port itself where an application tunnel decides the port anyway. */
export function targetPortOf(endpoint: Endpoint, service: Service, servicePort: number): number | null {
  const own = endpoint.ports.get(servicePort);
  if (own !== undefined) return own;
  const shared = service.ports.get(servicePort)?.targetPort ?? 0;
  if (shared > 0) return shared;
  const tunnel = endpoint.workload.applicationTunnel;
  return tunnel !== null && tunnel.port > 0 ? servicePort : null;
}

/** STRICT: every preference must match. FAILOVER: those that match the most preferences in a row, from the first. */
function preferred(
  endpoints: readonly Endpoint[],
  source: Workload,
  balancing: LoadBalancing,
): readonly Endpoint[] {
  if (balancing.mode === "STANDARD" || balancing.routingPreferences.length === 0) return endpoints;
  let best: Endpoint[] = [];
  let bestRank = -1;
  for (const endpoint of endpoints) {
    const rank = rankOf(source, endpoint.workload, balancing);
    if (rank === null || rank < bestRank) continue;
    if (rank > bestRank) best = [];
    bestRank = rank;
    best.push(endpoint);
  }
  return best;
}

/** @returns null when STRICT leaves it out. */
export function rankOf(source: Workload, workload: Workload, balancing: LoadBalancing): number | null {
  const preferences = balancing.routingPreferences;
  // With NETWORK first, a remote endpoint is still ranked by the other scopes, but below every local one.
  const networkFirst = preferences[0] === "NETWORK";
  let rank = 0;
  let adjustment = 0;
  for (const scope of preferences) {
    const matches = scopes[scope](source, workload);
    if (scope === "NETWORK" && networkFirst) {
      if (!matches) continue;
      adjustment = preferences.length - 1;
    }
    if (!matches) break;
    rank++;
  }
  if (balancing.mode === "STRICT" && rank !== preferences.length) return null;
  return rank + adjustment;
}

/** Empty equals empty, so two workloads without a locality match each other. */
const scopes: Readonly<Record<RoutingScope, (a: Workload, b: Workload) => boolean>> = {
  REGION: (a, b) => a.locality.region === b.locality.region,
  ZONE: (a, b) => a.locality.zone === b.locality.zone,
  SUBZONE: (a, b) => a.locality.subzone === b.locality.subzone,
  NODE: (a, b) => a.node === b.node,
  CLUSTER: (a, b) => a.clusterId === b.clusterId,
  NETWORK: (a, b) => a.network === b.network,
};

function chooseWeighted(endpoints: readonly Endpoint[], random: () => number): Endpoint | null {
  return weightedChoice(endpoints, (endpoint) => endpoint.workload.capacity, random);
}

/** @returns null when there is nothing, or nothing of weight. @param random uniform in [0, 1) */
export function weightedChoice<T>(
  items: readonly T[],
  weight: (item: T) => number,
  random: () => number,
): T | null {
  let total = 0;
  for (const item of items) total += weight(item);
  if (total <= 0) return null;
  let left = random() * total;
  let last: T | null = null;
  for (const item of items) {
    const share = weight(item);
    if (share <= 0) continue;
    last = item;
    left -= share;
    if (left < 0) return item;
  }
  // Rounding can leave a sliver; it belongs to the last one.
  return last;
}

export type IpFamily = "IPV4" | "IPV6";

/** What to dial. A name is resolved by the caller; addresses of `family` are preferred, others are taken when there are none. */
export type DialTarget =
  | { readonly kind: "address"; readonly address: SocketAddress }
  | {
      readonly kind: "hostname";
      readonly hostname: string;
      readonly port: number;
      readonly family: IpFamily | null;
    };

/**
 * The called address when it is the workload's own; else one that the service's families allow, of the family that was called;
 * else its name. @returns null when it has none of these.
 */
export function dialTarget(
  workload: Workload,
  port: number,
  called: IpAddress | null,
  service: Service | null,
): DialTarget | null {
  if (called !== null && workload.addresses.some((ip) => ip.equals(called))) {
    return { kind: "address", address: { ip: called, port } };
  }
  const allowed = workload.addresses.filter((ip) => acceptsFamily(service, ip));
  const ip = allowed.find((candidate) => called === null || candidate.isIpv4 === called.isIpv4) ?? allowed[0];
  if (ip !== undefined) return { kind: "address", address: { ip, port } };
  if (workload.hostname === "") return null;
  return {
    kind: "hostname",
    hostname: workload.hostname,
    port,
    family: called === null ? null : familyOf(called),
  };
}

export function familyOf(ip: IpAddress): IpFamily {
  return ip.isIpv4 ? "IPV4" : "IPV6";
}

function acceptsFamily(service: Service | null, ip: IpAddress): boolean {
  if (service?.ipFamilies === "IPV4_ONLY") return ip.isIpv4;
  if (service?.ipFamilies === "IPV6_ONLY") return !ip.isIpv4;
  return true;
}
