/**
 * How much each worker of a node has, in memory that all of them share, and which of them is to have what comes next. Whatever a worker
 * writes there, the answer is one that listens: at worst connections are unevenly spread.
 */
import type { IpAddress } from "../../../base/ip.ts";

/** A tunnel stays for long and carries much; most other connections are short, and there are many of them. */
export type PlaceKind = "tunnel" | "connection";

/** Tunnels of a worker that take new streams: from one peer, and from all. */
export interface TunnelsHeld {
  readonly ofSource: number;
  readonly all: number;
}

const listenerBuckets = 256;
const sourceBuckets = 1024;
const tunnelsAt = 0;
const connectionsAt = 1;
const listenersAt = 2;
const sourcesAt = listenersAt + listenerBuckets;
const wordsPerWorker = sourcesAt + sourceBuckets;
/** A worker keeps what the kernel gave it as long as it has no more of it than the least by one, and by this part of what that one has. */
const slackPart = 4;

export class PlaceTable {
  readonly #words: Int32Array;
  readonly #workers: number;

  constructor(words: Int32Array, workers: number) {
    this.#words = words;
    this.#workers = workers;
  }

  static bytes(workers: number): number {
    return 4 * workers * wordsPerWorker;
  }

  /** Peers by address; two of them in one bucket are spread as one. */
  static bucketOf(source: IpAddress): number {
    return hash(source.bytes) % sourceBuckets;
  }

  /** A listener by its name, which is the same in every worker. */
  static listenerOf(name: string): number {
    return hash(new TextEncoder().encode(name)) % listenerBuckets;
  }

  /** @param by 1 when that listener was opened, -1 when it is closed. Only who listens is given connections. */
  countListener(worker: number, listener: number, by: 1 | -1): void {
    Atomics.add(this.#words, worker * wordsPerWorker + listenersAt + listener, by);
  }

  /** @param by 1 for what it has, or is about to be passed; -1 when that is over. */
  count(worker: number, kind: PlaceKind, bucket: number, by: 1 | -1): void {
    const base = worker * wordsPerWorker;
    if (kind === "connection") {
      Atomics.add(this.#words, base + connectionsAt, by);
      return;
    }
    Atomics.add(this.#words, base + tunnelsAt, by);
    Atomics.add(this.#words, base + sourcesAt + (bucket % sourceBuckets), by);
  }

  of(worker: number): Readonly<Record<"tunnels" | "connections", number>> {
    return { tunnels: this.#at(worker, tunnelsAt), connections: this.#at(worker, connectionsAt) };
  }

  /** Its process has ended. */
  clear(worker: number): void {
    const base = worker * wordsPerWorker;
    for (let at = base; at < base + wordsPerWorker; at++) Atomics.store(this.#words, at, 0);
  }

  /** @param own whom the kernel gave it. @returns who is to have it. */
  choose(own: number, listener: number, kind: PlaceKind, bucket: number): number {
    return kind === "tunnel"
      ? this.#least(own, listener, (worker) => this.#tunnelLoad(worker, bucket))
      : this.#leastOfMany(own, listener);
  }

  /**
   * Whether a tunnel that `own` gives up would be better off with another worker: one that took the place of one that ended has none. Never
   * so that the other would give it back.
   */
  hasRoomElsewhere(own: number, listener: number, bucket: number, { ofSource, all }: TunnelsHeld): boolean {
    for (let step = 1; step < this.#workers; step++) {
      const worker = (own + step) % this.#workers;
      const its = this.#at(worker, sourcesAt + (bucket % sourceBuckets));
      const itsAll = this.#at(worker, tunnelsAt);
      const isBetter =
        its + 2 <= ofSource || (its < ofSource && itsAll + 2 + Math.trunc(itsAll / slackPart) <= all);
      if (isBetter && this.#listens(worker, listener)) return true;
    }
    return false;
  }

  /** Tunnels of one peer are of use side by side, so they are spread first; then all of them. */
  #tunnelLoad(worker: number, bucket: number): number {
    const ofSource = this.#at(worker, sourcesAt + (bucket % sourceBuckets));
    return ofSource * 2 ** 32 + this.#at(worker, tunnelsAt);
  }

  #leastOfMany(own: number, listener: number): number {
    const load = (worker: number) => this.#at(worker, connectionsAt);
    const least = this.#least(own, listener, load);
    const slack = 1 + Math.trunc(Math.max(0, load(least)) / slackPart);
    return load(own) - load(least) < slack ? own : least;
  }

  /** Of those that have as much, the one whom the kernel chose, or the next after it. */
  #least(own: number, listener: number, load: (worker: number) => number): number {
    let [least, its] = [own, load(own)];
    for (let step = 1; step < this.#workers; step++) {
      const worker = (own + step) % this.#workers;
      const theirs = load(worker);
      if (theirs < its && this.#listens(worker, listener)) [least, its] = [worker, theirs];
    }
    return least;
  }

  #at(worker: number, word: number): number {
    return Atomics.load(this.#words, worker * wordsPerWorker + word);
  }

  #listens(worker: number, listener: number): boolean {
    return this.#at(worker, listenersAt + listener) > 0;
  }
}

/** FNV-1a; whoever collides by intent is spread less well, and no more. */
function hash(bytes: Uint8Array): number {
  let value = 0x811c9dc5;
  for (const byte of bytes) value = Math.imul(value ^ byte, 0x01000193);
  return value >>> 0;
}
