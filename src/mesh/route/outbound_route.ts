/**
 * Where a captured or proxied connection goes: ztunnel's decision (`proxy/outbound.rs`), as a value. It never awaits and never
 * dials. What cannot be resolved is refused; nothing that should be in the mesh falls back to plain TCP.
 */
import { formatSocketAddress, type HostPort, type IpAddress, type SocketAddress } from "../../base/ip.ts";
import { ports } from "../../base/limits/ports.ts";
import type { Service } from "../service.ts";
import type { MeshStore } from "../store/store.ts";
import type { GatewayAddress, Workload } from "../workload.ts";
import { type DialTarget, dialTarget, weightedChoice } from "./balance.ts";
import { expectedIdentities, findUpstream, type Upstream, upstreamOf } from "./gateway.ts";
import { viaNetworkGateway, viaServiceWaypoint, viaWorkloadWaypoint } from "./gateway_route.ts";
import {
  type HboneRoute,
  type OutboundRequest,
  type PlainRoute,
  type RefusedRoute,
  type Route,
  refuse,
} from "./route.ts";
import { findTarget, serviceVip, type Target } from "./route_target.ts";

/** @param random uniform in [0, 1). Called once for each choice that is made. */
export function resolveOutbound(store: MeshStore, request: OutboundRequest, random: () => number): Route {
  const target = findTarget(store, request);
  if (target === null) return nameRoute(store, request);
  if (target.ip !== null && request.isOwnListener?.({ ip: target.ip, port: target.port }) === true)
    return refuse("self_call", `${target.authority} is this node itself`);
  const waypoint = target.service === null ? null : serviceWaypoint(target.service, random);
  if (target.service !== null && waypoint !== null)
    return viaServiceWaypoint(store, request, target, target.service, waypoint, random);
  const upstream = findTargetUpstream(store, request, target, random);
  if (upstream === "passthrough") return passthrough(target, request.network);
  if (upstream === null) return refuse("no_healthy_upstream", `no healthy endpoint for ${target.authority}`);
  if (upstream.workload.network !== request.source.network)
    return viaNetworkGateway(store, request, target, upstream, random);
  return viaWorkloadWaypoint(store, request, target, upstream, random) ?? direct(target.ip, upstream);
}

function nameRoute(store: MeshStore, { destination, source }: OutboundRequest): Route {
  if ("ip" in destination) return refuse("no_route", `${describe(destination)} is not in the mesh`);
  // A service that only others may see is in the mesh all the same, and is not gone around.
  if (store.serviceByHostname(destination.host, null) !== null)
    return refuse(
      "no_route",
      `${destination.host} is a service that namespace ${source.namespace} does not see`,
    );
  return { protocol: "NAME", hostname: destination.host, port: destination.port };
}

function serviceWaypoint(service: Service, random: () => number): GatewayAddress | null {
  if (service.weightedWaypoints.length === 0) return service.waypoint;
  return (
    weightedChoice(service.weightedWaypoints, (candidate) => candidate.weight, random)?.destination ??
    service.waypoint
  );
}

function findTargetUpstream(
  store: MeshStore,
  request: OutboundRequest,
  target: Target,
  random: () => number,
): Upstream | "passthrough" | null {
  const { source } = request;
  if (target.hostname !== null && target.service !== null) {
    if (target.service.loadBalancing.mode === "PASSTHROUGH") return "passthrough";
    return upstreamOf(store, source, target.service, target.port, "standard", random);
  }
  if (target.ip === null) return null;
  const upstream = findUpstream(store, source.network, source, target.ip, target.port, "standard", random);
  // Nothing found and nothing known there: outside the mesh. A VIP without healthy endpoints is never that, also when a workload
  // has the same address (there ztunnel goes out in the clear; where trust is in doubt we do not).
  const known = target.service ?? store.serviceByVip(source.network, target.ip, source.namespace);
  return upstream === null && known === null ? "passthrough" : upstream;
}

/** By name a service without balancing is where its addresses are; without any the name's own resolution says. */
function ownAddresses(service: Service, network: string): readonly IpAddress[] {
  return service.addresses.filter((address) => address.network === network).map(({ ip }) => ip);
}

function passthrough(target: Target, network: string): Route {
  const { ip, port, service } = target;
  if (target.hostname !== null) {
    const addresses = service === null ? [] : ownAddresses(service, network);
    if (addresses.length > 0) {
      const dial = { kind: "addresses", addresses: addresses.map((each) => ({ ip: each, port })) } as const;
      return { protocol: "TCP", dial, destination: null, service };
    }
    const dial: DialTarget = { kind: "hostname", hostname: target.hostname, port, family: null };
    return { protocol: "TCP", dial, destination: null, service };
  }
  if (ip === null) return refuse("no_route", `${target.authority} has no address`);
  return { protocol: "TCP", dial: { kind: "address", address: { ip, port } }, destination: null, service };
}

/**
 * To a service's waypoint: where a client's own routes lead to a service that has one, its policies are enforced there all the same.
 *
 * @param port of the service. @returns null for a service without a waypoint.
 */
export function waypointRoute(
  store: MeshStore,
  request: Omit<OutboundRequest, "destination">,
  service: Service,
  port: number,
  random: () => number,
): Route | null {
  const waypoint = serviceWaypoint(service, random);
  if (waypoint === null) return null;
  const ip = serviceVip(service, request.network);
  const authority = ip === null ? `${service.hostname}:${port}` : formatSocketAddress({ ip, port });
  const target = { ip, port, service, authority, hostname: service.hostname };
  const destination = { host: service.hostname, port };
  return viaServiceWaypoint(store, { ...request, destination }, target, service, waypoint, random);
}

/** To a workload that was chosen already, past every waypoint: the way of a waypoint's own calls. */
export function directRoute(
  store: MeshStore,
  source: Workload,
  upstream: Upstream,
): HboneRoute | PlainRoute | RefusedRoute {
  const { workload } = upstream;
  if (workload.network !== source.network)
    return refuse("no_route", `${workload.name} is on another network, which this version does not reach`);
  // What the store holds of it by now: it may have gone, or moved, since it was chosen.
  const current = store.workload(workload.uid);
  if (current === null) return refuse("no_route", `${workload.name} is not in the mesh any more`);
  return direct(null, { ...upstream, workload: current });
}

/** @param called the address that was called, or null. */
function direct(called: IpAddress | null, upstream: Upstream): HboneRoute | PlainRoute | RefusedRoute {
  const { workload, port, service } = upstream;
  const plain = dialTarget(workload, port, called, service);
  if (plain === null) return refuse("no_route", `${workload.name} has no address that may be used`);
  if (workload.tunnelProtocol === "NONE")
    return { protocol: "TCP", dial: plain, destination: workload, service };
  const hbone = {
    protocol: "HBONE",
    expectedIdentities: expectedIdentities(upstream),
    destination: workload,
    service,
    via: "direct",
  } as const;
  if (plain.kind === "hostname") {
    return {
      ...hbone,
      dial: { ...plain, port: ports.hbone },
      authority: `${plain.hostname}:${port}`,
      resolvedAuthorityPort: port,
    };
  }
  return {
    ...hbone,
    dial: { kind: "address", address: { ip: plain.address.ip, port: ports.hbone } },
    authority: formatSocketAddress(plain.address),
    resolvedAuthorityPort: null,
  };
}

function describe(destination: SocketAddress | HostPort): string {
  return "ip" in destination ? formatSocketAddress(destination) : `${destination.host}:${destination.port}`;
}
