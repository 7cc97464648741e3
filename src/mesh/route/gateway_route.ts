/**
 * The routes that lead through something: a waypoint, or the gateway of another network (ztunnel `build_request` and
 * `build_request_through_gateway` of `src/proxy/outbound.rs`).
 */
import { formatSocketAddress } from "../../base/ip.ts";
import type { Service } from "../service.ts";
import type { MeshStore } from "../store/store.ts";
import type { GatewayAddress } from "../workload.ts";
import {
  expectedIdentities,
  type Gateway,
  gatewayHas,
  resolveGateway,
  serviceIdentities,
  type Upstream,
} from "./gateway.ts";
import { type HboneRoute, type OutboundRequest, type Route, refuse } from "./route.ts";
import type { Target } from "./route_target.ts";

export function viaServiceWaypoint(
  store: MeshStore,
  request: OutboundRequest,
  target: Target,
  service: Service,
  address: GatewayAddress,
  random: () => number,
): Route {
  const waypoint = resolveGateway(store, address, request.source, target.ip, "waypoint", random);
  if (waypoint === null)
    return refuse(
      "no_route",
      `the waypoint ${describeGateway(address)} of ${target.authority} cannot be resolved`,
    );
  if (waypoint.workload.network !== request.source.network)
    return viaNetworkGateway(store, request, target, waypoint, random);
  return toWaypoint(waypoint, target, service, "service_waypoint");
}

/** Only for calls to the workload's own address, and not for those its own waypoint makes. @returns null to go direct. */
export function viaWorkloadWaypoint(
  store: MeshStore,
  request: OutboundRequest,
  target: Target,
  upstream: Upstream,
  random: () => number,
): Route | null {
  const address = upstream.workload.waypoint;
  if (address === null || target.service !== null || isFromWaypoint(store, request, address)) return null;
  const waypoint = resolveGateway(store, address, request.source, target.ip, "waypoint", random);
  if (waypoint === null)
    return refuse(
      "no_route",
      `the waypoint ${describeGateway(address)} of ${target.authority} cannot be resolved`,
    );
  if (waypoint.workload.network !== request.source.network) {
    return refuse(
      "no_route",
      `the waypoint of ${target.authority} is on another network; only services are reached across networks`,
    );
  }
  return toWaypoint(waypoint, target, upstream.service, "workload_waypoint");
}

/** Identity and address must both be the waypoint's (ztunnel `check_from_waypoint`). */
function isFromWaypoint(store: MeshStore, request: OutboundRequest, waypoint: GatewayAddress): boolean {
  const { source, sourceIp } = request;
  return gatewayHas(
    store,
    waypoint,
    (workload) =>
      workload.identity.equals(source.identity) && workload.addresses.some((ip) => ip.equals(sourceIp)),
  );
}

function toWaypoint(
  waypoint: Gateway,
  target: Target,
  service: Service | null,
  via: HboneRoute["via"],
): Route {
  if (waypoint.dial === null)
    return refuse("no_route", `the waypoint ${waypoint.workload.name} has no address`);
  return {
    protocol: "HBONE",
    dial: waypoint.dial,
    // What the client called, not translated: the waypoint decides.
    authority: target.authority,
    resolvedAuthorityPort: null,
    expectedIdentities: expectedIdentities(waypoint),
    destination: waypoint.workload,
    service,
    via,
  };
}

/**
 * Double HBONE (ztunnel `proxy_to_double_hbone`). @param next the workload, or its waypoint, as seen from this network.
 */
export function viaNetworkGateway(
  store: MeshStore,
  request: OutboundRequest,
  target: Target,
  next: Upstream,
  random: () => number,
): Route {
  const service = target.service ?? next.service;
  if (service === null)
    return refuse(
      "no_route",
      `${target.authority} is on another network and was not called through a service`,
    );
  const address = next.workload.networkGateway;
  if (address === null)
    return refuse(
      "no_route",
      `${next.workload.name} is on network ${next.workload.network}, which has no gateway`,
    );
  const gateway = resolveGateway(store, address, request.source, target.ip, "standard", random);
  if (gateway === null || gateway.dial === null) {
    return refuse("no_route", `the network gateway ${describeGateway(address)} cannot be resolved`);
  }
  const [first, ...rest] = serviceIdentities(next.service);
  if (first === undefined) {
    const name = next.service?.hostname ?? next.workload.name;
    return refuse(
      "no_route",
      `${name} is reached across networks and has no subjectAltNames to expect there`,
    );
  }
  return {
    protocol: "DOUBLE_HBONE",
    dial: gateway.dial,
    authority: `${service.hostname}:${target.port}`,
    expectedIdentities: expectedIdentities(gateway),
    innerExpectedIdentities: [first, ...rest],
    destination: gateway.workload,
    service,
    via: "network_gateway",
  };
}

function describeGateway(gateway: GatewayAddress): string {
  return gateway.kind === "address"
    ? formatSocketAddress({ ip: gateway.ip, port: gateway.hboneMtlsPort })
    : `${gateway.namespace}/${gateway.hostname}:${gateway.hboneMtlsPort}`;
}
