/** One connection to the server: HTTP/2, its bounds, and an end when no call comes any more. */
import { assert } from "../../base/assert.ts";
import type { Clock, Socket, Timer } from "../../host/host.ts";
import type { CallContext } from "../../wire/grpc/call_context.ts";
import type { HeaderFields } from "../../wire/h2/headers.ts";
import type { H2Stream } from "../../wire/h2/stream.ts";
import { H2Link } from "../h2_link.ts";
import { h2LimitsOf, type RpcLimits } from "./rpc_limits.ts";

export interface ServerConnectionEvents {
  onRequest(stream: H2Stream, headers: HeaderFields, endStream: boolean): void;
  /** Exactly once. */
  onGone(): void;
}

export class ServerConnection {
  readonly #clock: Clock;
  readonly #limits: RpcLimits;
  readonly #link: H2Link;
  #context: CallContext | null = null;
  /** Monotonic; when a call was seen last. */
  #busyAtMs: number;
  #idleTimer: Timer | null = null;

  constructor(clock: Clock, socket: Socket, limits: RpcLimits, events: ServerConnectionEvents) {
    this.#clock = clock;
    this.#limits = limits;
    this.#busyAtMs = clock.now();
    this.#link = new H2Link(
      clock,
      socket,
      {
        role: "server",
        limits: h2LimitsOf(limits, "server"),
        keepAlive: { intervalMs: limits.keepAliveIntervalMs, timeoutMs: limits.keepAliveTimeoutMs },
      },
      {
        onRequest: (stream, headers, endStream) => {
          this.#busyAtMs = this.#clock.now();
          events.onRequest(stream, headers, endStream);
        },
        onOver: () => this.#idleTimer?.cancel(),
        onGone: () => events.onGone(),
      },
    );
  }

  get context(): CallContext {
    assert(this.#context !== null, "a connection that was not started");
    return this.#context;
  }

  start(context: CallContext): void {
    this.#context = context;
    this.#armIdle(this.#limits.idleMs);
    this.#link.start();
  }

  /** GOAWAY in two steps (RFC 9113 §6.8); over with its last call. */
  drain(): void {
    this.#link.drain();
  }

  /** GOAWAY, and every call is cut. */
  close(): void {
    this.#link.close("the server is closing");
  }

  /** Not a byte further. */
  abort(): void {
    this.#link.abort();
  }

  /** Looked at by halves of the time, so that a call costs no timer. */
  #armIdle(delayMs: number): void {
    this.#idleTimer = this.#clock.setTimer(delayMs, () => {
      if (this.#link.over) return;
      const now = this.#clock.now();
      if (this.#link.openStreams > 0) this.#busyAtMs = now;
      const restMs = this.#busyAtMs + this.#limits.idleMs - now;
      if (restMs <= 0) this.#link.drain();
      else this.#armIdle(Math.max(restMs / 2, 1));
    });
  }
}
