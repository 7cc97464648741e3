/**
 * Where an HBONE CONNECT that reached this workload goes: ztunnel's decision (`build_inbound_request` of its
 * `src/proxy/inbound.rs`), as a value.
 */
import type { ErrorCode } from "../../base/errors.ts";
import {
  formatSocketAddress,
  type HostPort,
  IpAddress,
  parseHostPort,
  parseSocketAddress,
  type SocketAddress,
} from "../../base/ip.ts";
import { type Service, serviceKey } from "../service.ts";
import type { MeshStore } from "../store/store.ts";
import type { Workload } from "../workload.ts";
import { gatewayHas } from "./gateway.ts";
import { serviceVip } from "./route_target.ts";

export interface InboundRequest {
  readonly local: Workload;
  /** The CONNECT's `:authority`. */
  readonly authority: string;
  /** Where the TCP connection that carries it arrived: one of the workload's addresses. */
  readonly tcpDestination: SocketAddress;
  /** Whether a listener of this process would take the connection: administration, an entry, the tunnel itself. */
  readonly isOwnListener: (target: SocketAddress) => boolean;
  /** `host` of the `forwarded` header: which of the workload's services the client says it called. For telemetry only. */
  readonly forwardedHost?: string | null;
}

export type InboundRoute =
  | {
      readonly kind: "accept";
      /** What policy is asked about, and what is dialled: with a PROXY header at loopback, where ztunnel dials it. */
      readonly target: SocketAddress;
      /** For telemetry; null when none of the workload's services has that port. */
      readonly service: Service | null;
      /** Not null: a PROXY v2 header with this destination goes first (ztunnel `write_proxy_protocol`). */
      readonly proxyProtocol: { readonly destination: SocketAddress } | null;
    }
  | {
      readonly kind: "refuse";
      readonly status: 400 | 503;
      readonly code: ErrorCode;
      readonly message: string;
    };

type Refusal = Extract<InboundRoute, { kind: "refuse" }>;

export function resolveInbound(store: MeshStore, request: InboundRequest): InboundRoute {
  const address = parseSocketAddress(request.authority);
  if (address !== null) return toAddress(store, request, address);
  const name = parseHostPort(request.authority);
  if (name === null || !hostnamePattern.test(name.host)) {
    return refuse(400, "hbone_request", `${request.authority} is not an address or a host name with a port`);
  }
  return toHostname(store, request, name);
}

/** A name of RFC 1123, with ztunnel's wildcard service names. */
const hostnamePattern = /^(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$/;

function toAddress(store: MeshStore, request: InboundRequest, address: SocketAddress): InboundRoute {
  if (!isForHere(store, request, address)) {
    const message = `${address.ip.text} is not ${request.tcpDestination.ip.text}, and nothing there has this workload as its waypoint`;
    return refuse(400, "hbone_request", message);
  }
  const service = guessService(store, request, address.port);
  return accept(request, address.port, service, () => address);
}

/**
 * The authority names this workload; or the workload takes calls for others (a waypoint with an application tunnel, which sees
 * the authority in the PROXY header); or what it names has this workload as its waypoint.
 */
function isForHere(store: MeshStore, request: InboundRequest, address: SocketAddress): boolean {
  const { local, tcpDestination } = request;
  if (address.ip.equals(tcpDestination.ip)) return true;
  if (local.applicationTunnel !== null) return true;
  const workload = store.workloadByAddress(local.network, address.ip);
  const called = workload ?? store.serviceByVip(local.network, address.ip, null);
  const waypoint = called?.waypoint ?? null;
  if (waypoint === null) return false;
  const isHere = (ip: IpAddress): boolean => ip.equals(tcpDestination.ip);
  return gatewayHas(store, waypoint, (candidate) => {
    // One host may be described twice (a WorkloadEntry and an inline endpoint): the same identity at the same address is us.
    return (
      candidate.uid === local.uid ||
      (candidate.identity.equals(local.identity) && candidate.addresses.some(isHere))
    );
  });
}

function toHostname(store: MeshStore, request: InboundRequest, name: HostPort): InboundRoute {
  const { local } = request;
  const service = store.serviceByExactHostname(name.host, local.namespace);
  if (service === null) return refuse(503, "no_route", `no service is called ${name.host}`);
  const own = store.endpoint(serviceKey(service), local.uid)?.ports.get(name.port);
  const port = own ?? service.ports.get(name.port)?.targetPort ?? 0;
  if (port === 0) return refuse(503, "no_route", `${name.host} has no target for port ${name.port}`);
  return accept(request, port, service, () => {
    const vip = serviceVip(service, local.network);
    return vip === null
      ? refuse(503, "no_route", `${name.host} has no address for a PROXY header`)
      : { ip: vip, port: name.port };
  });
}

function accept(
  request: InboundRequest,
  port: number,
  service: Service | null,
  tunnelDestination: () => SocketAddress | Refusal,
): InboundRoute {
  const { local, tcpDestination, isOwnListener } = request;
  if (port === 0) return refuse(400, "hbone_request", "port 0 cannot be reached");
  const called = { ip: tcpDestination.ip, port };
  // Checked on the resolved port, before an application tunnel replaces it, as in ztunnel; and after, since that costs nothing.
  if (isOwnListener(called)) return ownListener(called);
  const tunnel = local.applicationTunnel;
  if (tunnel === null) return { kind: "accept", target: called, service, proxyProtocol: null };
  const target = { ip: tcpDestination.ip, port: tunnel.port > 0 ? tunnel.port : port };
  const isProxied = tunnel.protocol === "PROXY";
  const dialled = isProxied ? { ip: IpAddress.loopback(target.ip.isIpv4), port: target.port } : target;
  for (const each of [target, dialled]) if (isOwnListener(each)) return ownListener(each);
  const destination = tunnelDestination();
  if ("kind" in destination) return destination;
  return {
    kind: "accept",
    target,
    service,
    proxyProtocol: isProxied ? { destination } : null,
  };
}

/** The service the client named, if it is one of the workload's; else the first with that target port (ztunnel `guess_inbound_service`). */
function guessService(store: MeshStore, request: InboundRequest, port: number): Service | null {
  const { local, forwardedHost } = request;
  let guess: Service | null = null;
  for (const [key, ownPorts] of local.services) {
    const service = store.serviceByKey(key);
    if (service === null) continue;
    if (service.hostname === forwardedHost) return service;
    if (guess !== null) continue;
    for (const { servicePort, targetPort } of service.ports.values()) {
      if (targetPort === port || ownPorts.get(servicePort) === port) guess = service;
    }
  }
  return guess;
}

function ownListener(target: SocketAddress): Refusal {
  return refuse(503, "self_call", `${formatSocketAddress(target)} is this node's own`);
}

function refuse(status: 400 | 503, code: ErrorCode, message: string): Refusal {
  return { kind: "refuse", status, code, message };
}
