/**
 * Carries a connection: bytes each way between two ends, half-close by half-close, with back-pressure from the slow
 * end to the fast one, until both directions have ended or one end broke.
 */
import type { MeshError } from "../../base/errors.ts";
import { proxyLimits } from "../../base/limits/proxy.ts";
import type { Clock, Timer } from "../../host/host.ts";

/** One end of a carried connection. `socket_end.ts` and `stream_end.ts` are the two kinds. */
export interface CopyEnd {
  /** Starts delivery of this end's bytes to the other. */
  start(copy: Copy, other: CopyEnd): void;
  /**
   * Bytes of the other end. They are kept when they cannot be passed on at once.
   *
   * @returns how many are off our hands now; for the rest `released` is called on the other end.
   */
  write(bytes: Uint8Array): number;
  /** The other end will write no more. */
  end(): void;
  /** The other end has passed on `count` bytes that it had kept: it is the moment to read on. */
  released(count: number): void;
  /** The other end is gone for good, in good order: nothing this end says is heard any more. It closes once what it keeps is written. */
  stop(): void;
  /**
   * The other end broke. What it had said is passed on first, as a kernel does; then this end's peer sees an error as well, and
   * `Copy.broken` is called. Nothing that this end says is heard any more.
   */
  break(): void;
  /** Tears this end down at once so that its peer sees an error, not an orderly end. */
  abort(): void;
}

export interface CopyCounters {
  /** From the caller toward the application. */
  bytesToUpstream: number;
  /** From the application toward the caller. */
  bytesToDownstream: number;
}

/** Whose bytes are carried: is told once when they are not any more. */
export interface Carried {
  /** @param error null when both directions came to their orderly end. */
  finish(error: MeshError | null): void;
}

export class Copy {
  readonly #downstream: CopyEnd;
  readonly #upstream: CopyEnd;
  readonly #counters: CopyCounters;
  readonly #clock: Clock;
  readonly #carried: Carried;
  #open = 2;
  #isStarted = false;
  #isOver = false;
  #finished = false;
  /** An end broke, and the other still passes on what that had said. */
  #failure: { readonly of: CopyEnd; readonly error: MeshError } | null = null;
  #passingOn: Timer | null = null;

  /** @param carried an object and no function: a closure keeps alive what was around it for as long as the connection is. */
  constructor(
    downstream: CopyEnd,
    upstream: CopyEnd,
    counters: CopyCounters,
    clock: Clock,
    carried: Carried,
  ) {
    this.#downstream = downstream;
    this.#upstream = upstream;
    this.#counters = counters;
    this.#clock = clock;
    this.#carried = carried;
  }

  /** Nothing more is carried. */
  get finished(): boolean {
    return this.#isOver;
  }

  start(): void {
    this.#downstream.start(this, this.#upstream);
    if (this.#finished) return;
    this.#upstream.start(this, this.#downstream);
    this.#isStarted = true;
    // One that had broken before has said what it had to say by now.
    if (this.#failure !== null && !this.#finished) this.#other(this.#failure.of).break();
  }

  /** `from` has read bytes. */
  count(from: CopyEnd, bytes: number): void {
    if (from === this.#downstream) this.#counters.bytesToUpstream += bytes;
    else this.#counters.bytesToDownstream += bytes;
  }

  /** An end is through with both of its directions. */
  endDone(): void {
    this.#open--;
    if (this.#open === 0 && this.#failure === null) this.#finish(null);
  }

  /** An end broke: the other breaks too, once it has passed on what there is. */
  fail(from: CopyEnd, error: MeshError): void {
    if (this.finished) return;
    this.#isOver = true;
    this.#failure = { of: from, error };
    const other = this.#other(from);
    // A reader that has stalled would keep both ends for ever, and what broke may have been cut because trust had ended.
    this.#passingOn = this.#clock.setTimer(proxyLimits.passOnMs, () => {
      this.#finish(error);
      other.abort();
      from.abort();
    });
    if (this.#isStarted) other.break();
  }

  /** The other end has broken as well. */
  broken(): void {
    if (this.#failure === null || this.#finished) return;
    this.#finish(this.#failure.error);
    // Gives up what of it could not be passed on.
    this.#failure.of.abort();
  }

  /** Ends it from outside: a policy change, a revoked certificate, a drain deadline. */
  abort(error: MeshError): void {
    if (this.#finished) return;
    this.#finish(error);
    this.#downstream.abort();
    this.#upstream.abort();
  }

  #other(end: CopyEnd): CopyEnd {
    return end === this.#downstream ? this.#upstream : this.#downstream;
  }

  #finish(error: MeshError | null): void {
    if (this.#finished) return;
    this.#isOver = true;
    this.#finished = true;
    this.#passingOn?.cancel();
    this.#carried.finish(error);
  }
}
