/**
 * A rate limit by the generic cell rate algorithm (ITU-T I.371): one number a key says all, the time at which its allowance is whole
 * again. Pure: the time is an argument.
 */
import { waypointLimits } from "../../base/limits/waypoint.ts";
import { murmur3 } from "../../base/murmur3.ts";
import type { TokenLimit } from "../../mesh/traffic/rate_limit.ts";

/** `requests` in `periodMs`, evenly, and `burst` at once; each at least 1. */
export type Rate = TokenLimit;

export interface Verdict {
  readonly allowed: boolean;
  /** How many more would be let through now. */
  readonly remaining: number;
  /** Until one more is let through; 0 when one is let through now. */
  readonly retryAfterMs: number;
  /** Until the allowance is whole again. */
  readonly resetMs: number;
}

/** The algorithm on one number. @param wholeAt when the allowance is whole again; in the past for one that is. */
export function judge(rate: Rate, wholeAt: number, now: number): { verdict: Verdict; wholeAt: number } {
  const intervalMs = rate.periodMs / rate.requests;
  const toleranceMs = intervalMs * (rate.burst - 1);
  const from = Math.max(wholeAt, now);
  const earliest = from - toleranceMs;
  if (earliest > now + roundingMs) {
    const verdict = { allowed: false, remaining: 0, retryAfterMs: earliest - now, resetMs: from - now };
    return { verdict, wholeAt };
  }
  const next = from + intervalMs;
  const left = toleranceMs - (next - now - intervalMs);
  const remaining = Math.max(0, Math.floor(left / intervalMs + roundingMs));
  const retryAfterMs = remaining > 0 ? 0 : Math.max(0, next - toleranceMs - now);
  return { verdict: { allowed: true, remaining, retryAfterMs, resetMs: next - now }, wholeAt: next };
}

/** Sums of fractions are not exact; a request that is a nanosecond early is on time. */
const roundingMs = 1e-6;

/**
 * A limit with many keys. Exact for those in the table; the table forgets a key once its allowance is whole, since then there is
 * nothing to remember. A stranger who sends a new key each time fills the table, and from then on new keys share counters by their
 * hash: such a limit is stricter for new keys and unchanged for old ones.
 */
export class KeyedRateLimit {
  readonly rate: Rate;
  readonly #maxKeys: number;
  /** Keys used since `#turnedAt`, and in the window before it. */
  #current = new Map<string, number>();
  #previous = new Map<string, number>();
  #turnedAt: number | null = null;
  #shared: Float64Array | null = null;

  constructor(rate: Rate, maxKeys: number = waypointLimits.maxRateLimitKeys) {
    this.rate = rate;
    this.#maxKeys = maxKeys;
  }

  get keys(): number {
    return this.#current.size + this.#previous.size;
  }

  /** Counts one request of `key` if it is let through. @param now monotonic milliseconds. */
  take(key: string, now: number): Verdict {
    this.#turn(now);
    const bounded = key.length > waypointLimits.maxRateLimitKeyLength ? longKey(key) : key;
    const known = this.#current.get(bounded) ?? this.#previous.get(bounded);
    if (known === undefined && this.keys >= this.#maxKeys) return this.#takeShared(bounded, now);
    const { verdict, wholeAt } = judge(this.rate, known ?? now, now);
    // A refusal that is not remembered again is a key that has been in the table; a new one is never refused.
    this.#current.set(bounded, wholeAt);
    if (known !== undefined) this.#previous.delete(bounded);
    return verdict;
  }

  /** Undoes one `take` that let through: another limit refused the request. */
  giveBack(key: string): void {
    const bounded = key.length > waypointLimits.maxRateLimitKeyLength ? longKey(key) : key;
    const intervalMs = this.rate.periodMs / this.rate.requests;
    for (const keys of [this.#current, this.#previous]) {
      const wholeAt = keys.get(bounded);
      if (wholeAt === undefined) continue;
      keys.set(bounded, wholeAt - intervalMs);
      return;
    }
    const at = murmur3(bounded) % waypointLimits.sharedRateLimitCounters;
    if (this.#shared !== null) this.#shared[at] = (this.#shared[at] ?? 0) - intervalMs;
  }

  #takeShared(key: string, now: number): Verdict {
    this.#shared ??= new Float64Array(waypointLimits.sharedRateLimitCounters);
    const at = murmur3(key) % this.#shared.length;
    const { verdict, wholeAt } = judge(this.rate, this.#shared[at] ?? 0, now);
    this.#shared[at] = wholeAt;
    return verdict;
  }

  /** After the time in which any allowance becomes whole, keys that were not used have nothing to remember. */
  #turn(now: number): void {
    const { periodMs, requests, burst } = this.rate;
    const windowMs = (periodMs / requests) * burst;
    this.#turnedAt ??= now;
    if (now - this.#turnedAt < windowMs) return;
    this.#previous = now - this.#turnedAt < 2 * windowMs ? this.#current : new Map();
    this.#current = new Map();
    this.#turnedAt = now;
  }
}

/** Two hashes of 32 bits and the length: keys that long are made by machines, and a collision only shares an allowance. */
function longKey(key: string): string {
  return `#${key.length}:${murmur3(key)}:${murmur3(key, 0x9747b28c)}`;
}
