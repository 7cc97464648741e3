/** Every open request, so that each can be decided again: when policy, token or trust changes, what is not allowed any more ends. */
import { Roster } from "../base/roster.ts";
import { sweep } from "../base/turns/time_slice.ts";
import type { Clock } from "../host/host.ts";
import type { Exchange } from "./exchange.ts";
import type { Ending } from "./stages.ts";

export class OpenExchanges {
  readonly #clock: Pick<Clock, "now" | "defer">;
  readonly #open = new Roster<Exchange>();

  constructor(clock: Pick<Clock, "now" | "defer">) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#open.size;
  }

  [Symbol.iterator](): IterableIterator<Exchange> {
    return this.#open[Symbol.iterator]();
  }

  add(exchange: Exchange): void {
    this.#open.add(exchange);
  }

  remove(exchange: Exchange): void {
    this.#open.delete(exchange);
  }

  /** In slices, since others must not wait for a hundred thousand: what is decided late is decided by the policies of then. */
  recheck(judge: (exchange: Exchange) => Ending | null): void {
    sweep(this.#clock, [...this.#open], (exchange) => {
      const ending = exchange.isOver ? null : judge(exchange);
      if (ending === null) return;
      exchange.reply ??= ending.reply;
      exchange.abort(ending.error);
    });
  }
}
