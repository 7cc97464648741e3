/** Bounds of the waypoint's guards and of what it keeps about upstreams. */
export const waypointLimits = {
  /** Keys of one local rate limit that are counted one by one; about 100 bytes each. Those beyond share counters, which is stricter, never looser. */
  maxRateLimitKeys: 20_000,
  /** Shared counters of one rate limit for keys beyond the bound. */
  sharedRateLimitCounters: 1024,
  /** Of a rate limit's key, in characters; longer ones are counted by their hash. */
  maxRateLimitKeyLength: 512,
  /** Entries of a hash ring, however many a document asks for (Envoy allows 8 million): 65,536 entries are 512 KiB for each cluster. */
  maxRingSize: 65_536,
  /** Entries of a Maglev table: Envoy's default, a prime. */
  maglevTableSize: 65_537,
  /** The largest prime that a document may ask for; Envoy's bound is 5,000,011. */
  maxMaglevTableSize: 655_373,
  /** Hosts of which one cluster keeps a state: endpoints beyond are balanced without outlier detection. */
  maxHostStates: 10_000,
  /** Of a request's content, kept until an answer is there so that it can be sent again; what is longer is sent once. */
  retryBodyBytes: 64 * 1024,
  /** Of a mirrored request's content that its destination has not taken; a slower one loses the copy, and costs the original nothing. */
  mirrorBacklogBytes: 256 * 1024,
  /** Copies under way at one time; more are not made. */
  maxMirrors: 1_000,
  /** A copy's answer is waited for, so that its connection can be used again, and no longer. */
  mirrorTimeoutMs: 15_000,
  /** Label sets of one metric that Telemetry documents of one namespace make by tagOverrides; those beyond have `overflow` as their values. */
  maxTaggedSeries: 1_000,
  /** An ejection grows with each repetition, up to this (Envoy `max_ejection_time`). */
  maxEjectionMs: 300_000,
} as const;
