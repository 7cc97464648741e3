/** One connection to a server: name, TCP, TLS, our verdict on the server, then HTTP/2. */
import type { MeshError } from "../../base/errors.ts";
import type { HostPort } from "../../base/ip.ts";
import type { Host, TlsCredentials, TlsSocket } from "../../host/host.ts";
import { GrpcClient } from "../../wire/grpc/client.ts";
import { dial, secure } from "../dial.ts";
import { H2Link } from "../h2_link.ts";
import { h2LimitsOf, type RpcLimits } from "./rpc_limits.ts";

export interface ChannelTls {
  readonly credentials: TlsCredentials;
  /** Sent as SNI unless it is an IP address, and the `:authority`. */
  readonly serverName: string;
  /** Called before a byte of HTTP is sent. @throws MeshError to refuse the server. */
  verify(chain: readonly Uint8Array[]): Promise<void>;
}

export interface ClientConnectionEvents {
  /** The server takes no new calls on this connection. */
  onGoAway(connection: ClientConnection): void;
  /** Exactly once, and only after `open` has resolved. */
  onGone(connection: ClientConnection, error: MeshError | null): void;
}

export class ClientConnection {
  readonly client: GrpcClient;
  readonly #link: H2Link;

  private constructor(
    host: Host,
    socket: TlsSocket,
    authority: string,
    limits: RpcLimits,
    events: ClientConnectionEvents,
  ) {
    const { clock } = host;
    this.#link = new H2Link(
      clock,
      socket,
      {
        role: "client",
        limits: h2LimitsOf(limits, "client"),
        keepAlive: { intervalMs: limits.keepAliveIntervalMs, timeoutMs: limits.keepAliveTimeoutMs },
      },
      {
        onGoAway: () => events.onGoAway(this),
        onGone: (error) => events.onGone(this, error),
      },
    );
    this.client = new GrpcClient(this.#link.connection, {
      authority,
      scheme: "https",
      clock,
      userAgent: "fairlead",
    });
    this.#link.start();
  }

  /** @throws MeshError `name_not_found`, `connect_*`, `tls_*`, or what `tls.verify` says of the server. */
  static async open(
    host: Host,
    target: HostPort,
    tls: ChannelTls,
    limits: RpcLimits,
    events: ClientConnectionEvents,
  ): Promise<ClientConnection> {
    const { serverName, credentials } = tls;
    const socket = await dial(host.net, target, limits.connectTimeoutMs, limits.maxAddresses);
    const secured = await secure(
      host.net,
      socket,
      { credentials, alpn: ["h2"], timeoutMs: limits.handshakeTimeoutMs },
      serverName,
      (chain) => tls.verify(chain),
    );
    const name = serverName.includes(":") ? `[${serverName}]` : serverName;
    return new ClientConnection(host, secured.tls, `${name}:${target.port}`, limits, events);
  }

  get acceptsCalls(): boolean {
    return !this.#link.over && this.#link.connection.acceptsRequests;
  }

  /** No new calls; over with the last one. */
  drain(): void {
    this.#link.drain();
  }

  /** GOAWAY, and every call is cut. */
  close(): void {
    this.#link.close();
  }
}
