/** The bounds of administration of a node. Each is reached by a test; a value that real Istio uses is marked with where it comes from. */

/** Administration and telemetry. */
export const adminLimits = {
  /** Label sets one metric may have; further ones are counted together as `overflow`. */
  maxSeriesPerMetric: 20_000,
  /** Characters of a label's value that are kept. */
  maxLabelValueLength: 512,
  /** How long the command line waits for a node's answer. */
  clientTimeoutMs: 5_000,
  /** The longest answer of a node that the command line reads: a dump of 100,000 workloads is some 100 MiB. */
  maxAnswerBytes: 512 * 1024 * 1024,
  /** Connections that `/connections` lists; it says how many there are. */
  maxListedConnections: 10_000,
  /** Programs that may watch connections and requests (`fairlead tap`) at one time. */
  maxTaps: 8,
  /** Records that wait for a slow one of them, and their characters; further ones are counted and left out. */
  maxTapRecords: 4_096,
  maxTapChars: 4 * 1024 * 1024,
} as const;
