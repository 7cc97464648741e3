/**
 * Every bound in the program, in one place. Each is reached by a test. Bytes, milliseconds and counts are named so.
 * A value that real Istio uses is marked with where it comes from.
 */

/** HTTP/2 (RFC 9113) and HPACK (RFC 7541). */
export const h2Limits = {
  /** SETTINGS_INITIAL_WINDOW_SIZE we advertise; ztunnel's value. */
  streamWindowBytes: 4 * 1024 * 1024,
  /** Connection receive window; ztunnel's value. */
  connectionWindowBytes: 16 * 1024 * 1024,
  /** SETTINGS_MAX_FRAME_SIZE we advertise; ztunnel's value. */
  maxFrameBytes: 1024 * 1024,
  /** SETTINGS_MAX_CONCURRENT_STREAMS a server advertises; ztunnel's value. */
  maxConcurrentStreams: 200,
  /** SETTINGS_MAX_HEADER_LIST_SIZE we advertise, and enforce on what we decode. */
  maxHeaderListBytes: 64 * 1024,
  /** SETTINGS_HEADER_TABLE_SIZE, and the most we use of the peer's. */
  headerTableBytes: 4096,
} as const;

/** Certificates, trust and renewal. */
export const pkiLimits = {} as const;

/** Mesh documents and the store. */
export const meshLimits = {} as const;

/** The policy engine. */
export const policyLimits = {
  /** Rules of one kind (DENY, ALLOW, and each as dry run) that one scope may hold. More: `engine_unavailable` for its workloads. */
  maxRulesPerSection: 262_144,
  /** Compiled policies in one image. */
  maxImageBytes: 128 * 1024 * 1024,
  /** Entries of one index dimension, beyond which a rule is evaluated instead of indexed: what nested prefixes can cost. */
  maxIndexEntries: 4_000_000,
  /** Compiled identities kept; at this many, or when their arena is full, all are dropped and made again on need. */
  maxIdentities: 16_384,
  /** Distinct lists of policy names that workloads carry, compiled; at this many all are dropped and made again on need. */
  maxNamedGroups: 4_096,
  /** Names of policies in one `Denial`. */
  maxDenialNameChars: 256,
} as const;

/** Sockets and files. */
export const hostLimits = {
  /** The most output taken from a machine for one round of writes. */
  writeBatchBytes: 256 * 1024,
} as const;

/** Flows: connections, pools, timeouts. */
export const proxyLimits = {
  /** TCP connect to the application or a peer; ztunnel's value. */
  connectTimeoutMs: 10_000,
  /** TLS handshake, from the first byte to our verdict on the peer. */
  handshakeTimeoutMs: 10_000,
  /** How long a connection waits for its own workload to appear; ztunnel's value. */
  workloadWaitMs: 5_000,
  /** Streams we open on one HBONE connection; ztunnel's POOL_MAX_STREAMS_PER_CONNECTION. */
  maxStreamsPerConnection: 100,
  /** A pooled connection without streams is closed after this; ztunnel's POOL_UNUSED_RELEASE_TIMEOUT. */
  poolUnusedMs: 5 * 60_000,
  /** Drain: how long open connections may finish after SIGTERM; ztunnel's CONNECTION_TERMINATION_DEADLINE. */
  drainDeadlineMs: 5_000,
  /** How long a CONNECT may stay unanswered: the peer's own connect time-out and a margin. */
  answerTimeoutMs: 15_000,
  /** How long an inbound connection waits for policies that its workload names and that are not here yet. */
  policyWaitMs: 2_000,
  /** Connections carried at one time, all directions together. */
  maxConnections: 100_000,
  /** Inbound connections one identity may hold open. */
  maxConnectionsPerPeer: 20_000,
  /** TLS handshakes under way at one time. */
  maxHandshakes: 1_024,
  /** HBONE tunnels one source address may hold open toward us. */
  maxTunnelsPerSource: 1_024,
  /** How long a SOCKS5 or HTTP CONNECT client may take to say where it wants to go. */
  entryTimeoutMs: 10_000,
  /** Label sets kept at hand, so that a connection does not write its labels anew. */
  telemetrySeries: 4_096,
  /** PING on an idle HBONE connection, and how long its answer may take; ztunnel's values. */
  keepAliveIntervalMs: 10_000,
  keepAliveTimeoutMs: 20_000,
} as const;

/** Administration and telemetry. */
export const adminLimits = {
  /** Label sets one metric may have; further ones are counted together as `overflow`. */
  maxSeriesPerMetric: 20_000,
  /** Characters of a label's value that are kept. */
  maxLabelValueLength: 512,
} as const;

/** The ports of ambient Istio (wire facts: ztunnel `config.rs`). */
export const ports = {
  outbound: 15001,
  inboundPlaintext: 15006,
  hbone: 15008,
  socks5: 15080,
  admin: 15000,
  metrics: 15020,
  readiness: 15021,
} as const;
