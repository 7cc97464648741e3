/** Rates: so many at once, and so many a second after that. Time is the host's monotonic clock. */
import type { Clock } from "../../host/host.ts";

export interface Rate {
  /** Taken at once from a full bucket. */
  readonly burst: number;
  readonly perSecond: number;
}

export class TokenBucket {
  readonly #rate: Rate;
  readonly #clock: Clock;
  #tokens: number;
  #filledAt: number;

  constructor(clock: Clock, rate: Rate) {
    this.#clock = clock;
    this.#rate = rate;
    this.#tokens = rate.burst;
    this.#filledAt = clock.now();
  }

  /** Takes nothing. */
  get isEmpty(): boolean {
    this.#fill();
    return this.#tokens < 1;
  }

  /** @returns whether there was one. */
  take(): boolean {
    if (this.isEmpty) return false;
    this.#tokens--;
    return true;
  }

  #fill(): void {
    const now = this.#clock.now();
    const refill = ((now - this.#filledAt) / 1000) * this.#rate.perSecond;
    this.#tokens = Math.min(this.#rate.burst, this.#tokens + refill);
    this.#filledAt = now;
  }
}

/**
 * A bucket for each key. What strangers can name grows no table without end: past its bound the bucket that was idle the
 * longest is forgotten, which is the fullest there is, or close to it.
 */
export class KeyedBuckets {
  readonly #clock: Clock;
  readonly #rate: Rate;
  readonly #maxKeys: number;
  /** In order of use, the longest idle first. */
  readonly #buckets = new Map<string, TokenBucket>();

  constructor(clock: Clock, rate: Rate, maxKeys: number) {
    this.#clock = clock;
    this.#rate = rate;
    this.#maxKeys = maxKeys;
  }

  get size(): number {
    return this.#buckets.size;
  }

  isEmpty(key: string): boolean {
    return this.#buckets.get(key)?.isEmpty ?? false;
  }

  take(key: string): boolean {
    const bucket = this.#buckets.get(key) ?? new TokenBucket(this.#clock, this.#rate);
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > this.#maxKeys) {
      const [idle] = this.#buckets.keys();
      if (idle !== undefined) this.#buckets.delete(idle);
    }
    return bucket.take();
  }
}
