/** The bounds of what a waypoint knows and decides about requests. Each is reached by a test, with where its value comes from. */
export const authLimits = {
  /** Rules of one RequestAuthentication; Istio's schema has 4,096. Each may read keys from a host of its own. */
  maxJwtRules: 256,
  /** Audiences, locations and the like of one rule. */
  maxRuleItems: 256,
  /** An inline set of keys; the document around it may have 256 KiB. */
  maxInlineKeySetChars: 192 * 1024,
  /** Reading an issuer's keys; Istio's default. */
  keySetTimeoutMs: 5_000,
  /** Hops of X-Forwarded-For that can be said to be trusted; no installation has more proxies in a row. */
  maxTrustedProxies: 64,
  /** Conditions of one AccessCondition, and characters of one expression: so many are read in one turn, some 30 ms. */
  maxConditions: 64,
  maxExpressionChars: 1_024,
  /**
   * Brackets within brackets of one expression: reading it takes twice as long with each. Macros that go over a list (`all`, `exists`,
   * `filter`, `map`), none inside of another, and the items of what they go over: at 40 µs an item, with a regular expression, all of it
   * stays below 50 ms.
   */
  maxExpressionDepth: 12,
  maxExpressionMacros: 4,
  maxExpressionItems: 256,
  /** External authorizers of a mesh. */
  maxAuthorizers: 256,
  /** An authorizer's answer; Istio leaves 600 s, and a client would be gone by then. */
  authorizerTimeoutMs: 10_000,
  /** Of a request's body that an authorizer is shown: it is held in memory until the answer. */
  maxCheckedBodyBytes: 1024 * 1024,
  /** An authorizer's answer over HTTP, which may be a page for the client. */
  maxAuthorizerAnswerBytes: 256 * 1024,
  /** Tokens of one request that are verified, wherever they are; one, or two while a client changes its issuer. */
  maxTokensPerRequest: 4,
  /** Verified tokens remembered, of all issuers together: number, and characters of them. */
  maxVerifiedTokens: 16_384,
  maxVerifiedTokenChars: 32 * 1024 * 1024,
  /** A token is verified again after so long, so that a key that was withdrawn and an issuer that is gone are noticed. */
  verifiedTokenMs: 5 * 60_000,
  /** How far an issuer's clock and ours may be apart; Envoy's default. */
  clockSkewMs: 60_000,
  /** Open requests are looked at this often: one whose token ends is over within a second of it. */
  recheckMs: 500,
  /** Of the address in `WWW-Authenticate`; Envoy's value. */
  maxRealmChars: 256,
} as const;
