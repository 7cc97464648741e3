/**
 * What a peer may make us do for little of its own: each kind has a bucket that empties with every such frame and
 * refills with time. An honest peer never sees the bottom; an attacker gets ENHANCE_YOUR_CALM.
 */
export const floodKinds = [
  /** RST_STREAM of the peer before we answered: rapid reset, CVE-2023-44487. */
  "earlyResets",
  /** RST_STREAM the peer made us send: MadeYouReset, CVE-2025-8671. */
  "provokedResets",
  /** SETTINGS, each of which we acknowledge: CVE-2019-9515. */
  "settings",
  /** PING and its answers: CVE-2019-9512. */
  "pings",
  /** DATA without content and without an end: CVE-2019-9518. */
  "emptyData",
  /** DATA of a few bytes, each of which costs as much as a full one. */
  "tinyData",
  /** WINDOW_UPDATE. What we send earns the peer more, see `earn`. */
  "windowUpdates",
  /** PRIORITY and types we do not know: CVE-2019-9513. */
  "ignoredFrames",
] as const;

export type FloodKind = (typeof floodKinds)[number];

export interface FloodLimit {
  readonly burst: number;
  readonly perSecond: number;
}

export type FloodLimits = { readonly [K in FloodKind]: FloodLimit };

const kindCount = floodKinds.length;
const kindIndex = Object.fromEntries(floodKinds.map((kind, index) => [kind, index])) as Readonly<
  Record<FloodKind, number>
>;

export class FloodGuard {
  readonly #limits: FloodLimits;
  /** Tokens, then the times they were last counted; allocated with the first charge, because most connections idle. */
  #buckets: Float64Array | null = null;

  constructor(limits: FloodLimits) {
    this.#limits = limits;
  }

  /** @param now monotonic milliseconds. @returns false when the peer has gone too far. */
  charge(kind: FloodKind, now: number): boolean {
    const buckets = this.#ensure(now);
    const { burst, perSecond } = this.#limits[kind];
    const index = kindIndex[kind];
    const elapsedMs = Math.max(0, now - (buckets[kindCount + index] ?? now));
    const tokens = Math.min(burst, (buckets[index] ?? 0) + (elapsedMs * perSecond) / 1000) - 1;
    buckets[index] = tokens;
    buckets[kindCount + index] = now;
    return tokens >= 0;
  }

  /** Our own sending entitles the peer to `count` more frames of this kind, up to the burst. */
  earn(kind: FloodKind, count: number): void {
    const buckets = this.#buckets;
    // Not charged yet means full.
    if (buckets === null) return;
    const index = kindIndex[kind];
    buckets[index] = Math.min(this.#limits[kind].burst, (buckets[index] ?? 0) + count);
  }

  #ensure(now: number): Float64Array {
    if (this.#buckets !== null) return this.#buckets;
    const buckets = new Float64Array(kindCount * 2);
    for (const [index, kind] of floodKinds.entries()) buckets[index] = this.#limits[kind].burst;
    buckets.fill(now, kindCount);
    this.#buckets = buckets;
    return buckets;
  }
}
