/** Our end of an HBONE tunnel that we dialled: TCP, TLS, our verdict on the peer, then HTTP/2. */
import { MeshError } from "../../base/errors.ts";
import type { IpAddress, SocketAddress } from "../../base/ip.ts";
import { formatSocketAddress } from "../../base/ip.ts";
import { proxyLimits } from "../../base/limits/proxy.ts";
import type { Socket } from "../../host/host.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import type { Svid } from "../../pki/svid/svid.ts";
import type { VerifiedPeer } from "../../pki/trust/verifier.ts";
import { secure } from "../../transport/dial.ts";
import { H2Link } from "../../transport/h2_link.ts";
import type { WindowAccount } from "../../wire/h2/connection_state.ts";
import type { HeaderFields } from "../../wire/h2/headers.ts";
import type { H2Stream, H2StreamEvents } from "../../wire/h2/stream.ts";
import type { NodeContext } from "../node_context.ts";
import type { TlsParameters } from "../telemetry.ts";
import { tlsOptions, type Verified } from "./tls_options.ts";

export interface TunnelTarget {
  readonly dial: SocketAddress;
  /** The workload that calls: its SVID is shown. */
  readonly source: SpiffeId;
  /** Whose SVID we accept from the other end; never empty. */
  readonly expected: readonly [SpiffeId, ...SpiffeId[]];
  /** Bound as the source address of the TCP connection; null lets the kernel choose. */
  readonly from: IpAddress | null;
}

export class ClientTunnel {
  readonly target: TunnelTarget;
  readonly svid: Svid;
  readonly peer: VerifiedPeer;
  readonly tls: TlsParameters;
  readonly #link: H2Link;
  readonly #maxStreams: number;
  #retired = false;
  /** Monotonic; when the last stream ended. */
  idleSinceMs: number;

  private constructor(
    context: NodeContext,
    target: TunnelTarget,
    { svid, peer, socket }: Verified,
    onGone: (tunnel: ClientTunnel) => void,
  ) {
    this.target = target;
    this.#maxStreams = context.settings.maxStreamsPerConnection;
    this.svid = svid;
    this.peer = peer;
    this.tls = { cipherSuite: socket.cipherSuite, keyExchange: socket.keyExchange };
    this.idleSinceMs = context.clock.now();
    this.#link = new H2Link(
      context.clock,
      socket,
      {
        role: "client",
        limits: context.settings.h2,
        keepAlive: { intervalMs: proxyLimits.keepAliveIntervalMs, timeoutMs: proxyLimits.keepAliveTimeoutMs },
      },
      { onOver: () => onGone(this) },
    );
    this.#link.start();
  }

  /**
   * @throws MeshError `identity_unavailable`, `connect_*` (blame upstream), `tls_*`, `certificate_*` (blame peer). Nothing of the
   *   application was sent when it throws.
   */
  static async open(
    context: NodeContext,
    target: TunnelTarget,
    onGone: (tunnel: ClientTunnel) => void,
  ): Promise<ClientTunnel> {
    const svid = await context.secrets.svid(target.source);
    const socket = await dial(context, target);
    const { tls, peer } = await secure(context.net, socket, tlsOptions(svid, context.trust), null, (chain) =>
      context.trust.verify(chain, { usage: "serverAuth", identities: target.expected }),
    );
    return new ClientTunnel(context, target, { svid, peer, socket: tls }, onGone);
  }

  /** Whether a stream can be opened now. */
  get hasRoom(): boolean {
    return (
      !this.#link.over &&
      !this.#retired &&
      this.#link.connection.acceptsRequests &&
      this.#link.connection.openStreams <
        Math.min(this.#maxStreams, this.#link.connection.remoteMaxConcurrentStreams)
    );
  }

  get closed(): boolean {
    return this.#link.over;
  }

  /** For checks; null when the tunnel is over. */
  get windowAccount(): WindowAccount | null {
    return this.#link.over ? null : this.#link.connection.windowAccount;
  }

  get openStreams(): number {
    return this.#link.openStreams;
  }

  /** @returns null when the tunnel has no room after all. */
  request(headers: HeaderFields, events: H2StreamEvents): H2Stream | null {
    return this.hasRoom ? this.#link.connection.request(headers, false, events) : null;
  }

  /** No new streams; those that are open live on. */
  retire(): void {
    this.#retired = true;
  }

  /** No new streams; the tunnel ends with its last one, in order. */
  drain(): void {
    this.#retired = true;
    this.#link.drain();
  }

  /** GOAWAY, then close. Streams that are open are cut. */
  close(): void {
    this.#link.close();
  }

  /** For a peer that is not trusted any more: not a byte further. */
  abort(): void {
    this.#link.abort();
  }
}

async function dial(context: NodeContext, target: TunnelTarget): Promise<Socket> {
  const { mark } = context.settings;
  const options = {
    to: target.dial,
    timeoutMs: proxyLimits.connectTimeoutMs,
    ...(mark === null ? {} : { mark }),
  };
  try {
    if (target.from === null) return await context.net.connect(options);
    const from = { ip: target.from, port: 0, transparent: false };
    return await context.net.connect({ ...options, from });
  } catch (error) {
    const code = error instanceof MeshError ? error.code : null;
    // EADDRNOTAVAIL: the address has left this host in the last second.
    if (code === "io" && target.from !== null) return dial(context, { ...target, from: null });
    if (code !== "connect_timeout") throw error;
    const hint = `no answer from ${formatSocketAddress(target.dial)}: is a firewall blocking HBONE port ${target.dial.port}?`;
    throw new MeshError("connect_timeout", "upstream", hint, { cause: error });
  }
}
