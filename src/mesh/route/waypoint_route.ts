/**
 * What an HBONE CONNECT that reached a waypoint calls: a service or a workload that is bound to this waypoint, and nothing else. A waypoint
 * that took other authorities would be an open proxy with an identity that everybody trusts.
 */
import type { ErrorCode } from "../../base/errors.ts";
import { type IpAddress, parseHostPort, parseSocketAddress, type SocketAddress } from "../../base/ip.ts";
import type { Service } from "../service.ts";
import type { MeshStore } from "../store/store.ts";
import type { GatewayAddress, Workload } from "../workload.ts";
import { gatewayHas } from "./gateway.ts";

export interface WaypointRequest {
  /** The waypoint. */
  readonly local: Workload;
  /** The CONNECT's `:authority`. */
  readonly authority: string;
  /** Where the TCP connection that carries it arrived. */
  readonly tcpDestination: SocketAddress;
  /** Of the caller's identity: of several services that share an address its own comes first, as where it was routed. */
  readonly callerNamespace: string;
}

export type CalledThrough =
  /** Exactly one of `service` and `workload` is not null. */
  | {
      readonly kind: "called";
      readonly service: Service | null;
      readonly workload: Workload | null;
      /** Null for a service without addresses that was called by name. */
      readonly ip: IpAddress | null;
      readonly port: number;
    }
  /** The waypoint's own address: a call to a program beside it, not one through it. */
  | { readonly kind: "own" }
  | {
      readonly kind: "refuse";
      readonly status: 400 | 503;
      readonly code: ErrorCode;
      readonly message: string;
    };

export function resolveThrough(store: MeshStore, request: WaypointRequest): CalledThrough {
  const address = parseSocketAddress(request.authority);
  if (address !== null) return toAddress(store, request, address);
  const name = parseHostPort(request.authority);
  const service = name === null ? null : store.serviceByExactHostname(name.host, request.callerNamespace);
  if (name === null || service === null)
    return refuse(503, "no_route", `no service is called ${request.authority}`);
  return toService(store, request, service, null, name.port);
}

function toAddress(store: MeshStore, request: WaypointRequest, { ip, port }: SocketAddress): CalledThrough {
  const { local, tcpDestination, callerNamespace } = request;
  if (ip.equals(tcpDestination.ip)) return { kind: "own" };
  // A workload's own address comes before a VIP, as where the call was routed (ztunnel `fetch_address`).
  const workload = store.workloadByAddress(local.network, ip);
  if (workload !== null) {
    if (port === 0) return refuse(400, "hbone_request", "port 0 cannot be reached");
    if (!isBound(store, [workload.waypoint], request)) return notBound(request);
    return { kind: "called", service: null, workload, ip, port };
  }
  const service = store.serviceByVip(local.network, ip, callerNamespace);
  return service === null ? notBound(request) : toService(store, request, service, ip, port);
}

function toService(
  store: MeshStore,
  request: WaypointRequest,
  service: Service,
  ip: IpAddress | null,
  port: number,
): CalledThrough {
  const waypoints = [service.waypoint, ...service.weightedWaypoints.map(({ destination }) => destination)];
  if (!isBound(store, waypoints, request)) return notBound(request);
  if (!service.ports.has(port)) return refuse(503, "no_route", `${service.hostname} has no port ${port}`);
  return { kind: "called", service, workload: null, ip, port };
}

function isBound(
  store: MeshStore,
  waypoints: readonly (GatewayAddress | null)[],
  { local, tcpDestination }: WaypointRequest,
): boolean {
  // One host may be described twice (a WorkloadEntry and an inline endpoint): the same identity at the same address is us.
  const isUs = (candidate: Workload): boolean =>
    candidate.uid === local.uid ||
    (candidate.identity.equals(local.identity) &&
      candidate.addresses.some((ip) => ip.equals(tcpDestination.ip)));
  return waypoints.some((waypoint) => waypoint !== null && gatewayHas(store, waypoint, isUs));
}

function notBound({ authority }: WaypointRequest): CalledThrough {
  return refuse(400, "hbone_request", `${authority} does not have this waypoint`);
}

function refuse(status: 400 | 503, code: ErrorCode, message: string): CalledThrough {
  return { kind: "refuse", status, code, message };
}
