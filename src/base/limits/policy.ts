/** The bounds of policies. Each is reached by a test; a value that real Istio uses is marked with where it comes from. */

/** The policy engine. */
export const policyLimits = {
  /** Rules of one kind (DENY, ALLOW, and each as dry run) that one scope may hold. More: `engine_unavailable` for its workloads. */
  maxRulesPerSection: 262_144,
  /** Pieces a rule is split into for the index where its matches mix dimensions; of one that needs more, some pieces are only told apart by evaluating them. */
  maxAlternatives: 16,
  /**
   * A group of so many policies that has changed is amended rather than compiled again, until what has changed since is more than this
   * share of it.
   */
  minLayeredPolicies: 256,
  maxChangedShare: 1 / 16,
  /**
   * What the rules of policies name (callers, ports, addresses, and each match by itself) that are compiled in one turn, some 10 ms for so
   * many. More are compiled in steps, and connections that they are for wait meanwhile.
   */
  maxValuesAtOnce: 2_000,
  /** How often that begins again for policies that have changed too much meanwhile; then they are compiled in one turn after all. */
  maxCompileRestarts: 8,
  /** Compiled policies in one image. */
  maxImageBytes: 128 * 1024 * 1024,
  /** Entries of one index dimension, beyond which a rule is evaluated instead of indexed: what nested prefixes can cost. */
  maxIndexEntries: 4_000_000,
  /** Callers interned; at this many, or when their arena is full, all are dropped and interned again on need. */
  maxCallers: 16_384,
  /** Where interned callers are in an image: some 40 bytes for each caller and section it meets. */
  callerArenaBytes: 1024 * 1024,
  /** Distinct lists of policy names that workloads carry, compiled; at this many all are dropped and compiled again on need. */
  maxNamedGroups: 4_096,
  /** Characters of policy names in one `Denial`. */
  maxDenialNameChars: 256,
} as const;
