/** The bounds of regular expressions that documents bring. Each is reached by a test. */
export const patternLimits = {
  /** Characters of one expression; Istio's (`validateStringRegexp`). */
  maxChars: 1_024,
  /** Groups within groups. */
  maxDepth: 100,
  /** The largest number in `{n,m}`; RE2's. */
  maxRepeat: 1_000,
  /**
   * Instructions that one expression becomes. A text of 8 KiB costs at most so many times its length: some 50 ms in the worst case that
   * is known, where no state is ever met twice.
   */
  maxInstructions: 1_100,
  /** States kept of one expression; at this many all are dropped and made again on need (as RE2 does), and a text that alone needs more is matched without. */
  maxStates: 256,
} as const;
