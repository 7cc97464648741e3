/** The bounds of the two doors that strangers reach, HBONE and the control plane's port. Each is reached by a test. */

/** Connections that have proven nothing yet. */
export const doorLimits = {
  /**
   * Of all, of one address (IPv6: one /64) and of its neighbourhood (a /24, or a /48): one network cannot take the whole, and several
   * honest hosts behind one address have room to shake hands at the same time.
   */
  maxUnproven: 1_024,
  maxUnprovenPerAddress: 128,
  maxUnprovenPerNeighbourhood: 512,
  /**
   * Whoever has spoken and come less than this ago does not make room, or a crowd of honest callers would close each other's handshakes before one is
   * through; the newcomer tries again then.
   */
  graceMs: 100,
  /** Visitors that are asked, for one newcomer, whether they have spoken since: a system call each. */
  maxAsked: 16,
  /** Connections that wait until a turn has time to look at them. */
  maxWaiting: 4_096,
  /** How often connections that made room are told of in the log. */
  warningIntervalMs: 60_000,
} as const;
