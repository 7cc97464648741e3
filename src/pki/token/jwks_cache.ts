/**
 * An issuer's keys, kept: read on first need, again when they are old or a token names a key they do not hold, and used for
 * a bounded time while the issuer is away. Whoever sends tokens cannot make us ask the issuer more often than the limits say.
 */
import { backoffMs } from "../../base/backoff.ts";
import { asMeshError, MeshError } from "../../base/errors.ts";
import { tokenLimits } from "../../base/limits/pki.ts";
import type { Logger } from "../../base/log.ts";
import type { Clock } from "../../host/host.ts";
import type { KeyQuestion, PublishedKeys } from "./jwks_keys.ts";

export interface JwksCacheOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** For the log. */
  readonly issuer: string;
  /** @throws MeshError */
  readonly read: () => Promise<PublishedKeys>;
}

export interface JwksStatus {
  readonly keys: number;
  /** Since the keys were read; null before the first time. */
  readonly ageMs: number | null;
  /** Why the latest reading failed; null when it did not. */
  readonly error: string | null;
}

export class JwksCache {
  readonly #options: JwksCacheOptions;
  #keys: PublishedKeys | null = null;
  /** Monotonic. */
  #readAt = Number.NEGATIVE_INFINITY;
  #startedAt = Number.NEGATIVE_INFINITY;
  #failures = 0;
  #error: MeshError | null = null;
  #underWay: Promise<void> | null = null;

  constructor(options: JwksCacheOptions) {
    this.#options = options;
  }

  /**
   * The keys a token may be signed with; none when the issuer has no such key.
   *
   * @throws MeshError `identity_unavailable`, blame upstream, when there are no keys that may still be believed.
   */
  async find(question: KeyQuestion): Promise<readonly CryptoKey[]> {
    const held = await this.#held();
    const found = await held.find(question);
    if (found.length > 0 || question.kid === null || held.has(question.kid)) return found;
    // A key we have not seen: the issuer has rotated, or somebody makes names up. One reading answers all who ask meanwhile.
    if (this.#underWay !== null) await this.#underWay;
    else if (this.#mayRead(tokenLimits.unknownKeyIntervalMs)) await this.#read();
    else return found;
    return (await this.#keys?.find(question)) ?? [];
  }

  status(): JwksStatus {
    return {
      keys: this.#keys?.size ?? 0,
      ageMs: this.#keys === null ? null : this.#options.clock.now() - this.#readAt,
      error: this.#error?.message ?? null,
    };
  }

  async #held(): Promise<PublishedKeys> {
    const age = this.#options.clock.now() - this.#readAt;
    if (this.#keys !== null && age < tokenLimits.keysFreshMs) return this.#keys;
    const usable = this.#keys !== null && age < tokenLimits.keysStaleMs;
    if (this.#mayRead(this.#backoffMs())) {
      const reading = this.#read();
      // Old keys that may still be used need not wait for new ones.
      if (!usable) await reading;
    } else if (!usable && this.#underWay !== null) await this.#underWay;
    if (this.#keys !== null && this.#options.clock.now() - this.#readAt < tokenLimits.keysStaleMs)
      return this.#keys;
    const reason = this.#error?.message ?? "they were not read yet";
    throw new MeshError(
      "identity_unavailable",
      "upstream",
      `the keys of ${this.#options.issuer} are not known: ${reason}`,
    );
  }

  /** Whether the latest reading began long enough ago, and none is under way. */
  #mayRead(intervalMs: number): boolean {
    return this.#underWay === null && this.#options.clock.now() - this.#startedAt >= intervalMs;
  }

  #backoffMs(): number {
    if (this.#failures === 0) return 0;
    const { retryMinMs: backoffStartMs, retryMaxMs: backoffMaxMs } = tokenLimits;
    return backoffMs(this.#failures, { backoffStartMs, backoffMaxMs });
  }

  /** Never rejects. */
  #read(): Promise<void> {
    this.#startedAt = this.#options.clock.now();
    const reading = this.#readOnce().finally(() => {
      this.#underWay = null;
    });
    this.#underWay = reading;
    return reading;
  }

  async #readOnce(): Promise<void> {
    const { issuer, logger, clock, read } = this.#options;
    try {
      this.#keys = await read();
      this.#readAt = clock.now();
      this.#failures = 0;
      this.#error = null;
    } catch (error) {
      this.#failures++;
      this.#error = asMeshError(error, "io", "upstream");
      logger.log("warn", "identity", "the keys of an issuer of tokens cannot be read", {
        issuer,
        reason: this.#error.message,
        held: this.#keys?.size ?? 0,
      });
    }
  }
}
