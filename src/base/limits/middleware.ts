/** Bounds of users' middleware in a waypoint. */
export const middlewareLimits = {
  /** What a middleware may take of its own for one request, when its document does not say; the time behind `next()` is not counted. */
  timeoutMs: 1_000,
  maxFileName: 128,
  /** Of its source, in bytes: read to know whether it changed. */
  maxFileBytes: 1024 * 1024,
  maxOrder: 1_000_000,
  maxConfigEntries: 256,
  /** Middlewares of one namespace that a waypoint loads. */
  maxPerNamespace: 32,
  /** Names of counters that one middleware may use. */
  maxCounters: 64,
} as const;
