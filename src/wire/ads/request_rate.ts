/** Requests of one stream: a bucket that refills with time. */
export class RequestRate {
  readonly #burst: number;
  readonly #perSecond: number;
  #tokens: number;
  #countedAtMs: number | null = null;

  constructor({ burst, perSecond }: { readonly burst: number; readonly perSecond: number }) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#tokens = burst;
  }

  /** @returns false when there have been too many. */
  take(nowMs: number): boolean {
    const elapsedMs = Math.max(0, nowMs - (this.#countedAtMs ?? nowMs));
    this.#countedAtMs = nowMs;
    this.#tokens = Math.min(this.#burst, this.#tokens + (elapsedMs * this.#perSecond) / 1000) - 1;
    return this.#tokens >= 0;
  }
}
