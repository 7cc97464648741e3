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
export const policyLimits = {} as const;

/** Sockets and files. */
export const hostLimits = {} as const;

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
