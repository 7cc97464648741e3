/** Every open request, so that each can be decided again: when policy, token or trust changes, what is not allowed any more ends. */
import { proxyLimits } from "../base/limits/proxy.ts";
import type { Clock } from "../host/host.ts";
import type { Exchange } from "./exchange.ts";
import type { Ending } from "./stages.ts";

export class OpenExchanges {
  readonly #clock: Pick<Clock, "now" | "defer">;
  readonly #open = new Set<Exchange>();

  constructor(clock: Pick<Clock, "now" | "defer">) {
    this.#clock = clock;
  }

  get size(): number {
    return this.#open.size;
  }

  [Symbol.iterator](): IterableIterator<Exchange> {
    return this.#open.values();
  }

  add(exchange: Exchange): void {
    this.#open.add(exchange);
  }

  remove(exchange: Exchange): void {
    this.#open.delete(exchange);
  }

  /** In slices, since others must not wait for a hundred thousand: what is decided late is decided by the policies of then. */
  recheck(judge: (exchange: Exchange) => Ending | null): void {
    this.#sweep([...this.#open], judge, 0);
  }

  #sweep(exchanges: readonly Exchange[], judge: (exchange: Exchange) => Ending | null, from: number): void {
    const untilMs = this.#clock.now() + proxyLimits.recheckSliceMs;
    for (let index = from; index < exchanges.length; index++) {
      if (index > from && index % 32 === 0 && this.#clock.now() >= untilMs) {
        this.#clock.defer(() => this.#sweep(exchanges, judge, index));
        return;
      }
      const exchange = exchanges[index];
      if (exchange === undefined || exchange.isOver) continue;
      const ending = judge(exchange);
      if (ending === null) continue;
      exchange.reply ??= ending.reply;
      exchange.abort(ending.error);
    }
  }
}
