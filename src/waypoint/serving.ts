/** What those who serve connections share: the pipeline, the open requests, and a sweep that finds what has stood still. */
import { MeshError } from "../base/errors.ts";
import { servingLimits } from "../base/limits/serving.ts";
import type { Clock, Timer } from "../host/host.ts";
import type { Answer } from "./app.ts";
import type { Exchange } from "./exchange.ts";
import type { OpenExchanges } from "./open_exchanges.ts";

/** A connection that is served. */
export interface Served {
  /** Looks whether something has stood still for too long. @param now monotonic milliseconds. */
  sweep(now: number): void;
  /** No new requests: those that are under way come to their end, then the connection does. */
  drain(): void;
}

export type Normalise = (path: string) => string | null;

export interface ServingParts {
  readonly clock: Clock;
  readonly exchanges: OpenExchanges;
  readonly normalise: Normalise;
  readonly answer: Answer;
  /** Of the telemetry stage. */
  readonly end: (exchange: Exchange) => void;
}

export class Serving {
  readonly clock: Clock;
  readonly exchanges: OpenExchanges;
  /** One spelling for each path, before any stage sees it; null: it is refused. */
  readonly normalise: Normalise;
  readonly #answer: Answer;
  readonly #end: (exchange: Exchange) => void;
  readonly #served = new Set<Served>();
  #timer: Timer | null = null;
  #isDraining = false;

  constructor({ clock, exchanges, normalise, answer, end }: ServingParts) {
    this.clock = clock;
    this.exchanges = exchanges;
    this.normalise = normalise;
    this.#answer = answer;
    this.#end = end;
  }

  get isDraining(): boolean {
    return this.#isDraining;
  }

  get connections(): number {
    return this.#served.size;
  }

  add(served: Served): void {
    this.#served.add(served);
    this.#arm();
  }

  remove(served: Served): void {
    this.#served.delete(served);
  }

  drain(): void {
    this.#isDraining = true;
    for (const served of [...this.#served]) served.drain();
  }

  /** A request begins. @param onAnswered there is an answer; once, always, and never from within. */
  answer(exchange: Exchange, onAnswered: () => void): void {
    this.exchanges.add(exchange);
    this.#answer(exchange, onAnswered);
  }

  /** The last byte of the answer was given on, or none will be. @param error null for an orderly end. */
  over(exchange: Exchange, error: MeshError | null): void {
    if (exchange.isOver) return;
    if (error !== null) exchange.abort(error);
    exchange.isOver = true;
    this.exchanges.remove(exchange);
    this.#end(exchange);
  }

  #arm(): void {
    if (this.#timer !== null) return;
    this.#timer = this.clock.setTimer(servingLimits.sweepMs, () => {
      this.#timer = null;
      const now = this.clock.now();
      for (const served of [...this.#served]) served.sweep(now);
      if (this.#served.size > 0) this.#arm();
    });
  }
}

export function clientGone(): MeshError {
  return new MeshError("connection_closed", "peer", "the client left before its answer had come to its end");
}
