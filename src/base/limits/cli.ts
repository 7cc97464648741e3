/** The bounds of the command line. Each is reached by a test. */

export const cliLimits = {
  /** How often `fairlead top` may ask a node, and how seldom. */
  minTopIntervalMs: 200,
  maxTopIntervalMs: 60_000,
} as const;
