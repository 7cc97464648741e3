/** Bounds of capture on trial, and of what it is chosen by. */
export const captureLimits = {
  /** Cgroups of each kind; every new connection of this host is compared with each. */
  maxCgroups: 64,
  /** iptables' match takes so much with the byte at its end (`XT_CGROUP_PATH_LEN`), nftables more. */
  maxCgroupPathBytes: 511,
  /** nftables counts levels in a byte. */
  maxCgroupDepth: 255,
  /** Less is no time to open a second session, and more is no trial. */
  minConfirmMs: 5_000,
  maxConfirmMs: 60 * 60_000,
  /** So long after the node itself the guard takes capture back: a node that lives does it in order. */
  guardLaterMs: 500,
} as const;
