/**
 * A waypoint's way to a workload: direct, over HBONE with the waypoint's own identity, or in the clear where the workload takes no HBONE.
 * The same for a client whose tunnel routes by itself, but through the waypoint of a service that has one.
 */
import { MeshError } from "../base/errors.ts";
import { formatSocketAddress, type SocketAddress } from "../base/ip.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import type { KeepAlive, Socket } from "../host/host.ts";
import { directRoute, waypointRoute } from "../mesh/route/outbound_route.ts";
import { authorityFor, type HboneRoute, type PlainRoute, type RefusedRoute } from "../mesh/route/route.ts";
import type { Service } from "../mesh/service.ts";
import type { Workload } from "../mesh/workload.ts";
import { connectHeaders } from "../wire/hbone.ts";
import { formatForwarded } from "../wire/headers.ts";
import { baggageText } from "./baggage.ts";
import { securedInside } from "./carry/inner_socket.ts";
import { StreamSocket } from "./carry/stream_socket.ts";
import { attemptOrder, firstOf } from "./names/attempts.ts";
import { applicationAddress, type NodeContext } from "./node_context.ts";
import type { TunnelPool } from "./tunnel/pool.ts";
import { openTunnelStream, tunnelTarget } from "./tunnel/tunnel_stream.ts";

export interface EndpointCall {
  /** Who calls: the waypoint. */
  readonly source: Workload;
  readonly workload: Workload;
  readonly port: number;
  readonly service: Service | null;
  /** Of the service, when the call goes through the waypoint that the service may have; null for a waypoint's own calls, which go past it. */
  readonly throughWaypointOf: number | null;
  /** Of the client, for whoever logs it at the other end. */
  readonly client: SocketAddress;
  /** What the destination wants of each connection, before a byte of a request; left out for nothing. */
  readonly opening?: EndpointOpening;
  /** Of a connection in the clear; a tunnel has its own. */
  readonly keepAlive?: KeepAlive;
}

export interface EndpointOpening {
  /** Sent first, as it is: a PROXY protocol header. Null for none. */
  readonly header: Uint8Array | null;
  /** TLS of the destination's own. Null for none. */
  readonly secure: ((socket: Socket) => Promise<Socket>) | null;
}

export class EndpointDial {
  readonly #context: NodeContext;
  readonly #pool: TunnelPool;

  constructor(context: NodeContext, pool: TunnelPool) {
    this.#context = context;
    this.#pool = pool;
  }

  /** @throws MeshError `no_route`, `connect_*`, `certificate_*`, `tls_*`, `hbone_status`, `h2_*`. */
  async connect(call: EndpointCall): Promise<Socket> {
    const route = this.#route(call);
    if (route.protocol === "REFUSED") throw new MeshError(route.code, "upstream", route.message);
    const targets = await this.#targets(route.dial);
    const isTunnel = route.protocol !== "TCP";
    const socket = isTunnel
      ? await this.#connectTunnel(call, route, targets)
      : await this.#connectPlain(targets, call.keepAlive);
    // A waypoint on the way does what its service's documents want.
    const isDirect = route.protocol === "TCP" || route.via === "direct";
    const { header = null, secure = null } = (isDirect ? call.opening : null) ?? {};
    // A connection that has just been made has room for it.
    if (header !== null && socket.write(header) < header.length) {
      socket.reset();
      throw new MeshError("connection_closed", "upstream", "the connection took no PROXY protocol header");
    }
    if (secure === null) return socket;
    return isTunnel ? securedInside(this.#context, socket, secure) : secure(socket);
  }

  #route(call: EndpointCall): HboneRoute | PlainRoute | RefusedRoute {
    const { store, settings, random } = this.#context;
    const { source, workload, port, service, throughWaypointOf } = call;
    if (service !== null && throughWaypointOf !== null) {
      const request = { source, sourceIp: call.client.ip, network: settings.network };
      const route = waypointRoute(store, request, service, throughWaypointOf, () => random.float());
      if (route !== null && route.protocol !== "HBONE" && route.protocol !== "REFUSED")
        throw new MeshError(
          "unsupported",
          "local",
          `the waypoint of ${service.hostname} is on another network`,
        );
      if (route !== null) return route;
    }
    return directRoute(store, source, { workload, port, service });
  }

  async #targets(dial: PlainRoute["dial"]): Promise<readonly SocketAddress[]> {
    if (dial.kind === "address") return [dial.address];
    const found = await this.#context.names.resolve(dial.hostname);
    return attemptOrder(found, dial.family, () => this.#context.random.float()).map((ip) => ({
      ip,
      port: dial.port,
    }));
  }

  async #connectPlain(targets: readonly SocketAddress[], keepAlive: KeepAlive | undefined): Promise<Socket> {
    const { clock, net, own, settings } = this.#context;
    const { mark } = settings;
    const attempt = (to: SocketAddress): Promise<Socket> => {
      if (own.isReachedAt(applicationAddress(this.#context, to)))
        throw new MeshError("self_call", "local", `${formatSocketAddress(to)} is this tunnel itself`);
      const timeoutMs = proxyLimits.connectTimeoutMs;
      return net.connect({
        ...{ to, timeoutMs },
        ...(mark === null ? {} : { mark }),
        ...(keepAlive === undefined ? {} : { keepAlive }),
      });
    };
    return firstOf({ clock, targets, attempt, discard: (late) => late.reset(), isWanted: () => true });
  }

  async #connectTunnel(
    call: EndpointCall,
    route: HboneRoute,
    targets: readonly SocketAddress[],
  ): Promise<Socket> {
    const acquire = async (to: SocketAddress) => {
      const target = tunnelTarget(this.#context, call.source, route.expectedIdentities, to);
      return { to, tunnel: await this.#pool.acquire(target) };
    };
    const { clock } = this.#context;
    const first = await firstOf({
      clock,
      targets,
      attempt: acquire,
      discard: () => {},
      isWanted: () => true,
    });
    const headers = connectHeaders({
      authority: authorityFor(route, first.to.ip),
      baggage: baggageText(call.source),
      forwarded: formatForwarded(formatSocketAddress(call.client), call.service?.hostname ?? null),
      traceparent: null,
      forwardedNetwork: null,
    });
    const { stream, wait } = await openTunnelStream(clock, first.tunnel, {
      headers,
      onTunnel: () => {},
      another: async () => (await acquire(first.to)).tunnel,
    });
    return new StreamSocket(stream, wait, call.client, { ip: first.to.ip, port: call.port });
  }
}
