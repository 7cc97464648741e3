/**
 * The content of a message on its way: pushed by whoever reads it from the wire, taken by one sink, with back-pressure between them.
 * Nothing is collected: while no sink is there, or the sink is full, the producer is told to stop and what was under way waits here.
 */
import type { MeshError } from "../base/errors.ts";
import type { HeaderFields } from "../wire/h2/headers.ts";

/** Where content goes. */
export interface BodySink {
  /** @returns false when it wants no more for now: `Body.resume` says when it does. What it was given it has taken. */
  write(bytes: Uint8Array): boolean;
  /** Exactly one of `end` and `fail` comes, and it is the last call. @param trailers null without any. */
  end(trailers: HeaderFields | null): void;
  fail(error: MeshError): void;
}

/** Sees all that comes, once, when it comes: for a copy of it, or a count. It has no say in the pace. */
export interface BodyObserver {
  onBytes(bytes: Uint8Array): void;
  /** Exactly one of `onEnd` and `onFail` comes, unless the content is cancelled before. */
  onEnd(trailers: HeaderFields | null): void;
  onFail(error: MeshError): void;
}

/** Who reads the content from the wire. */
export interface BodySource {
  /** There is room again. */
  onResume(): void;
  /** No more of it is wanted: what still comes may be dropped, or its sender be stopped. */
  onCancel(error: MeshError | null): void;
}

export class Body {
  readonly #source: BodySource;
  #sink: BodySink | null = null;
  #queue: Uint8Array[] = [];
  /** What passed, for another attempt; null when none is kept. */
  #kept: Uint8Array[] | null = null;
  #keptBytes = 0;
  #maxKeptBytes = 0;
  #isFull = true;
  #isEnded = false;
  #isTold = false;
  #error: MeshError | null = null;
  #trailers: HeaderFields | null = null;
  #isCancelled = false;
  #observers: BodyObserver[] | null = null;
  /** All that came so far. */
  bytes = 0;

  constructor(source: BodySource) {
    this.#source = source;
  }

  /** Nothing more comes: the sender said its end, or broke. */
  get isEnded(): boolean {
    return this.#isEnded || this.#error !== null;
  }

  /** Null until the end, and without any. */
  get trailers(): HeaderFields | null {
    return this.#trailers;
  }

  get error(): MeshError | null {
    return this.#error;
  }

  /** By the source. @returns false when there is no room for more: `onResume` says when there is. */
  push(bytes: Uint8Array): boolean {
    this.bytes += bytes.length;
    if (this.#isCancelled) return true;
    if (this.#observers !== null) for (const observer of this.#observers) observer.onBytes(bytes);
    if (this.#sink === null || this.#isFull) {
      this.#queue.push(bytes);
      return false;
    }
    this.#give(this.#sink, bytes);
    return !this.#isFull;
  }

  /** By the source: the end. */
  finish(trailers: HeaderFields | null): void {
    if (this.isEnded) return;
    this.#isEnded = true;
    this.#trailers = trailers;
    if (this.#observers !== null) for (const observer of this.#observers) observer.onEnd(trailers);
    this.#tell();
  }

  /** By the source: the end that should not have been. */
  fail(error: MeshError): void {
    if (this.isEnded) return;
    this.#error = error;
    if (this.#observers !== null) for (const observer of this.#observers) observer.onFail(error);
    // What came before it is told before it: an answer cut short is passed on as far as it went.
    this.#tell();
  }

  /** By the taker, once, or again after `rewind`. */
  pipe(sink: BodySink): void {
    this.#sink = sink;
    this.#isFull = false;
    this.#isTold = false;
    this.#flush();
  }

  /** By the taker: the sink has room again. */
  resume(): void {
    if (this.#sink === null || !this.#isFull) return;
    this.#isFull = false;
    this.#flush();
  }

  /** By the taker: no more of it is wanted. */
  cancel(error: MeshError | null): void {
    if (this.#isCancelled) return;
    this.#isCancelled = true;
    this.#queue = [];
    this.#kept = null;
    this.#sink = null;
    this.#source.onCancel(error);
  }

  /** To be called before `pipe`: what has come by now is told at once. */
  observe(observer: BodyObserver): void {
    this.#observers ??= [];
    this.#observers.push(observer);
    for (const bytes of this.#queue) observer.onBytes(bytes);
    if (this.#error !== null) observer.onFail(this.#error);
    else if (this.#isEnded) observer.onEnd(this.#trailers);
  }

  /** Keeps what passes, at most so much, so that it can be sent again. To be called before `pipe`. */
  keep(maxBytes: number): void {
    this.#kept = [];
    this.#maxKeptBytes = maxBytes;
  }

  /** Takes the content back from its sink, for another. @returns false when some of it has passed and was not kept. */
  rewind(): boolean {
    if (this.#kept === null || this.#isCancelled) return false;
    this.#sink = null;
    this.#isFull = true;
    this.#queue = [...this.#kept, ...this.#queue];
    this.#kept = [];
    this.#keptBytes = 0;
    return true;
  }

  #give(sink: BodySink, bytes: Uint8Array): void {
    if (this.#kept !== null) {
      this.#keptBytes += bytes.length;
      if (this.#keptBytes <= this.#maxKeptBytes) this.#kept.push(bytes);
      else this.#kept = null;
    }
    if (!sink.write(bytes)) this.#isFull = true;
  }

  #flush(): void {
    while (this.#queue.length > 0 && !this.#isFull && this.#sink !== null) {
      const bytes = this.#queue.shift();
      if (bytes !== undefined) this.#give(this.#sink, bytes);
    }
    // Also at the end: what carried it may be paused, and owe bytes to a window.
    if (!this.#isFull) this.#source.onResume();
    if (this.isEnded) this.#tell();
  }

  #tell(): void {
    const sink = this.#sink;
    if (sink === null || this.#isTold || this.#queue.length > 0) return;
    this.#isTold = true;
    if (this.#error !== null) sink.fail(this.#error);
    else sink.end(this.#trailers);
  }
}
