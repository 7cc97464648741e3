/**
 * What the tunnel of a client routes by itself where it has the waypoint's application inside: calls of services that have no waypoint. What
 * has one is routed there, once, and goes there as it is.
 */
import type { IpAddress } from "../../base/ip.ts";
import type { Service } from "../service.ts";
import type { MeshStore } from "../store/store.ts";
import type { OutboundRequest } from "./route.ts";
import { findTarget } from "./route_target.ts";

export interface CalledService {
  readonly service: Service;
  /** Null for a service without addresses that was called by name. */
  readonly ip: IpAddress | null;
  /** The service's. */
  readonly port: number;
}

/** @returns null for what is carried unread, or refused, as from any tunnel. */
export function serviceToRoute(store: MeshStore, request: OutboundRequest): CalledService | null {
  const target = findTarget(store, request);
  if (target === null || target.service === null) return null;
  const { service, ip, port } = target;
  if (hasWaypoint(service) || !service.ports.has(port)) return null;
  // Its endpoint is the address that was called, which no route may change (Envoy's ORIGINAL_DST).
  if (service.loadBalancing.mode === "PASSTHROUGH") return null;
  if (ip !== null && request.isOwnListener?.({ ip, port }) === true) return null;
  return { service, ip, port };
}

export function hasWaypoint({ waypoint, weightedWaypoints }: Service): boolean {
  return waypoint !== null || weightedWaypoints.length > 0;
}
