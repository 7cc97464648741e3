/** The control plane's port: TLS with a client certificate if the client has one, HTTP/2, gRPC, and whatever else is asked on the same port. */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { formatSocketAddress, type SocketAddress } from "../../base/ip.ts";
import { grpcLimits } from "../../base/limits/rpc.ts";
import type { Logger } from "../../base/log.ts";
import type { MetricRegistry } from "../../base/metrics.ts";
import { networkSource } from "../../base/network_source.ts";
import type { Host, Listener, PeerCredentials, Socket, TlsCredentials } from "../../host/host.ts";
import type { CallContext } from "../../wire/grpc/call_context.ts";
import { CallLoad } from "../../wire/grpc/call_load.ts";
import type { GrpcService } from "../../wire/grpc/server.ts";
import type { HeaderFields } from "../../wire/h2/headers.ts";
import type { H2Stream } from "../../wire/h2/stream.ts";
import { Door, type Visit } from "../door.ts";
import { ConnectionCounts } from "./connection_counts.ts";
import type { RpcLimits } from "./rpc_limits.ts";
import { ServerConnection } from "./server_connection.ts";

/** Who is at the other end of a connection; the same object for all its calls. */
export interface RpcPeer {
  readonly remote: SocketAddress;
  readonly local: SocketAddress;
  /** As presented, NOT verified; empty without a client certificate. */
  readonly chain: readonly Uint8Array[];
  /** Unix socket only. */
  readonly credentials: PeerCredentials | null;
  /** Who calls is known now. Until then the connection makes room for others when there are many of its kind. Idempotent. */
  proven(): void;
}

/** Everything that is not gRPC. Sets `stream.events` before it returns. */
export type RpcFallback = (
  stream: H2Stream,
  headers: HeaderFields,
  endStream: boolean,
  peer: RpcPeer,
) => void;

export interface RpcServerOptions {
  readonly host: Host;
  readonly logger: Logger;
  readonly service: GrpcService<RpcPeer>;
  /** Asked at each handshake, so that a renewed certificate is shown from then on. */
  readonly credentials: () => TlsCredentials;
  /** Counts what happens in the door. */
  readonly metrics?: MetricRegistry;
  /** Absent: 404. */
  readonly fallback?: RpcFallback;
  /** Overrides of `grpcLimits`. */
  readonly limits?: Partial<RpcLimits>;
}

/** A listener of TLS; a Unix socket is as safe as its mode and needs none. */
export class RpcServer {
  readonly #options: RpcServerOptions;
  readonly #limits: RpcLimits;
  readonly #load: CallLoad;
  readonly #listeners = new Set<Listener>();
  readonly #connections = new Set<ServerConnection>();
  readonly #counts: ConnectionCounts;
  readonly #door: Door;
  /** Of each source that has connections: what its calls may cost together, and how many there are. */
  readonly #loads = new Map<string, { readonly load: CallLoad; connections: number }>();
  #draining = false;
  #onIdle: (() => void) | null = null;

  constructor(options: RpcServerOptions) {
    this.#options = options;
    const limits = { ...grpcLimits, ...options.limits };
    this.#limits = limits;
    this.#load = new CallLoad({
      maxAssembledBytes: limits.maxAssembledBytes,
      maxHandlers: limits.maxHandlers,
    });
    const { maxConnections, maxConnectionsPerAddress } = limits;
    this.#counts = new ConnectionCounts(maxConnections, maxConnectionsPerAddress, "connections");
    const { host, logger, metrics = null } = options;
    this.#door = new Door({ clock: host.clock, net: host.net, logger, metrics, name: "control", limits });
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** @throws MeshError `address_in_use`, `permission_denied`. */
  listen(address: SocketAddress): Listener {
    const { net } = this.#options.host;
    const onRefused = (error: MeshError) => this.#refused("", error);
    return this.#keep(net.listen({ address, tls: true, onRefused }, (socket) => void this.#accept(socket)));
  }

  /** HTTP/2 without TLS, for programs of this host. @throws MeshError as `Network.listenUnix`. */
  listenUnix(path: string, mode = 0o600): Listener {
    const { net } = this.#options.host;
    return this.#keep(
      net.listenUnix(path, mode, (socket) => {
        const credentials = net.peerCredentials(socket);
        // Each user is a neighbour of its own.
        const source = `uid ${credentials?.uid ?? "unknown"}`;
        const refusal = this.#refusal(source);
        if (refusal !== null) {
          socket.reset();
          this.#refused(source, refusal);
          return;
        }
        this.#serve(socket, source, [], credentials, null);
      }),
    );
  }

  /** No new connections and no new calls; resolves when the calls that are open have ended, or were cut at the deadline. */
  async drain(): Promise<void> {
    this.#draining = true;
    for (const listener of this.#listeners) listener.close();
    for (const connection of [...this.#connections]) connection.drain();
    if (this.#connections.size === 0) return;
    const { clock } = this.#options.host;
    await new Promise<void>((resolve) => {
      const timer = clock.setTimer(this.#limits.drainDeadlineMs, () => {
        this.#cut();
        resolve();
      });
      this.#onIdle = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  /** At once: what is open is cut. */
  close(): void {
    this.#draining = true;
    for (const listener of this.#listeners) listener.close();
    this.#cut();
  }

  #cut(): void {
    for (const connection of [...this.#connections]) connection.close();
  }

  #keep(listener: Listener): Listener {
    this.#listeners.add(listener);
    return {
      address: listener.address,
      close: () => {
        this.#listeners.delete(listener);
        listener.close();
      },
    };
  }

  async #accept(socket: Socket): Promise<void> {
    const { host } = this.#options;
    const source = networkSource(socket.remote.ip);
    let visit: Visit;
    try {
      const refusal = this.#refusal(source);
      if (refusal !== null) throw refusal;
      visit = await this.#door.enter(socket);
    } catch (refusal) {
      socket.reset();
      this.#refused(formatSocketAddress(socket.remote), asMeshError(refusal, "limit_reached", "peer"));
      return;
    }
    const { signal } = visit;
    signal.addEventListener("abort", () => socket.reset());
    try {
      const tls = await this.#door.begin(visit, () =>
        host.net.tlsServer(socket, {
          credentials: this.#options.credentials(),
          alpn: ["h2"],
          timeoutMs: this.#limits.handshakeTimeoutMs,
          clientCertificate: "request",
          signal,
        }),
      );
      if (signal.aborted) tls.reset();
      signal.throwIfAborted();
      this.#serve(tls, source, tls.peerChain, null, visit);
    } catch (thrown) {
      socket.reset();
      visit.leave();
      this.#refused(formatSocketAddress(socket.remote), asMeshError(thrown, "tls_handshake", "peer"));
    }
  }

  /** @param visit null for whoever is known by the kernel's word. */
  #serve(
    socket: Socket,
    source: string,
    chain: readonly Uint8Array[],
    credentials: PeerCredentials | null,
    visit: Visit | null,
  ): void {
    let state: "unproven" | "proven" | "gone" = "unproven";
    const proven = (): void => {
      if (state !== "unproven" || visit?.signal.aborted === true) return;
      const refusal = this.#counts.refusal(source);
      if (refusal !== null) {
        this.#refused(formatSocketAddress(socket.remote), refusal);
        connection.close();
        return;
      }
      state = "proven";
      this.#counts.add(source);
      visit?.proven();
    };
    const peer = { remote: socket.remote, local: socket.local, chain, credentials, proven };
    const connection = new ServerConnection(this.#options.host.clock, socket, this.#limits, {
      onRequest: (stream, headers, endStream) => this.#request(connection, stream, headers, endStream, peer),
      onGone: () => {
        visit?.leave();
        if (state === "proven") this.#counts.remove(source);
        state = "gone";
        this.#gone(connection, source);
      },
    });
    this.#connections.add(connection);
    visit?.signal.addEventListener("abort", () => connection.abort());
    if (visit === null) proven();
    connection.start(this.#context(source));
    if (this.#draining) connection.drain();
  }

  #context(source: string): CallContext {
    const { host, logger } = this.#options;
    const { maxAssembledBytesPerConnection, maxHandlersPerConnection } = this.#limits;
    const { maxRequestBytes, requestTimeoutMs } = this.#limits;
    return {
      clock: host.clock,
      load: new CallLoad(
        { maxAssembledBytes: maxAssembledBytesPerConnection, maxHandlers: maxHandlersPerConnection },
        this.#loadOf(source),
      ),
      maxRequestBytes,
      requestTimeoutMs,
      onFault: (path, thrown) => {
        const error = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
        logger.log("error", "rpc", "a call could not be answered", { path, error });
      },
    };
  }

  #loadOf(source: string): CallLoad {
    const { maxAssembledBytesPerAddress: maxAssembledBytes, maxHandlersPerAddress: maxHandlers } =
      this.#limits;
    const held = this.#loads.get(source) ?? {
      load: new CallLoad({ maxAssembledBytes, maxHandlers }, this.#load),
      connections: 0,
    };
    held.connections++;
    this.#loads.set(source, held);
    return held.load;
  }

  #request(
    connection: ServerConnection,
    stream: H2Stream,
    headers: HeaderFields,
    endStream: boolean,
    peer: RpcPeer,
  ): void {
    const { service, fallback } = this.#options;
    if (service.handle(stream, headers, endStream, peer, connection.context)) return;
    if (fallback !== undefined) fallback(stream, headers, endStream, peer);
    else notFound(stream, endStream);
  }

  #gone(connection: ServerConnection, source: string): void {
    this.#connections.delete(connection);
    const held = this.#loads.get(source);
    if (held !== undefined && --held.connections === 0) this.#loads.delete(source);
    if (this.#connections.size === 0) this.#onIdle?.();
  }

  #refusal(source: string): MeshError | null {
    if (this.#draining) return new MeshError("draining", "local", "the control plane is shutting down");
    return this.#counts.refusal(source);
  }

  #refused(remote: string, error: MeshError): void {
    const { code, message } = error;
    this.#options.logger.log("debug", "rpc", "a connection was not taken", { remote, code, error: message });
  }
}

function notFound(stream: H2Stream, endStream: boolean): void {
  stream.events = {
    onHeaders() {},
    onData: (bytes) => stream.consume(bytes.length),
    onTrailers() {},
    onReset() {},
    onWritable() {},
    onClose() {},
  };
  stream.sendHeaders([":status", "404", "content-length", "0"], true);
  if (!endStream) stream.reset(0);
}
