/**
 * From the reference to a waypoint or a network gateway to the workload that stands there (ztunnel `fetch_waypoint` and
 * `fetch_network_gateway` of `src/state.rs`).
 */
import type { IpAddress } from "../../base/ip.ts";
import { SpiffeId } from "../identity.ts";
import { type Service, serviceKey } from "../service.ts";
import type { MeshStore } from "../store/store.ts";
import type { GatewayAddress, Workload } from "../workload.ts";
import { chooseEndpoint, type DialTarget, dialTarget, type ResolutionMode } from "./balance.ts";

/** A workload chosen for a destination, with the port it should be reached on. */
export interface Upstream {
  readonly workload: Workload;
  /** The target port. */
  readonly port: number;
  /** The service it was chosen from; null when its own address was called. */
  readonly service: Service | null;
}

export interface Gateway extends Upstream {
  /** Null when the workload can only be reached through another gateway. */
  readonly dial: DialTarget | null;
}

/**
 * @param called the address the client called, whose family is preferred where the gateway is given by name.
 * @returns null when it cannot be resolved: the caller refuses, there is no way around a gateway.
 */
export function resolveGateway(
  store: MeshStore,
  gateway: GatewayAddress,
  source: Workload,
  called: IpAddress | null,
  mode: ResolutionMode,
  random: () => number,
): Gateway | null {
  const upstream = gatewayUpstream(store, gateway, source, mode, random);
  if (upstream === null) return null;
  // A gateway given by address is dialled in that address's family, whatever the client called (ztunnel `fetch_waypoint`).
  const preferred = gateway.kind === "address" ? gateway.ip : called;
  return { ...upstream, dial: dialTarget(upstream.workload, upstream.port, preferred, upstream.service) };
}

function gatewayUpstream(
  store: MeshStore,
  gateway: GatewayAddress,
  source: Workload,
  mode: ResolutionMode,
  random: () => number,
): Upstream | null {
  const port = gateway.hboneMtlsPort;
  if (gateway.kind === "address") {
    const found = findUpstream(store, gateway.network, source, gateway.ip, port, mode, random);
    return found === "passthrough" ? null : found;
  }
  const service = store.serviceByKey(serviceKey(gateway));
  if (service !== null) return upstreamOf(store, source, service, port, mode, random);
  const workload = store.workloadByHostname(gateway.namespace, gateway.hostname);
  return workload === null ? null : { workload, port, service: null };
}

/** A VIP first, then a workload's own address (ztunnel `find_upstream`). @returns null when nothing healthy is there. */
export function findUpstream(
  store: MeshStore,
  network: string,
  source: Workload,
  ip: IpAddress,
  port: number,
  mode: ResolutionMode,
  random: () => number,
): Upstream | "passthrough" | null {
  const service = store.serviceByVip(network, ip, source.namespace);
  if (service !== null) {
    if (service.loadBalancing.mode === "PASSTHROUGH") return "passthrough";
    return upstreamOf(store, source, service, port, mode, random);
  }
  const workload = store.workloadByAddress(network, ip);
  return workload === null ? null : { workload, port, service: null };
}

export function upstreamOf(
  store: MeshStore,
  source: Workload,
  service: Service,
  port: number,
  mode: ResolutionMode,
  random: () => number,
): Upstream | null {
  const chosen = chooseEndpoint(store, source, service, port, mode, random);
  return chosen === null ? null : { workload: chosen.workload, port: chosen.targetPort, service };
}

/** Whether `accepts` holds for a workload that stands behind the gateway's address. */
export function gatewayHas(
  store: MeshStore,
  gateway: GatewayAddress,
  accepts: (workload: Workload) => boolean,
): boolean {
  const behind = gatewayDestination(store, gateway);
  if (behind === null) return false;
  if (behind.kind === "workload") return accepts(behind.workload);
  return store.endpoints(serviceKey(behind.service)).some((endpoint) => accepts(endpoint.workload));
}

/** What the address itself names: here a workload comes before a VIP (ztunnel `find_destination`). */
function gatewayDestination(
  store: MeshStore,
  gateway: GatewayAddress,
):
  | { readonly kind: "workload"; readonly workload: Workload }
  | { readonly kind: "service"; readonly service: Service }
  | null {
  if (gateway.kind === "address") {
    const workload = store.workloadByAddress(gateway.network, gateway.ip);
    if (workload !== null) return { kind: "workload", workload };
    const service = store.serviceByVip(gateway.network, gateway.ip, null);
    return service === null ? null : { kind: "service", service };
  }
  const service = store.serviceByKey(serviceKey(gateway));
  if (service !== null) return { kind: "service", service };
  const workload = store.workloadByHostname(gateway.namespace, gateway.hostname);
  return workload === null ? null : { kind: "workload", workload };
}

/** Whom the other end may turn out to be: the workload, or what the service says its servers show. */
export function expectedIdentities(upstream: Upstream): readonly [SpiffeId, ...SpiffeId[]] {
  const identity = upstream.workload.identity;
  return [identity, ...serviceIdentities(upstream.service).filter((id) => !id.equals(identity))];
}

/** A name that is no SPIFFE ID matches no peer and is left out, as ztunnel does; the document's status says so. */
export function serviceIdentities(service: Service | null): readonly SpiffeId[] {
  return (service?.subjectAltNames ?? []).flatMap((name) => SpiffeId.parse(name) ?? []);
}
