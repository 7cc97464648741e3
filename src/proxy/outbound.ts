/**
 * A connection of one of our workloads toward somewhere else: routed, registered, connected over HBONE or plain TCP, carried.
 * How it reached us (capture, SOCKS5, HTTP CONNECT, a local port) is the business of the entry that hands it over.
 */
import { faultOf, MeshError } from "../base/errors.ts";
import {
  formatAddress,
  formatSocketAddress,
  type HostPort,
  type IpAddress,
  type SocketAddress,
} from "../base/ip.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import type { Socket } from "../host/host.ts";
import { type CalledService, serviceToRoute } from "../mesh/route/client_route.ts";
import { resolveOutbound } from "../mesh/route/outbound_route.ts";
import {
  authorityFor,
  type HboneRoute,
  type NameRoute,
  type OutboundRequest,
  type TcpRoute,
} from "../mesh/route/route.ts";
import type { Workload } from "../mesh/workload.ts";
import { connectHeaders } from "../wire/hbone.ts";
import { formatForwarded, formatTraceparent } from "../wire/headers.ts";
import { baggageText } from "./baggage.ts";
import { Copy, type CopyEnd } from "./carry/copy.ts";
import type { EarlySocket } from "./carry/early_socket.ts";
import { KeptSocket } from "./carry/kept_socket.ts";
import { SocketEnd } from "./carry/socket_end.ts";
import { StreamEnd } from "./carry/stream_end.ts";
import type { Connection } from "./connections.ts";
import { attemptOrder, firstOf } from "./names/attempts.ts";
import { applicationAddress, type NodeContext } from "./node_context.ts";
import type { Parties } from "./parties.ts";
import type { AnswerWait } from "./tunnel/answer_wait.ts";
import type { ClientTunnel } from "./tunnel/client_tunnel.ts";
import type { TunnelPool } from "./tunnel/pool.ts";
import { openTunnelStream, tunnelTarget } from "./tunnel/tunnel_stream.ts";
import { Call, type WaypointService } from "./waypoint_flow.ts";

/** A connection that an entry has accepted and whose destination it knows. */
export interface Accepted {
  readonly socket: Socket;
  readonly source: Workload;
  readonly destination: SocketAddress | HostPort;
  /** Has had the socket so far, and notices when the client leaves. */
  readonly early: EarlySocket;
  /** Tells the client how it went, before its first byte of payload; null where nothing is told (capture). */
  readonly answer: ((error: MeshError | null) => void) | null;
}

type LeadingRoute = HboneRoute | TcpRoute | NameRoute;

export class OutboundFlow {
  readonly #context: NodeContext;
  readonly #pool: TunnelPool;
  readonly #random: () => number;
  readonly #inside: WaypointService | null;

  /** @param inside who serves what comes from a workload that has the application inside. */
  constructor(context: NodeContext, pool: TunnelPool, inside: WaypointService | null = null) {
    this.#context = context;
    this.#pool = pool;
    this.#inside = inside;
    this.#random = () => context.random.float();
  }

  /** Carries one connection to its end. Never rejects: failures are answered, recorded, and the socket is closed. */
  async carry(accepted: Accepted): Promise<void> {
    if (this.#inside?.isInside(accepted.source) === true) {
      const called = serviceToRoute(this.#context.store, this.#request(accepted, accepted.destination));
      if (called !== null) return this.#serve(this.#inside, accepted, called);
    }
    const route = this.#route(accepted, accepted.destination);
    if (route instanceof MeshError) {
      const { telemetry } = this.#context;
      telemetry.refused("outbound", accepted.socket.remote, formatAddress(accepted.destination), route);
      return turnAway(accepted, route);
    }
    const opened = this.#context.connections.open(parties(accepted, route, null));
    if (opened instanceof MeshError) return turnAway(accepted, opened);
    opened.held = { abort: () => accepted.socket.reset() };
    // A client that leaves ends the wait for whatever its connection waits for.
    accepted.early.onGone = (error) => opened.abort(error);
    try {
      this.#copy(accepted, opened, await this.#connect(opened, accepted, route));
    } catch (thrown) {
      const error = faultOf(thrown);
      opened.finish(error);
      turnAway(accepted, error);
    }
  }

  /** What is called is routed request by request, by the caller's own application of stages. */
  #serve(inside: WaypointService, accepted: Accepted, { service, ip, port }: CalledService): void {
    const { connections, clock } = this.#context;
    const { socket, source, destination, early } = accepted;
    const opened = connections.open({
      direction: "outbound",
      source: { address: socket.remote, workload: source, baggage: null, identity: source.identity },
      destination: {
        ...{
          address: destination,
          hboneAddress: null,
          workload: null,
          baggage: null,
          service,
          identity: null,
        },
      },
    });
    if (opened instanceof MeshError) {
      turnAway(accepted, opened);
      return;
    }
    accepted.answer?.(null);
    const facts = {
      place: { side: "outbound" },
      ...{ local: source, peer: source.identity, source: socket.remote, sourceWorkload: source },
      called: { service, workload: null, ip, port },
    } as const;
    inside.accept(new Call(opened, new KeptSocket(socket, early), facts, clock));
  }

  #request(accepted: Accepted, destination: SocketAddress | HostPort): OutboundRequest {
    const { own, settings, virtual } = this.#context;
    // An address that stands for a name is called as the name is.
    const name = "ip" in destination ? virtual?.nameOf(destination.ip) : null;
    return {
      source: accepted.source,
      sourceIp: accepted.socket.remote.ip,
      destination: name == null ? destination : { host: name, port: destination.port },
      network: settings.network,
      isOwnListener: (target: SocketAddress) => own.isReachedAt(applicationAddress(this.#context, target)),
    };
  }

  #route(accepted: Accepted, destination: SocketAddress | HostPort): LeadingRoute | MeshError {
    const request = this.#request(accepted, destination);
    if ("ip" in request.destination && this.#context.virtual?.nameOf(request.destination.ip) === null) {
      const message = `${formatAddress(destination)} is a virtual address that stands for no service now; look its name up again`;
      return new MeshError("no_route", "local", message);
    }
    const route = resolveOutbound(this.#context.store, request, this.#random);
    if (route.protocol === "REFUSED") return new MeshError(route.code, "local", route.message);
    if (route.protocol === "DOUBLE_HBONE")
      return new MeshError(
        "unsupported",
        "local",
        "networks behind a gateway are not supported by this version",
      );
    return route;
  }

  /** @throws MeshError when none of the addresses can be reached, or the connection has ended meanwhile. */
  async #connect(connection: Connection, accepted: Accepted, route: LeadingRoute): Promise<CopyEnd> {
    if (route.protocol === "NAME") return this.#connectName(connection, accepted, route);
    const { dial } = route;
    try {
      const targets = dial.kind === "address" ? [dial.address] : await this.#targets(dial);
      throwIfEnded(connection);
      if (route.protocol === "TCP") return await this.#connectPlain(connection, accepted, route, targets);
      return await this.#connectTunnel(connection, accepted, route, targets);
    } catch (error) {
      if (dial.kind === "hostname") this.#forget(dial.hostname, error);
      throw error;
    }
  }

  /** What a name outside the mesh resolves to may be in it: each address is routed as if it had been called. */
  async #connectName(
    connection: Connection,
    accepted: Accepted,
    { hostname, port }: NameRoute,
  ): Promise<CopyEnd> {
    const addresses = attemptOrder(await this.#outsideName(hostname), null, this.#random);
    throwIfEnded(connection);
    const outside: SocketAddress[] = [];
    let refusal: MeshError | null = null;
    for (const ip of addresses) {
      const route = this.#route(accepted, { ip, port });
      if (route instanceof MeshError) refusal ??= route;
      else if (route.protocol === "TCP" && route.destination === null && route.service === null)
        outside.push({ ip, port });
      else return this.#connect(connection, accepted, route);
    }
    if (outside.length === 0 && refusal !== null) throw refusal;
    const dial = { kind: "addresses", addresses: outside } as const;
    const route: TcpRoute = { protocol: "TCP", dial, destination: null, service: null };
    try {
      return await this.#connectPlain(connection, accepted, route, outside);
    } catch (error) {
      this.#forget(hostname, error);
      throw error;
    }
  }

  /** @throws MeshError as `Names.resolve`; a name that is nowhere may be a service's, misspelt. */
  async #outsideName(hostname: string): Promise<readonly IpAddress[]> {
    try {
      return await this.#context.names.resolve(hostname);
    } catch (error) {
      if (!(error instanceof MeshError) || error.code !== "name_not_found") throw error;
      const message = `no service of the mesh has the name ${hostname}, and it does not resolve: ${error.message}`;
      throw new MeshError("name_not_found", "upstream", message, { cause: error });
    }
  }

  /** A name that leads nowhere is looked up again by the next call. */
  #forget(hostname: string, error: unknown): void {
    if (error instanceof MeshError && error.code.startsWith("connect_")) this.#context.names.forget(hostname);
  }

  #copy(accepted: Accepted, connection: Connection, upstream: CopyEnd): void {
    if (connection.ended) {
      upstream.abort();
      return;
    }
    accepted.early.onGone = null;
    accepted.answer?.(null);
    const downstream = new SocketEnd(accepted.socket, accepted.early);
    const copy = new Copy(downstream, upstream, connection.record, this.#context.clock, connection);
    connection.held = copy;
    copy.start();
  }

  /** A workload known by name only is looked up when it is called (ztunnel `resolve_workload_address`). */
  async #targets(dial: Exclude<TcpRoute["dial"], { kind: "address" }>): Promise<readonly SocketAddress[]> {
    if (dial.kind === "addresses") {
      const portOf = new Map(dial.addresses.map(({ ip, port }) => [ip, port]));
      return attemptOrder([...portOf.keys()], null, this.#random).map((ip) => ({
        ip,
        port: portOf.get(ip) ?? 0,
      }));
    }
    const found = await this.#context.names.resolve(dial.hostname);
    return attemptOrder(found, dial.family, this.#random).map((ip) => ({ ip, port: dial.port }));
  }

  async #connectPlain(
    connection: Connection,
    accepted: Accepted,
    route: TcpRoute,
    targets: readonly SocketAddress[],
  ): Promise<CopyEnd> {
    const { clock, net, own, settings } = this.#context;
    const { mark } = settings;
    const attempt = async (to: SocketAddress) => {
      // Routes say so where they know the address; a name may lead anywhere.
      if (own.isReachedAt(applicationAddress(this.#context, to)))
        throw new MeshError("self_call", "local", `${formatSocketAddress(to)} is this node itself`);
      const timeoutMs = proxyLimits.connectTimeoutMs;
      return { to, socket: await net.connect({ to, timeoutMs, ...(mark === null ? {} : { mark }) }) };
    };
    const { to, socket } = await firstOf({
      clock,
      targets,
      attempt,
      discard: (late) => late.socket.reset(),
      isWanted: () => !connection.ended,
    });
    connection.record.reached(parties(accepted, route, to));
    return new SocketEnd(socket);
  }

  async #connectTunnel(
    connection: Connection,
    accepted: Accepted,
    route: HboneRoute,
    targets: readonly SocketAddress[],
  ): Promise<CopyEnd> {
    const acquire = (to: SocketAddress) =>
      this.#pool.acquire(tunnelTarget(this.#context, accepted.source, route.expectedIdentities, to));
    const reached = await this.#firstTunnel(connection, targets, acquire);
    const { to, tunnel } = reached;
    throwIfEnded(connection);
    connection.record.reached(parties(accepted, route, to));
    const headers = this.#headers(accepted, route, to.ip);
    const onTunnel = (used: ClientTunnel, wait: AnswerWait) => {
      connection.peer = used.peer;
      connection.record.verifiedDestination = used.peer.id;
      connection.record.tls = used.tls;
      connection.held = {
        abort: () => {
          wait.cancel();
          accepted.socket.reset();
        },
      };
    };
    const { stream, wait } = await openTunnelStream(this.#context.clock, tunnel, {
      headers,
      onTunnel,
      another: async () => {
        const next = await acquire(to);
        throwIfEnded(connection);
        return next;
      },
    });
    return new StreamEnd(stream, wait);
  }

  /** Of one address, nearly always, the tunnel that is there. Those that come late stay in the pool, for the next call. */
  #firstTunnel(
    connection: Connection,
    targets: readonly SocketAddress[],
    acquire: (to: SocketAddress) => ClientTunnel | Promise<ClientTunnel>,
  ): { to: SocketAddress; tunnel: ClientTunnel } | Promise<{ to: SocketAddress; tunnel: ClientTunnel }> {
    const attempt = (to: SocketAddress) => {
      const tunnel = acquire(to);
      return tunnel instanceof Promise ? tunnel.then((opened) => ({ to, tunnel: opened })) : { to, tunnel };
    };
    const [only] = targets;
    if (only !== undefined && targets.length === 1) return attempt(only);
    const { clock } = this.#context;
    return firstOf({ clock, targets, attempt, discard: () => {}, isWanted: () => !connection.ended });
  }

  #headers(accepted: Accepted, route: HboneRoute, resolved: IpAddress) {
    const trace = new Uint8Array(24);
    this.#context.random.fill(trace);
    return connectHeaders({
      authority: authorityFor(route, resolved),
      baggage: baggageText(accepted.source),
      forwarded: formatForwarded(
        formatSocketAddress(accepted.socket.remote),
        route.service?.hostname ?? null,
      ),
      traceparent: formatTraceparent(trace),
      forwardedNetwork: null,
    });
  }
}

function turnAway(accepted: Accepted, error: MeshError): void {
  if (accepted.answer === null) accepted.socket.reset();
  else {
    accepted.answer(error);
    accepted.socket.close();
  }
}

function throwIfEnded(connection: Connection): void {
  if (connection.ended)
    throw new MeshError("stopped", "local", "the connection ended while it was being made");
}

/** @param reached null as long as it is not known; what the route says is taken then. */
function parties(accepted: Accepted, route: LeadingRoute, reached: SocketAddress | null): Parties {
  const { source, socket } = accepted;
  const caller = { address: socket.remote, workload: source, baggage: null };
  if (route.protocol === "TCP" || route.protocol === "HBONE") {
    const secure = route.protocol === "HBONE";
    const authority = !secure ? null : reached === null ? route.authority : authorityFor(route, reached.ip);
    return {
      direction: "outbound",
      source: { ...caller, identity: secure ? source.identity : null },
      destination: {
        address: reached ?? dialled(route.dial) ?? accepted.destination,
        hboneAddress: authority,
        workload: route.destination,
        baggage: null,
        service: route.service,
        identity: secure ? route.destination.identity : null,
      },
    };
  }
  return {
    direction: "outbound",
    source: { ...caller, identity: null },
    destination: {
      address: accepted.destination,
      hboneAddress: null,
      workload: null,
      baggage: null,
      service: null,
      identity: null,
    },
  };
}

function dialled(dial: TcpRoute["dial"]): SocketAddress | HostPort | null {
  if (dial.kind === "address") return dial.address;
  if (dial.kind === "hostname") return { host: dial.hostname, port: dial.port };
  return dial.addresses[0] ?? null;
}
