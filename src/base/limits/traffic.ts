/** The bounds of documents about traffic. Each is reached by a test. */
export const trafficLimits = {
  /** Rules of one VirtualService or route. Istio has no bound; the Gateway API takes 16 in one HTTPRoute. */
  maxRules: 512,
  /** Matches of one rule; the Gateway API's is 64. */
  maxMatches: 64,
  /** Headers, or query parameters, of one match; the Gateway API's is 16. */
  maxMatchItems: 32,
  /** Destinations of one rule; the Gateway API's is 16. */
  maxDestinations: 64,
  /** Headers in one change, and mirrors of one rule. */
  maxHeaderChanges: 64,
  maxMirrors: 16,
  /** Origins, methods or headers of one CORS policy; the Gateway API's is 64. */
  maxCorsItems: 64,
  /** Subsets of one DestinationRule, and ports with a policy of their own. */
  maxSubsets: 128,
  maxPortPolicies: 64,
  /** Hosts of one VirtualService; server names, subnets and hostnames of one match or route. */
  maxHosts: 256,
  /** What a route is attached to; the Gateway API's. */
  maxParents: 32,
  /** Of one ReferenceGrant, each way; the Gateway API's. */
  maxGrantItems: 16,
  /** Bytes of a direct answer; Istio's is 1 MiB, but a document here is 256 KiB at most. */
  maxAnswerBytes: 100 * 1024,
  /** Rules of one RateLimit, and keys of one of them. */
  maxRateLimitRules: 64,
  maxRateLimitKeys: 8,
  /** Characters of a header's value, a path, or a name of a session. */
  maxValueLength: 4_096,
} as const;
