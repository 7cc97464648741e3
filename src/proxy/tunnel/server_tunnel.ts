/** The other side's HBONE tunnel into one of our workloads: TLS with that workload's SVID, our verdict on the caller, then HTTP/2. */
import type { IpAddress, SocketAddress } from "../../base/ip.ts";
import { proxyLimits } from "../../base/limits/proxy.ts";
import type { Socket } from "../../host/host.ts";
import type { Workload } from "../../mesh/workload.ts";
import type { Svid } from "../../pki/svid/svid.ts";
import type { VerifiedPeer } from "../../pki/trust/verifier.ts";
import type { Door, Visit } from "../../transport/door.ts";
import { H2Link } from "../../transport/h2_link.ts";
import type { WindowAccount } from "../../wire/h2/connection_state.ts";
import type { HeaderFields } from "../../wire/h2/headers.ts";
import type { H2Stream } from "../../wire/h2/stream.ts";
import { type Baggage, parseBaggage } from "../../wire/headers.ts";
import type { NodeContext } from "../node_context.ts";
import type { TlsParameters } from "../telemetry.ts";
import { tlsOptions, type Verified } from "./tls_options.ts";

export interface ServerTunnelEvents {
  onRequest(tunnel: ServerTunnel, stream: H2Stream, headers: HeaderFields, endStream: boolean): void;
  onGone(tunnel: ServerTunnel): void;
}

/** A connection that was accepted for one of our workloads. */
export interface Arrival {
  readonly workload: Workload;
  readonly socket: Socket;
  /** The workload's address and the HBONE port. */
  readonly destination: SocketAddress;
  readonly door: Door;
  readonly visit: Visit;
}

export class ServerTunnel {
  readonly workload: Workload;
  /** What we showed; a later one is shown by later tunnels. */
  readonly svid: Svid;
  readonly peer: VerifiedPeer;
  readonly tls: TlsParameters;
  /** Of the TCP connection. */
  readonly source: SocketAddress;
  /** Where the TCP connection arrived: the workload's address and the HBONE port. */
  readonly destination: SocketAddress;
  readonly #link: H2Link;
  #isDraining = false;
  #lastBaggage: { readonly text: string; readonly said: Baggage } | null = null;

  private constructor(
    context: NodeContext,
    { workload, destination }: Arrival,
    { svid, peer, socket }: Verified,
    events: ServerTunnelEvents,
  ) {
    this.workload = workload;
    this.svid = svid;
    this.peer = peer;
    this.tls = { cipherSuite: socket.cipherSuite, keyExchange: socket.keyExchange };
    this.source = socket.remote;
    this.destination = destination;
    this.#link = new H2Link(
      context.clock,
      socket,
      {
        role: "server",
        limits: context.settings.h2,
        keepAlive: { intervalMs: proxyLimits.keepAliveIntervalMs, timeoutMs: proxyLimits.keepAliveTimeoutMs },
      },
      {
        onRequest: (stream, headers, endStream) => events.onRequest(this, stream, headers, endStream),
        onOver: () => events.onGone(this),
      },
    );
  }

  /** Starts delivery: from here on requests come, and the end is told. A peer may have left long ago, so whoever keeps tunnels has this one by now. */
  start(): void {
    this.#link.start();
  }

  /** The tunnel is not started. @throws MeshError `identity_unavailable`, `tls_*`, `certificate_*`. The socket is gone when it throws, and nothing was read from it but the handshake. */
  static async accept(
    context: NodeContext,
    arrival: Arrival,
    events: ServerTunnelEvents,
  ): Promise<ServerTunnel> {
    const { workload, socket, door, visit } = arrival;
    let held = socket;
    try {
      const svid = await context.secrets.svid(workload.identity);
      const options = { ...tlsOptions(svid, context.trust), signal: visit.signal };
      const tls = await door.begin(visit, () => context.net.tlsServer(socket, options));
      held = tls;
      const peer = await context.trust.verify(tls.peerChain, { usage: "clientAuth", identities: null });
      visit.proven();
      return new ServerTunnel(context, arrival, { svid, peer, socket: tls }, events);
    } catch (error) {
      held.reset();
      throw error;
    }
  }

  get localIp(): IpAddress {
    return this.destination.ip;
  }

  /** What a CONNECT says of its caller. One caller says the same each time, and has one object then for all its connections. */
  baggage(text: string | null): Baggage | null {
    if (text === null) return null;
    if (this.#lastBaggage?.text !== text) this.#lastBaggage = { text, said: parseBaggage(text) };
    return this.#lastBaggage.said;
  }

  /** For checks; null when the tunnel is over. */
  get windowAccount(): WindowAccount | null {
    return this.#link.over ? null : this.#link.connection.windowAccount;
  }

  /** It takes no new streams, as soon as its peer knows. */
  get isDraining(): boolean {
    return this.#isDraining;
  }

  get openStreams(): number {
    return this.#link.openStreams;
  }

  /** GOAWAY in two steps (RFC 9113 §6.8); the tunnel ends with its last stream. */
  drain(): void {
    this.#isDraining = true;
    this.#link.drain();
  }

  /** For a peer that is not trusted any more, and for the end of a drain: not a byte further. */
  abort(): void {
    this.#link.abort();
  }
}
