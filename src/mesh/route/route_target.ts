/** What a client called: an address or a name, and the service behind it. */
import { formatSocketAddress, IpAddress, type SocketAddress } from "../../base/ip.ts";
import type { Service } from "../service.ts";
import type { MeshStore } from "../store/store.ts";
import type { OutboundRequest } from "./route.ts";

/** What was called, after names were looked up. */
export interface Target {
  /** Null when a service without a VIP was called by name. */
  readonly ip: IpAddress | null;
  readonly port: number;
  /** The service that was called; null when a workload or an unknown address was. */
  readonly service: Service | null;
  /** As the authority has it. */
  readonly authority: string;
  readonly hostname: string | null;
}

/** @returns null for a name that no visible service has. */
export function findTarget(store: MeshStore, request: OutboundRequest): Target | null {
  const { destination, source } = request;
  if ("ip" in destination) return addressTarget(store, request, destination);
  const literal = IpAddress.parse(destination.host);
  if (literal !== null) return addressTarget(store, request, { ip: literal, port: destination.port });
  const service = store.serviceByHostname(destination.host, source.namespace);
  if (service === null) return null;
  const vip = serviceVip(service, request.network);
  const port = destination.port;
  return {
    ip: vip,
    port,
    service,
    authority: vip === null ? `${destination.host}:${port}` : formatSocketAddress({ ip: vip, port }),
    hostname: destination.host,
  };
}

/** A workload's own address comes before a VIP here (ztunnel `fetch_address`): then the call is not service-addressed. */
function addressTarget(store: MeshStore, request: OutboundRequest, address: SocketAddress): Target {
  const workload = store.workloadByAddress(request.network, address.ip);
  const service =
    workload === null ? store.serviceByVip(request.network, address.ip, request.source.namespace) : null;
  return {
    ip: address.ip,
    port: address.port,
    service,
    authority: formatSocketAddress(address),
    hostname: null,
  };
}

/** Of the same network first, IPv4 first. @returns null for a headless service. */
export function serviceVip(service: Service, network: string): IpAddress | null {
  const vips = service.addresses;
  const local = vips.filter((vip) => vip.network === network);
  return (local.find((vip) => vip.ip.isIpv4) ?? local[0] ?? vips[0])?.ip ?? null;
}
