import { MeshError } from "../../base/errors.ts";
import type { ConnectionState } from "./connection_state.ts";
import { h2ErrorCode } from "./error_code.ts";
import { maxStreamId } from "./frame.ts";

export interface KeepAlive {
  /** A PING goes out when nothing was received for this long. */
  readonly intervalMs: number;
  /** The connection is given up when nothing at all came for this long after a PING. */
  readonly timeoutMs: number;
}

/** What a PING of ours is for; its first four bytes. */
const pingKind = { probe: 0x6661_6972, drain: 0x6c65_6164 } as const;

const noDebug = new Uint8Array(0);

/** PING for keep-alive, for the application, and for the drain in two steps (RFC 9113 §6.7, §6.8). */
export class Liveness {
  readonly #state: ConnectionState;
  readonly #keepAlive: KeepAlive | null;
  #lastReceivedMs: number;
  /** Counts probes, so that an old answer is not taken for a new one. */
  #probe = 0;
  /** When the probe that is out was sent; null when none is. */
  #probeSentMs: number | null = null;
  /** When a drain stops waiting for its PING; null when it is not. */
  #drainDeadlineMs: number | null = null;
  #draining = false;

  constructor(state: ConnectionState, keepAlive: KeepAlive | null) {
    this.#state = state;
    this.#keepAlive = keepAlive;
    this.#lastReceivedMs = state.now;
  }

  get deadlineMs(): number | null {
    const keepAliveMs = this.#keepAliveDeadlineMs;
    if (this.#drainDeadlineMs === null) return keepAliveMs;
    return keepAliveMs === null ? this.#drainDeadlineMs : Math.min(keepAliveMs, this.#drainDeadlineMs);
  }

  get #keepAliveDeadlineMs(): number | null {
    if (this.#keepAlive === null) return null;
    if (this.#probeSentMs === null) return this.#lastReceivedMs + this.#keepAlive.intervalMs;
    // Anything received proves that the peer lives, also when its answer stands behind bulk data.
    return Math.max(this.#probeSentMs, this.#lastReceivedMs) + this.#keepAlive.timeoutMs;
  }

  get draining(): boolean {
    return this.#draining;
  }

  onReceive(now: number): void {
    this.#lastReceivedMs = now;
  }

  tick(now: number): void {
    if (this.#drainDeadlineMs !== null && now >= this.#drainDeadlineMs) this.#finishDrain();
    const deadlineMs = this.#keepAliveDeadlineMs;
    if (deadlineMs === null || now < deadlineMs || this.#state.closed) return;
    if (this.#probeSentMs === null) this.ping();
    else this.#giveUp();
  }

  /** At most one is out; asking again while it is changes nothing. */
  ping(): void {
    if (this.#probeSentMs !== null) return;
    this.#probe = (this.#probe + 1) >>> 0;
    this.#probeSentMs = this.#state.now;
    this.#state.output.ping(pingKind.probe, this.#probe);
  }

  #giveUp(): void {
    const message = "no answer to PING";
    const error = new MeshError("h2_keepalive_timeout", "peer", message);
    // As ztunnel's server does: abrupt, with NO_ERROR.
    this.#state.terminate(h2ErrorCode.noError, "library", error, message);
  }

  onPong(kind: number, probe: number): void {
    if (kind === pingKind.drain) {
      if (this.#drainDeadlineMs !== null) this.#finishDrain();
    } else if (kind === pingKind.probe && probe === this.#probe && this.#probeSentMs !== null) {
      const roundTripMs = this.#state.now - this.#probeSentMs;
      this.#probeSentMs = null;
      this.#state.events.onPong?.(roundTripMs);
    }
  }

  /** First step: no number is refused yet; the PING's answer shows that the peer has read it. */
  drain(): void {
    const state = this.#state;
    if (this.#draining || state.closed) return;
    this.#draining = true;
    if (state.role === "client") {
      // A server opens no streams, so there is nothing in flight to wait for.
      state.endsWhenIdle = true;
      state.endIfIdle();
      return;
    }
    state.output.goAway(maxStreamId, h2ErrorCode.noError, noDebug);
    state.output.ping(pingKind.drain, 0);
    this.#drainDeadlineMs = state.now + state.limits.drainPingTimeoutMs;
  }

  /** Second step: requests that came until now are served, later ones are not looked at. */
  #finishDrain(): void {
    const state = this.#state;
    this.#drainDeadlineMs = null;
    state.lastAcceptedId = state.streams.lastId;
    state.output.goAway(state.lastAcceptedId, h2ErrorCode.noError, noDebug);
    state.endsWhenIdle = true;
    state.endIfIdle();
  }
}
