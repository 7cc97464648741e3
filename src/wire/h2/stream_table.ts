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

/** Places for streams that are open; a power of two, and at least twice as many as there are streams. */
const firstPlaces = 8;

/**
 * The streams of a connection: only clients open any, because push is not allowed in either direction.
 *
 * Those that are open are in a table of our own, each at the first free place from the one that its number says, with no gap between: streams
 * of short life would fill a `Map` with what is gone, the runtime would copy it, and old copies keep the streams of then alive until a
 * collection of the whole heap.
 */
export class StreamTable {
  #places: (StreamState | undefined)[] = [];
  #openCount = 0;
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
    return this.#openCount;
  }

  get(id: number): StreamState | undefined {
    const places = this.#places;
    const mask = places.length - 1;
    for (let at = placeOf(id) & mask; ; at = (at + 1) & mask) {
      const stream = places[at];
      if (stream === undefined || stream.id === id) return stream;
    }
  }

  /** In order, as of now. */
  values(): readonly StreamState[] {
    return this.#places.filter((stream) => stream !== undefined).sort((a, b) => a.id - b.id);
  }

  add(stream: StreamState): void {
    if ((this.#openCount + 1) * 2 > this.#places.length) this.#grow();
    this.#openCount++;
    this.#put(stream);
  }

  #put(stream: StreamState): void {
    const places = this.#places;
    const mask = places.length - 1;
    let at = placeOf(stream.id) & mask;
    while (places[at] !== undefined) at = (at + 1) & mask;
    places[at] = stream;
  }

  #grow(): void {
    const streams = this.#places;
    this.#places = new Array<StreamState | undefined>(Math.max(firstPlaces, streams.length * 2)).fill(
      undefined,
    );
    for (const stream of streams) if (stream !== undefined) this.#put(stream);
  }

  #remove(id: number): void {
    const places = this.#places;
    const mask = places.length - 1;
    let gap = placeOf(id) & mask;
    while (places[gap]?.id !== id) {
      if (places[gap] === undefined) return;
      gap = (gap + 1) & mask;
    }
    this.#openCount--;
    // What follows and would not be found past the gap moves into it.
    for (let at = (gap + 1) & mask; ; at = (at + 1) & mask) {
      const stream = places[at];
      if (stream === undefined) break;
      const isBeforeGap = ((at - placeOf(stream.id)) & mask) < ((at - gap) & mask);
      if (isBeforeGap) continue;
      places[gap] = stream;
      gap = at;
    }
    places[gap] = undefined;
  }

  /** @param how one of `ended`. */
  close(id: number, how: number): void {
    this.#remove(id);
    this.#remembered ??= new Float64Array(this.#maxRemembered);
    const slot = this.#nextRemembered;
    const dropped = Math.floor((this.#remembered[slot] ?? 0) / 4);
    if (dropped > this.#forgotten) this.#forgotten = dropped;
    this.#remembered[slot] = id * 4 + how;
    this.#nextRemembered = (slot + 1) % this.#maxRemembered;
  }

  /** Empties the table. @returns what was in it. */
  takeAll(): readonly StreamState[] {
    const streams = this.values();
    this.#places = [];
    this.#openCount = 0;
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

/** Numbers that follow each other have places that do. A peer that skips numbers makes longer ways of its own streams, of at most all of them. */
function placeOf(id: number): number {
  return id >>> 1;
}
