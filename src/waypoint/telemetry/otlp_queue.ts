/**
 * Spans or log records on their way to a collector, in batches. A collector that is away or hangs costs a bounded queue and nothing else:
 * no request waits for it.
 */
import { backoffMs } from "../../base/backoff.ts";
import { otlpLimits } from "../../base/limits/otlp.ts";
import type { Logger } from "../../base/log.ts";
import type { Counter } from "../../base/metrics.ts";
import type { Clock, Random, Timer } from "../../host/host.ts";
import type { Collector, SendOutcome } from "./collector.ts";

export interface OtlpQueueOptions<Item> {
  readonly clock: Clock;
  readonly random: Pick<Random, "float">;
  readonly logger: Logger;
  readonly collector: Collector;
  /** `spans`, for the log. */
  readonly what: string;
  readonly maxQueued: number;
  readonly encode: (items: readonly Item[]) => Uint8Array;
  readonly sent: Counter;
  /** Items that the collector does not get. */
  readonly lost: Counter;
}

export class OtlpQueue<Item> {
  readonly #options: OtlpQueueOptions<Item>;
  #queue: Item[] = [];
  /** What is being sent, or is to be sent again. */
  #batch: readonly Item[] = [];
  #attempts = 0;
  /** In a row. */
  #failures = 0;
  #timer: Timer | null = null;
  #isSending = false;
  #isBackingOff = false;
  #isAway = false;

  constructor(options: OtlpQueueOptions<Item>) {
    this.#options = options;
  }

  /** Those under way included. */
  get waiting(): number {
    return this.#queue.length + this.#batch.length;
  }

  add(item: Item): void {
    if (this.#queue.length >= this.#options.maxQueued) {
      this.#options.lost.add(1);
      return;
    }
    this.#queue.push(item);
    if (this.#isSending || this.#isBackingOff) return;
    if (this.#queue.length >= otlpLimits.batch) this.flush();
    else this.#timer ??= this.#options.clock.setTimer(otlpLimits.delayMs, () => this.flush());
  }

  /** Sends what there is now, unless something is under way or the collector is to be left alone. */
  flush(): void {
    if (this.#isSending || this.#isBackingOff) return;
    this.#timer?.cancel();
    this.#timer = null;
    if (this.#batch.length === 0) {
      this.#batch = this.#queue.splice(0, otlpLimits.batch);
      this.#attempts = 0;
    }
    if (this.#batch.length === 0) return;
    this.#isSending = true;
    this.#attempts++;
    const { collector, encode } = this.#options;
    void collector.send(encode(this.#batch)).then((outcome) => {
      this.#isSending = false;
      this.#after(outcome);
    });
  }

  #after(outcome: SendOutcome): void {
    const { clock, random, sent, lost } = this.#options;
    if (outcome.kind === "later") {
      this.#failures++;
      this.#sayAway(outcome.reason);
      if (this.#attempts >= otlpLimits.maxAttempts) {
        lost.add(this.#batch.length);
        this.#batch = [];
      }
      this.#isBackingOff = true;
      const delayMs = outcome.afterMs ?? backoffMs(this.#failures, otlpLimits, random.float());
      this.#timer = clock.setTimer(delayMs, () => {
        this.#isBackingOff = false;
        this.#timer = null;
        this.flush();
      });
      return;
    }
    const count = this.#batch.length;
    this.#batch = [];
    this.#failures = 0;
    if (outcome.kind === "refused") {
      lost.add(count);
      this.#sayAway(outcome.reason);
    } else {
      const rejected = Math.min(outcome.rejected, count);
      sent.add(count - rejected);
      lost.add(rejected);
      this.#sayBack();
    }
    if (this.#queue.length >= otlpLimits.batch) this.flush();
    else if (this.#queue.length > 0) this.#timer = clock.setTimer(otlpLimits.delayMs, () => this.flush());
  }

  /** Once, not for each batch. */
  #sayAway(error: string): void {
    const { logger, what, collector } = this.#options;
    if (!this.#isAway)
      logger.log("warn", "otlp", `${what} cannot be sent; those beyond a bound are lost meanwhile`, {
        url: collector.url,
        error,
      });
    this.#isAway = true;
  }

  #sayBack(): void {
    const { logger, what, collector } = this.#options;
    if (this.#isAway) logger.log("info", "otlp", `the collector takes ${what} again`, { url: collector.url });
    this.#isAway = false;
  }
}
