import type { StreamState } from "./stream_state.ts";

/** How a stream ended, as far as it matters for frames that come late. */
export const ended = {
  /** Both sides said END_STREAM. */
  normally: 0,
  /** We sent RST_STREAM: frames in flight are to be expected (RFC 9113 §5.4.2). */
  resetByUs: 1,
  /** The peer sent RST_STREAM: nothing more is to be expected of it. */
  resetByPeer: 2,
  /** So long ago that it is forgotten. */
  forgotten: 3,
  /** Skipped by the peer's numbering: never opened, closed all the same (RFC 9113 §5.1.1). */
  never: 4,
} as const;

/** The streams of a connection: only clients open any, because push is not allowed in either direction. */
export class StreamTable {
  readonly #open = new Map<number, StreamState>();
  readonly #maxRemembered: number;
  /** Recently closed streams, number * 4 + how; a ring, made when the first stream closes. */
  #remembered: Float64Array | null = null;
  #nextRemembered = 0;
  /** The highest number that fell out of the ring. */
  #forgotten = 0;
  /** The highest number in use so far. */
  lastId = 0;

  constructor(maxRemembered: number) {
    this.#maxRemembered = maxRemembered;
  }

  get openCount(): number {
    return this.#open.size;
  }

  get(id: number): StreamState | undefined {
    return this.#open.get(id);
  }

  values(): Iterable<StreamState> {
    return this.#open.values();
  }

  add(stream: StreamState): void {
    this.#open.set(stream.id, stream);
  }

  /** @param how one of `ended`. */
  close(id: number, how: number): void {
    this.#open.delete(id);
    this.#remembered ??= new Float64Array(this.#maxRemembered);
    const slot = this.#nextRemembered;
    const dropped = Math.floor((this.#remembered[slot] ?? 0) / 4);
    if (dropped > this.#forgotten) this.#forgotten = dropped;
    this.#remembered[slot] = id * 4 + how;
    this.#nextRemembered = (slot + 1) % this.#maxRemembered;
  }

  /** Empties the table. @returns what was in it. */
  takeAll(): readonly StreamState[] {
    const streams = [...this.#open.values()];
    this.#open.clear();
    return streams;
  }

  /** Not used yet, or not usable by a client at all (even numbers and 0; RFC 9113 §5.1.1). */
  isIdle(id: number): boolean {
    return id > this.lastId || (id & 1) === 0;
  }

  /** How a stream that is neither open nor idle ended: one of `ended`. */
  howEnded(id: number): number {
    const ring = this.#remembered;
    if (ring !== null) {
      // Newest first: late frames concern what has just ended.
      for (let back = 1; back <= ring.length; back++) {
        const value = ring[(this.#nextRemembered - back + ring.length) % ring.length] ?? 0;
        if (value === 0) break;
        if (Math.floor(value / 4) === id) return value % 4;
      }
    }
    return id <= this.#forgotten ? ended.forgotten : ended.never;
  }
}
