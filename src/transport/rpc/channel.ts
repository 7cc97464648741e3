/** One logical connection to one server: made when a call needs it, made again after it is gone, never trusted before it is verified. */
import { MeshError } from "../../base/errors.ts";
import type { HostPort } from "../../base/ip.ts";
import { grpcLimits } from "../../base/limits/rpc.ts";
import type { Logger } from "../../base/log.ts";
import type { Clock, Host } from "../../host/host.ts";
import type { CallOptions } from "../../wire/grpc/client.ts";
import type { ClientStream, ClientStreamEvents } from "../../wire/grpc/client_stream.ts";
import type { MethodDescription } from "../../wire/grpc/method.ts";
import { GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import { Backoff } from "./backoff.ts";
import { type ChannelTls, ClientConnection } from "./client_connection.ts";
import type { RpcLimits } from "./rpc_limits.ts";

export interface RpcChannelOptions {
  readonly host: Host;
  readonly logger: Logger;
  readonly target: HostPort;
  /** Asked for each connection. */
  readonly tls: () => Promise<ChannelTls> | ChannelTls;
  /** Overrides of `grpcLimits`. */
  readonly limits?: Partial<RpcLimits>;
}

/**
 * A call waits for a connection that is being made, and for the back-off before it; when it cannot be made, the calls that
 * wait fail with its MeshError. Once made, a call's end is a GrpcError: a lost connection is UNAVAILABLE, with the MeshError
 * as its cause.
 */
export class RpcChannel {
  readonly #options: RpcChannelOptions;
  readonly #limits: RpcLimits;
  readonly #backoff: Backoff;
  #connection: ClientConnection | null = null;
  /** Those that the server has sent away and that still carry calls. */
  readonly #retired = new Set<ClientConnection>();
  #connecting: Promise<ClientConnection> | null = null;
  #waiting = 0;
  /** How often `renew` was called: a connection that is being made may show what was before. */
  #renewals = 0;
  #closed = false;

  constructor(options: RpcChannelOptions) {
    this.#options = options;
    this.#limits = { ...grpcLimits, ...options.limits };
    this.#backoff = new Backoff(options.host, this.#limits);
  }

  /** @returns the one response. @throws GrpcError how the call ended; MeshError what kept it from being made. */
  async unary<Req, Res>(
    method: MethodDescription<Req, Res>,
    request: Req,
    options: CallOptions = {},
  ): Promise<Res> {
    const [connection, rest] = await this.#connectionFor(options);
    return connection.client.unary(method, request, rest);
  }

  /** @returns the stream once a connection is there; its end comes by `onEnd`. @throws MeshError, GrpcError when it could not be opened: then there is no `onEnd`. */
  async stream<Req, Res>(
    method: MethodDescription<Req, Res>,
    events: ClientStreamEvents<Res>,
    options: CallOptions = {},
  ): Promise<ClientStream<Req>> {
    const [connection, rest] = await this.#connectionFor(options);
    return connection.client.stream(method, events, rest);
  }

  /** Whether a connection is there and verified. */
  get connected(): boolean {
    return this.#connection !== null;
  }

  /** New calls use a new connection, for credentials that have changed, also those that wait for one; calls that are open go on. */
  renew(): void {
    this.#renewals++;
    const connection = this.#connection;
    if (connection !== null) this.#retire(connection);
  }

  /** Calls that are open end with UNAVAILABLE. Idempotent. */
  close(): void {
    this.#closed = true;
    this.#backoff.close();
    this.#connection?.close();
    for (const connection of [...this.#retired]) connection.close();
  }

  /** @returns a connection with room, and the options with what is left of the time. */
  async #connectionFor(options: CallOptions): Promise<readonly [ClientConnection, CallOptions]> {
    if (this.#closed) throw new MeshError("stopped", "local", "the channel is closed");
    const ready = this.#ready();
    if (ready !== null) return [ready, options];
    const { clock } = this.#options.host;
    const startedMs = clock.now();
    if (this.#waiting >= this.#limits.maxWaitingCalls)
      throw new GrpcError(grpcCode.resourceExhausted, "too many calls wait for a connection");
    this.#waiting++;
    try {
      const connection = await withinDeadline(clock, options, this.#connect());
      const { timeoutMs = null } = options;
      if (timeoutMs === null) return [connection, options];
      return [connection, { ...options, timeoutMs: timeoutMs - (clock.now() - startedMs) }];
    } finally {
      this.#waiting--;
    }
  }

  /** A connection that takes calls, now. */
  #ready(): ClientConnection | null {
    const connection = this.#connection;
    if (connection === null || connection.acceptsCalls) return connection;
    this.#leave(connection);
    return null;
  }

  /** The server takes no more calls on it, or it is over and the socket about to follow. */
  #leave(connection: ClientConnection): void {
    this.#retire(connection);
    this.#backoff.lost();
  }

  #retire(connection: ClientConnection): void {
    if (this.#connection === connection) this.#connection = null;
    this.#retired.add(connection);
    connection.drain();
  }

  /** At most one connection is being made. */
  #connect(): Promise<ClientConnection> {
    this.#connecting ??= this.#make().finally(() => {
      this.#connecting = null;
    });
    return this.#connecting;
  }

  async #make(): Promise<ClientConnection> {
    const { logger, target } = this.#options;
    await this.#backoff.wait();
    try {
      return await this.#open();
    } catch (error) {
      this.#backoff.failed();
      const reason = error instanceof Error ? error.message : String(error);
      const to = `${target.host}:${target.port}`;
      logger.log("debug", "rpc", "no connection", { target: to, error: reason });
      throw error;
    }
  }

  /** @returns a connection with the credentials of now: one that new ones overtook while it was made carries no call. */
  async #open(): Promise<ClientConnection> {
    const { host, target, tls } = this.#options;
    for (;;) {
      const renewals = this.#renewals;
      const connection = await ClientConnection.open(host, target, await tls(), this.#limits, {
        onGoAway: (sentAway) => {
          if (this.#connection === sentAway) this.#leave(sentAway);
        },
        onGone: (gone, error) => this.#gone(gone, error),
      });
      if (this.#closed) {
        connection.close();
        throw new MeshError("stopped", "local", "the channel is closed");
      }
      if (!connection.acceptsCalls)
        throw new MeshError("connection_closed", "upstream", "the server closed the connection at once");
      if (renewals !== this.#renewals) {
        connection.close();
        continue;
      }
      this.#connection = connection;
      this.#backoff.connected();
      return connection;
    }
  }

  #gone(connection: ClientConnection, error: MeshError | null): void {
    this.#retired.delete(connection);
    if (this.#connection !== connection) return;
    this.#connection = null;
    this.#backoff.lost();
    const { logger, target } = this.#options;
    const to = `${target.host}:${target.port}`;
    logger.log("debug", "rpc", "the connection is gone", { target: to, error: error?.message ?? null });
  }
}

/** @throws GrpcError DEADLINE_EXCEEDED, CANCELLED; the promise goes on for whoever else waits for it. */
async function withinDeadline<T>(clock: Clock, options: CallOptions, promise: Promise<T>): Promise<T> {
  const { timeoutMs = null, signal } = options;
  if (timeoutMs === null && signal === undefined) return promise;
  return new Promise<T>((resolve, reject) => {
    const fail = (error: unknown) => {
      settle();
      reject(error);
    };
    const onAbort = () => fail(new GrpcError(grpcCode.cancelled, "cancelled by the caller"));
    const timer =
      timeoutMs === null
        ? null
        : clock.setTimer(Math.max(0, timeoutMs), () =>
            fail(new GrpcError(grpcCode.deadlineExceeded, "deadline exceeded before there was a connection")),
          );
    const settle = () => {
      timer?.cancel();
      signal?.removeEventListener("abort", onAbort);
    };
    signal?.addEventListener("abort", onAbort);
    if (signal?.aborted === true) onAbort();
    promise.then((value) => {
      settle();
      resolve(value);
    }, fail);
  });
}
