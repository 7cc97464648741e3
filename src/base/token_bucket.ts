/** Rates: so many at once, and so many a second after that. Time is an argument, monotonic, in ms. */

export interface Rate {
  /** Taken at once from a full bucket. */
  readonly burst: number;
  readonly perSecond: number;
}

export class TokenBucket {
  readonly #rate: Rate;
  #tokens: number;
  #filledAtMs: number | null = null;

  constructor(rate: Rate) {
    this.#rate = rate;
    this.#tokens = rate.burst;
  }

  /** Takes nothing. */
  isEmpty(nowMs: number): boolean {
    const elapsedMs = Math.max(0, nowMs - (this.#filledAtMs ?? nowMs));
    this.#filledAtMs = nowMs;
    this.#tokens = Math.min(this.#rate.burst, this.#tokens + (elapsedMs * this.#rate.perSecond) / 1000);
    return this.#tokens < 1;
  }

  /** @returns whether there was one. */
  take(nowMs: number): boolean {
    if (this.isEmpty(nowMs)) return false;
    this.#tokens--;
    return true;
  }
}

/**
 * A bucket for each key. What strangers can name grows no table without end: past its bound the bucket that was idle the
 * longest is forgotten, which is the fullest there is, or close to it.
 */
export class KeyedBuckets {
  readonly #rate: Rate;
  readonly #maxKeys: number;
  /** In order of use, the longest idle first. */
  readonly #buckets = new Map<string, TokenBucket>();

  constructor(rate: Rate, maxKeys: number) {
    this.#rate = rate;
    this.#maxKeys = maxKeys;
  }

  get size(): number {
    return this.#buckets.size;
  }

  isEmpty(key: string, nowMs: number): boolean {
    return this.#buckets.get(key)?.isEmpty(nowMs) ?? false;
  }

  take(key: string, nowMs: number): boolean {
    const bucket = this.#buckets.get(key) ?? new TokenBucket(this.#rate);
    this.#buckets.delete(key);
    this.#buckets.set(key, bucket);
    if (this.#buckets.size > this.#maxKeys) {
      const [idle] = this.#buckets.keys();
      if (idle !== undefined) this.#buckets.delete(idle);
    }
    return bucket.take(nowMs);
  }
}
