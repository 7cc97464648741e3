/** Bounds of capture on trial. */
export const captureLimits = {
  /** Less is no time to open a second session, and more is no trial. */
  minConfirmMs: 5_000,
  maxConfirmMs: 60 * 60_000,
  /** So long after the node itself the guard takes capture back: a node that lives does it in order. */
  guardLaterMs: 500,
} as const;
