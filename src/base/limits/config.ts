/** The bounds of settings. Each is reached by a test; a value that real Istio uses is marked with where it comes from. */

export const configLimits = {
  maxFileBytes: 1024 * 1024,
  /** Values of one setting that may be given several times. */
  maxValues: 1_000,
  /** The largest window HTTP/2 knows (RFC 9113 §6.9.1). */
  maxWindowBytes: 2_147_483_647,
  minSvidLifetimeMs: 60_000,
  maxDurationMs: 24 * 60 * 60_000,
} as const;
