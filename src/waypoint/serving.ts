/** What those who serve connections share: the pipeline, the open requests, and a sweep that finds what has stood still. */
import { MeshError } from "../base/errors.ts";
import { servingLimits } from "../base/limits/serving.ts";
import type { Clock, Timer } from "../host/host.ts";
import { spread } from "../transport/spread.ts";
import type { Answer } from "./app.ts";
import type { Exchange } from "./exchange.ts";
import type { OpenExchanges } from "./open_exchanges.ts";

/** A connection that is served. */
export interface Served {
  /** Looks whether something has stood still for too long. @param now monotonic milliseconds. */
  sweep(now: number): void;
  /** No new requests: those that are under way come to their end, then the connection does. */
  drain(): void;
  /** Its protocol tells a client beforehand that no more requests are taken (GOAWAY). */
  readonly tellsClients: boolean;
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

  /**
   * @param spreadMs over so long clients are told with their next answer (HTTP/1.1) or one after the other (HTTP/2); who is idle all the while
   *   is closed at its end: a request may be on its way to an idle connection that is closed (RFC 9112 §9.3.1).
   */
  drain(spreadMs: number): void {
    this.#isDraining = true;
    const told = [...this.#served];
    if (spreadMs === 0) {
      for (const served of told) served.drain();
      return;
    }
    spread(
      this.clock,
      told.filter((served) => served.tellsClients),
      spreadMs,
      (served) => served.drain(),
    );
    this.clock.setTimer(spreadMs, () => {
      for (const served of [...this.#served]) served.drain();
    });
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
