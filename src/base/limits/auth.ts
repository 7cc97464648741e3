/** The bounds of what a waypoint knows and decides about requests. Each is reached by a test, with where its value comes from. */
export const authLimits = {
  /** Rules of one RequestAuthentication; Istio's schema has 4,096. Each may read keys from a host of its own. */
  maxJwtRules: 256,
  /** Audiences, locations and the like of one rule. */
  maxRuleItems: 256,
  /** An inline set of keys: as large as one that is fetched may be. */
  maxInlineKeySetChars: 256 * 1024,
  /** Reading an issuer's keys; Istio's default. */
  keySetTimeoutMs: 5_000,
  /** Hops of X-Forwarded-For that can be said to be trusted; no installation has more proxies in a row. */
  maxTrustedProxies: 64,
  /** Conditions of one AccessCondition, and characters of one expression: about what fits on a screen. */
  maxConditions: 64,
  maxExpressionChars: 4_096,
  /** External authorizers of a mesh. */
  maxAuthorizers: 256,
  /** An authorizer's answer; Istio leaves 600 s, and a client would be gone by then. */
  authorizerTimeoutMs: 10_000,
  /** Of a request's body that an authorizer is shown: it is held in memory until the answer. */
  maxCheckedBodyBytes: 1024 * 1024,
} as const;
