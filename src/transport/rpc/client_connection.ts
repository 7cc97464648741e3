/** One connection to a server: name, TCP, TLS, our verdict on the server, then HTTP/2. */
import { MeshError } from "../../base/errors.ts";
import { type HostPort, IpAddress } from "../../base/ip.ts";
import type { Clock, Host, Socket, Timer, TlsSocket } from "../../host/host.ts";
import { GrpcClient } from "../../wire/grpc/client.ts";
import { H2Connection } from "../../wire/h2/connection.ts";
import { Drive } from "../drive.ts";
import type { ChannelTls } from "./channel.ts";
import { h2LimitsOf } from "./h2_limits.ts";
import type { RpcLimits } from "./server.ts";

export interface ClientConnectionEvents {
  /** The server takes no new calls on this connection. */
  onGoAway(connection: ClientConnection): void;
  /** Exactly once, and only after `open` has resolved. */
  onGone(connection: ClientConnection, error: MeshError | null): void;
}

export class ClientConnection {
  readonly client: GrpcClient;
  readonly #connection: H2Connection;
  readonly #drive: Drive;
  readonly #events: ClientConnectionEvents;
  readonly #clock: Clock;
  readonly #lingerMs: number;
  #lingering: Timer | null = null;
  #error: MeshError | null = null;
  #started = false;
  #gone = false;

  private constructor(
    host: Host,
    socket: TlsSocket,
    authority: string,
    limits: RpcLimits,
    events: ClientConnectionEvents,
  ) {
    this.#events = events;
    const { clock } = host;
    this.#clock = clock;
    this.#lingerMs = limits.lingerMs;
    this.#connection = new H2Connection(
      {
        role: "client",
        now: clock.now(),
        limits: h2LimitsOf(limits, "client"),
        keepAlive: { intervalMs: limits.keepAliveIntervalMs, timeoutMs: limits.keepAliveTimeoutMs },
      },
      {
        onRequest: () => {},
        onOutputReady: () => {
          if (this.#started) this.#drive.outputReady();
        },
        onGoAway: () => events.onGoAway(this),
        onClose: (error) => this.#closed(error),
      },
    );
    this.client = new GrpcClient(this.#connection, {
      authority,
      scheme: "https",
      clock,
      userAgent: "fairlead",
    });
    this.#drive = new Drive(clock, socket, this.#connection, (error) => this.#end(error));
    this.#started = true;
    this.#drive.start();
  }

  /** @throws MeshError `name_not_found`, `connect_*`, `tls_*`, or what `tls.verify` says of the server. */
  static async open(
    host: Host,
    target: HostPort,
    tls: ChannelTls,
    limits: RpcLimits,
    events: ClientConnectionEvents,
  ): Promise<ClientConnection> {
    const socket = await dial(host, target, limits);
    const isIp = IpAddress.parse(tls.serverName) !== null;
    let secured: TlsSocket;
    try {
      secured = await host.net.tlsClient(socket, {
        credentials: tls.credentials,
        alpn: ["h2"],
        timeoutMs: limits.handshakeTimeoutMs,
        // RFC 6066 §3: an address is no name.
        ...(isIp ? {} : { serverName: tls.serverName }),
      });
    } catch (error) {
      socket.reset();
      throw error;
    }
    try {
      await tls.verify(secured.peerChain);
    } catch (error) {
      secured.reset();
      throw error;
    }
    const name = isIp && tls.serverName.includes(":") ? `[${tls.serverName}]` : tls.serverName;
    return new ClientConnection(host, secured, `${name}:${target.port}`, limits, events);
  }

  get acceptsCalls(): boolean {
    return !this.#gone && this.#connection.acceptsRequests;
  }

  /** No new calls; over with the last one. */
  drain(): void {
    if (!this.#gone) this.#connection.drain();
  }

  /** GOAWAY, and every call is cut. */
  close(): void {
    if (!this.#gone) this.#connection.goAway(0);
  }

  /** HTTP/2 is over. A server that does not read our last words is not waited for. */
  #closed(error: MeshError | null): void {
    this.#error = error;
    this.#lingering = this.#clock.setTimer(this.#lingerMs, () => this.#drive.abort());
  }

  #end(error: MeshError | null): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#lingering?.cancel();
    this.#events.onGone(this, this.#error ?? error);
  }
}

/** The first of the name's addresses that answers. */
async function dial(host: Host, target: HostPort, limits: RpcLimits): Promise<Socket> {
  const literal = IpAddress.parse(target.host);
  const addresses = literal === null ? await host.net.resolve(target.host) : [literal];
  let failure: unknown = new MeshError("name_not_found", "upstream", `${target.host} has no address`);
  for (const ip of addresses.slice(0, limits.maxAddresses)) {
    try {
      return await host.net.connect({
        to: { ip, port: target.port },
        timeoutMs: limits.connectTimeoutMs,
      });
    } catch (error) {
      failure = error;
    }
  }
  throw failure;
}
