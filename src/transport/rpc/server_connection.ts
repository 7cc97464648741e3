/** One connection of a client: HTTP/2 over its socket, with the bounds of a server that anybody may dial. */
import { assert } from "../../base/assert.ts";
import type { Clock, Socket, Timer } from "../../host/host.ts";
import type { CallContext } from "../../wire/grpc/call_context.ts";
import { H2Connection } from "../../wire/h2/connection.ts";
import type { HeaderFields } from "../../wire/h2/headers.ts";
import type { H2Stream } from "../../wire/h2/stream.ts";
import { Drive } from "../drive.ts";
import { h2LimitsOf } from "./h2_limits.ts";
import type { RpcLimits } from "./server.ts";

export interface ServerConnectionEvents {
  onRequest(stream: H2Stream, headers: HeaderFields, endStream: boolean): void;
  /** Exactly once. */
  onGone(): void;
}

export class ServerConnection {
  readonly #clock: Clock;
  readonly #limits: RpcLimits;
  readonly #events: ServerConnectionEvents;
  readonly #connection: H2Connection;
  readonly #drive: Drive;
  #context: CallContext | null = null;
  #started = false;
  #gone = false;
  /** Monotonic; when a call was seen last. */
  #busyAtMs: number;
  #idleTimer: Timer | null = null;
  #lingering: Timer | null = null;

  constructor(clock: Clock, socket: Socket, limits: RpcLimits, events: ServerConnectionEvents) {
    this.#clock = clock;
    this.#limits = limits;
    this.#events = events;
    this.#busyAtMs = clock.now();
    this.#connection = new H2Connection(
      {
        role: "server",
        now: clock.now(),
        limits: h2LimitsOf(limits, "server"),
        keepAlive: { intervalMs: limits.keepAliveIntervalMs, timeoutMs: limits.keepAliveTimeoutMs },
      },
      {
        onRequest: (stream, headers, endStream) => {
          this.#busyAtMs = this.#clock.now();
          events.onRequest(stream, headers, endStream);
        },
        onOutputReady: () => {
          if (this.#started) this.#drive.outputReady();
        },
        onClose: () => this.#closed(),
      },
    );
    this.#drive = new Drive(clock, socket, this.#connection, () => this.#end());
  }

  get context(): CallContext {
    assert(this.#context !== null, "a connection that was not started");
    return this.#context;
  }

  start(context: CallContext): void {
    this.#context = context;
    this.#started = true;
    this.#armIdle(this.#limits.idleMs);
    this.#drive.start();
  }

  /** GOAWAY in two steps (RFC 9113 §6.8); over with its last call. */
  drain(): void {
    if (!this.#gone) this.#connection.drain();
  }

  /** GOAWAY, and every call is cut. */
  close(): void {
    if (!this.#gone) this.#connection.goAway(0, "the server is closing");
  }

  /** Looked at by halves of the time, so that a call costs no timer. */
  #armIdle(delayMs: number): void {
    this.#idleTimer = this.#clock.setTimer(delayMs, () => {
      if (this.#gone) return;
      const now = this.#clock.now();
      if (this.#connection.openStreams > 0) this.#busyAtMs = now;
      const restMs = this.#busyAtMs + this.#limits.idleMs - now;
      if (restMs <= 0) this.#connection.drain();
      else this.#armIdle(Math.max(restMs / 2, 1));
    });
  }

  /** HTTP/2 is over. A client that does not read our last words is not waited for. */
  #closed(): void {
    this.#lingering = this.#clock.setTimer(this.#limits.lingerMs, () => this.#drive.abort());
  }

  #end(): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#lingering?.cancel();
    this.#idleTimer?.cancel();
    this.#events.onGone();
  }
}
