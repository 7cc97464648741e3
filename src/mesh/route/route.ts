/** Where a connection goes, as a value. HBONE cannot be dialled without the identities that are expected there. */
import type { ErrorCode } from "../../base/errors.ts";
import { formatSocketAddress, type HostPort, type IpAddress, type SocketAddress } from "../../base/ip.ts";
import type { SpiffeId } from "../identity.ts";
import type { Service } from "../service.ts";
import type { Workload } from "../workload.ts";
import type { DialTarget } from "./balance.ts";

export interface OutboundRequest {
  readonly source: Workload;
  /** Of the client's connection; with the identity it tells a waypoint's own calls. */
  readonly sourceIp: IpAddress;
  /** A host name comes from SOCKS5, HTTP CONNECT or a mapped port. */
  readonly destination: SocketAddress | HostPort;
  /** This node's network. */
  readonly network: string;
  /** Whether a listener of this process would take a connection to that address. */
  readonly isOwnListener?: (target: SocketAddress) => boolean;
}

export interface HboneRoute {
  readonly protocol: "HBONE";
  readonly dial: DialTarget;
  /** The CONNECT's `:authority`. */
  readonly authority: string;
  /** Not null when `dial` is a name: the authority is then the address it resolved to, with this port (see `authorityFor`). */
  readonly resolvedAuthorityPort: number | null;
  readonly expectedIdentities: readonly [SpiffeId, ...SpiffeId[]];
  /** The workload at the other end of the tunnel; a waypoint's when `via` says so. */
  readonly destination: Workload;
  readonly service: Service | null;
  readonly via: "direct" | "service_waypoint" | "workload_waypoint";
}

export interface DoubleHboneRoute {
  readonly protocol: "DOUBLE_HBONE";
  /** The network gateway. */
  readonly dial: DialTarget;
  /** `hostname:service port`, of both layers. */
  readonly authority: string;
  /** The gateway's, for the outer layer. */
  readonly expectedIdentities: readonly [SpiffeId, ...SpiffeId[]];
  readonly innerExpectedIdentities: readonly [SpiffeId, ...SpiffeId[]];
  /** The gateway's workload. */
  readonly destination: Workload;
  readonly service: Service;
  readonly via: "network_gateway";
}

export interface TcpRoute {
  readonly protocol: "TCP";
  /** Several addresses are as good as each other: of a service that says where it is, called by name. */
  readonly dial: DialTarget | { readonly kind: "addresses"; readonly addresses: readonly SocketAddress[] };
  /** Null outside the mesh. */
  readonly destination: Workload | null;
  readonly service: Service | null;
}

/** Where a workload is that takes no HBONE. */
export interface PlainRoute extends TcpRoute {
  readonly dial: DialTarget;
}

export interface RefusedRoute {
  readonly protocol: "REFUSED";
  readonly code: ErrorCode;
  readonly message: string;
}

/** A name that the mesh does not know: what it resolves to is routed as if the address had been called. */
export interface NameRoute {
  readonly protocol: "NAME";
  readonly hostname: string;
  readonly port: number;
}

export type Route = HboneRoute | DoubleHboneRoute | TcpRoute | NameRoute | RefusedRoute;

/** The `:authority` once the name was resolved. */
export function authorityFor(route: HboneRoute, resolved: IpAddress): string {
  const port = route.resolvedAuthorityPort;
  return port === null ? route.authority : formatSocketAddress({ ip: resolved, port });
}

export function refuse(code: ErrorCode, message: string): RefusedRoute {
  return { protocol: "REFUSED", code, message };
}
