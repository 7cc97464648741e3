/** The bounds of a node's way to its control plane, and its identity socket. Each is reached by a test; a value that real Istio uses is marked with where it comes from. */

/** A host that takes its mesh and its certificates from a control plane. */
export const joinLimits = {
  /** A join token or a bearer token; a Kubernetes token is some 1 KiB. */
  maxTokenBytes: 16 * 1024,
  /** What this host keeps of a join: a chain, a key, roots and a few words. */
  maxNodeFileBytes: 2 * 1024 * 1024,
  /** CreateCertificate, Join and Renew. */
  callTimeoutMs: 10_000,
  /** Back-off of the xDS stream: start and end; ztunnel's values (`xds/client.rs`). */
  backoffStartMs: 10,
  backoffMaxMs: 15_000,
  /** Spread of a wait, as a share of it, both ways: a control plane that returns is not met by everybody at once. */
  backoffJitter: 0.25,
  /** A stream that lasted this long starts the back-off again when it ends. */
  steadyMs: 30_000,
  /** A stream that was opened and has brought no answer by then is given up. */
  firstAnswerTimeoutMs: 20_000,
  /** One response; ztunnel's value (`xds/client.rs`). */
  maxResponseBytes: 200 * 1024 * 1024,
  /** Resources one control plane may have us hold, and their bytes, all types together. */
  maxResources: 500_000,
  maxResourceBytes: 512 * 1024 * 1024,
  /** Resources of one delivery that are read in one go; more are in slices, between which connections have their turn. */
  takenAtOnce: 500,
  /** Characters of one reason of a refusal that are shown, and refusals of one response that are logged. */
  maxReasonChars: 512,
  maxRefusalsLogged: 20,
  /** Refused resources that are remembered for the status. */
  maxRefusedResources: 1_000,
  /** A change is on disk after this long; many changes in that time are written once. */
  snapshotDelayMs: 5_000,
  maxSnapshotBytes: 512 * 1024 * 1024,
  /** A clock that differs from the control plane's by this is told to the operator. */
  clockSkewMs: 5 * 60_000,
  /** The node certificate: what is asked for, and the shortest pause between two tries to renew. */
  renewRetryMinMs: 5_000,
  renewRetryMaxMs: 10 * 60_000,
  /** The same once it has expired: until it is renewed this host has no identity. */
  renewExpiredRetryMaxMs: 15_000,
  /** Roots that the disk did not take are written again this often: until then a rotation waits for this host. */
  keepRetryMs: 5_000,
  /** The wall clock is looked at this often at the least, so that a jump of it, or a sleep of the host, is noticed. */
  clockCheckMs: 60_000,
  /** Documents (raw Istio resources) that are held for a waypoint. */
  maxDocuments: 100_000,
} as const;

/** SDS and the Workload API on a Unix socket. */
export const workloadApiLimits = {
  /** Streams that are open at one time: all, and of one user. Envoy opens one for each secret. */
  maxStreams: 2_048,
  maxStreamsPerUser: 128,
  /** Secrets one stream asks for. */
  maxSecretNames: 64,
  /** Characters of a NACK's reason that are kept. */
  maxNackChars: 512,
  /** The same caller doing the same again is audited once in this time, with a count. */
  auditIntervalMs: 60_000,
  /** Callers and actions whose count is kept. */
  maxAuditKeys: 1_024,
  /** An identity that could not be had is asked for again after this. */
  askAgainMs: 5_000,
  /** Rules that say who gets which identity. */
  maxIdentityRules: 1_000,
} as const;

/** Heads of the control plane's audit log that a host keeps. Each has the signer's certificates with it, some 3 KiB. */
export const witnessLimits = {
  /** The newest ones; and with one for each day before them, all of them. */
  recentHeads: 8,
  maxHeads: 64,
  dayMs: 24 * 60 * 60_000,
  /** Pairs of heads that contradict each other: the first half stays, whatever comes after it. */
  maxConflicts: 16,
  /** A control plane's proofs reach back so far. */
  followedMs: 15 * 60_000,
  /** What is computed of one head, some 20 ms; twice what a control plane of ours sends. */
  maxDigests: 8_192,
  /** Characters of the signer's certificates. */
  maxChainChars: 64 * 1024,
  /** Heads come every few minutes; so often the file is written at the most. Less than what a control plane's proof covers. */
  saveIntervalMs: 10 * 60_000,
} as const;
