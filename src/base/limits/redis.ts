/** Bounds toward a Redis server that counts for rate limits. */
export const redisLimits = {
  /** Of one reply; ours are some 60 bytes. */
  maxReplyBytes: 64 * 1024,
  maxLineBytes: 4 * 1024,
  maxReplyItems: 1024,
  maxReplyDepth: 4,
  /** Commands without a reply on one connection; more are refused as if the server were away. */
  maxPending: 4096,
  connectTimeoutMs: 1_000,
  /** After a failure no command is tried for so long: a server that is away costs each request nothing. */
  backoffStartMs: 250,
  backoffMaxMs: 5_000,
  backoffJitter: 0.2,
} as const;
