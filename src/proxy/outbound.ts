/**
 * A connection of one of our workloads toward somewhere else: routed, registered, connected over HBONE or plain TCP, carried.
 * How it reached us (capture, SOCKS5, HTTP CONNECT, a local port) is the business of the entry that hands it over.
 */
import { faultOf, MeshError } from "../base/errors.ts";
import { formatSocketAddress, type HostPort, type IpAddress, type SocketAddress } from "../base/ip.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import type { Socket } from "../host/host.ts";
import type { DialTarget } from "../mesh/route/balance.ts";
import { resolveOutbound } from "../mesh/route/outbound_route.ts";
import { authorityFor, type HboneRoute, type Route } from "../mesh/route/route.ts";
import type { Workload } from "../mesh/workload.ts";
import { connectHeaders } from "../wire/hbone.ts";
import { formatBaggage, formatForwarded, formatTraceparent } from "../wire/headers.ts";
import { workloadBaggage } from "./baggage.ts";
import { Copy, type CopyEnd } from "./carry/copy.ts";
import type { EarlySocket } from "./carry/early_socket.ts";
import { SocketEnd } from "./carry/socket_end.ts";
import { StreamEnd } from "./carry/stream_end.ts";
import type { Connection } from "./connections.ts";
import { applicationAddress, type NodeContext } from "./node_context.ts";
import type { Parties } from "./telemetry.ts";
import { AnswerWait } from "./tunnel/answer_wait.ts";
import type { TunnelPool } from "./tunnel/pool.ts";

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

export class OutboundFlow {
  readonly #context: NodeContext;
  readonly #pool: TunnelPool;
  readonly #random: () => number;

  constructor(context: NodeContext, pool: TunnelPool) {
    this.#context = context;
    this.#pool = pool;
    this.#random = () => context.random.float();
  }

  /** Carries one connection to its end. Never rejects: failures are answered, recorded, and the socket is closed. */
  async carry(accepted: Accepted): Promise<void> {
    const { own, settings, store, telemetry } = this.#context;
    const route = resolveOutbound(
      store,
      {
        source: accepted.source,
        sourceIp: accepted.socket.remote.ip,
        destination: accepted.destination,
        network: settings.network,
        isOwnListener: (target) => own.isReachedAt(applicationAddress(this.#context, target)),
      },
      this.#random,
    );
    if (route.protocol === "REFUSED" || route.protocol === "DOUBLE_HBONE") {
      const error =
        route.protocol === "REFUSED"
          ? new MeshError(route.code, "local", route.message)
          : new MeshError(
              "unsupported",
              "local",
              "networks behind a gateway are not reached by this version",
            );
      telemetry.refused("outbound", accepted.socket.remote, describe(accepted.destination), error);
      turnAway(accepted, error);
      return;
    }
    let connection: Connection | null = null;
    try {
      const dial = await this.#dialAddress(route.dial);
      const opened = this.#context.connections.open(parties(accepted, route, dial));
      if (opened instanceof MeshError) return turnAway(accepted, opened);
      connection = opened;
      connection.onAbort = () => accepted.socket.reset();
      // A client that leaves ends the wait for whatever its connection waits for.
      accepted.early.onGone = (error) => opened.abort(error);
      const upstream =
        route.protocol === "TCP"
          ? await this.#connectPlain(connection, dial)
          : await this.#connectTunnel(connection, accepted, route, dial);
      this.#copy(accepted, connection, upstream);
    } catch (thrown) {
      const error = faultOf(thrown);
      if (connection === null)
        telemetry.refused("outbound", accepted.socket.remote, describe(accepted.destination), error);
      else connection.finish(error);
      turnAway(accepted, error);
    }
  }

  #copy(accepted: Accepted, connection: Connection, upstream: CopyEnd): void {
    if (connection.ended) {
      upstream.abort();
      return;
    }
    accepted.early.onGone = null;
    accepted.answer?.(null);
    const downstream = new SocketEnd(accepted.socket, accepted.early);
    const copy = new Copy(downstream, upstream, connection.record, (error) => connection.finish(error));
    connection.onAbort = (error) => copy.abort(error);
    copy.start();
  }

  /** A workload known by name only is looked up when it is called (ztunnel `resolve_workload_address`). */
  async #dialAddress(dial: DialTarget): Promise<SocketAddress> {
    if (dial.kind === "address") return dial.address;
    const all = await this.#context.net.resolve(dial.hostname);
    const preferred = all.filter((ip) => dial.family === null || ip.isIpv4 === (dial.family === "IPV4"));
    const usable = preferred.length > 0 ? preferred : all;
    const ip = usable[Math.floor(this.#random() * usable.length)];
    if (ip === undefined)
      throw new MeshError("name_not_found", "upstream", `${dial.hostname} has no usable address`);
    return { ip, port: dial.port };
  }

  async #connectPlain(connection: Connection, to: SocketAddress): Promise<CopyEnd> {
    const { mark } = this.#context.settings;
    const socket = await this.#context.net.connect({
      to,
      timeoutMs: proxyLimits.connectTimeoutMs,
      ...(mark === null ? {} : { mark }),
    });
    if (connection.ended) socket.reset();
    return new SocketEnd(socket);
  }

  async #connectTunnel(
    connection: Connection,
    accepted: Accepted,
    route: HboneRoute,
    dial: SocketAddress,
  ): Promise<CopyEnd> {
    const to = { ip: dial.ip, port: this.#hbonePort(dial.port) };
    const headers = this.#headers(accepted, route, dial.ip);
    const target = {
      dial: to,
      source: accepted.source.identity,
      expected: route.expectedIdentities,
      from: this.#tunnelSource(accepted.source, to.ip),
    };
    // A tunnel may be told to go away between being chosen and being used: once more on another, never on an answer.
    for (let attempt = 1; ; attempt++) {
      const acquired = this.#pool.acquire(target);
      const tunnel = acquired instanceof Promise ? await acquired : acquired;
      if (connection.ended)
        throw new MeshError("stopped", "local", "the connection ended while it was being made");
      const wait = new AnswerWait();
      const stream = tunnel.request(headers, wait);
      if (stream === null) {
        if (attempt < 3) continue;
        throw new MeshError("h2_refused", "upstream", "no tunnel had room for a stream");
      }
      connection.peer = tunnel.peer;
      connection.record.verifiedDestination = tunnel.peer.id;
      connection.record.tls = tunnel.tls;
      connection.onAbort = () => {
        wait.cancel();
        accepted.socket.reset();
      };
      const outcome = await wait.outcome(this.#context.clock, stream);
      if (outcome === "answered") return new StreamEnd(stream, wait);
      if (attempt >= 3) throw new MeshError("h2_refused", "upstream", "the tunnel refused the stream");
    }
  }

  #headers(accepted: Accepted, route: HboneRoute, resolved: IpAddress) {
    const trace = new Uint8Array(24);
    this.#context.random.fill(trace);
    return connectHeaders({
      authority: authorityFor(route, resolved),
      baggage: formatBaggage(workloadBaggage(accepted.source)),
      forwarded: formatForwarded(
        formatSocketAddress(accepted.socket.remote),
        route.service?.hostname ?? null,
      ),
      traceparent: formatTraceparent(trace),
      forwardedNetwork: null,
    });
  }

  /**
   * On a host with several workloads each calls from its own address, so that the peer's address rules see who calls. Behind NAT
   * the workload's address is none of this host's, and the kernel chooses, as it does for ztunnel.
   */
  #tunnelSource(source: Workload, to: IpAddress): IpAddress | null {
    const { locals } = this.#context;
    return source.addresses.find((ip) => ip.isIpv4 === to.isIpv4 && locals.isHostAddress(ip)) ?? null;
  }

  /** Routes speak of the default HBONE port; a test that cannot have it moves all of them. */
  #hbonePort(port: number): number {
    return port === 15008 ? this.#context.settings.hbonePort : port;
  }
}

function turnAway(accepted: Accepted, error: MeshError): void {
  if (accepted.answer === null) accepted.socket.reset();
  else {
    accepted.answer(error);
    accepted.socket.close();
  }
}

function parties(
  accepted: Accepted,
  route: Exclude<Route, { protocol: "REFUSED" | "DOUBLE_HBONE" }>,
  dial: SocketAddress,
): Parties {
  const secure = route.protocol === "HBONE";
  return {
    direction: "outbound",
    source: {
      address: accepted.socket.remote,
      workload: accepted.source,
      baggage: null,
      identity: secure ? accepted.source.identity : null,
    },
    destination: {
      address: dial,
      hboneAddress: route.protocol === "HBONE" ? authorityFor(route, dial.ip) : null,
      workload: route.destination,
      baggage: null,
      service: route.service,
      identity: secure ? route.destination.identity : null,
    },
  };
}

function describe(destination: SocketAddress | HostPort): string {
  return "ip" in destination ? formatSocketAddress(destination) : `${destination.host}:${destination.port}`;
}
