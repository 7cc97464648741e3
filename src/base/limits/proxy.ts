/** The bounds of the node tunnel. Each is reached by a test; a value that real Istio uses is marked with where it comes from. */

/** Flows: connections, pools, timeouts. */
export const proxyLimits = {
  /** After a drain, before the process ends: for peers to read the last bytes. */
  lastWordsMs: 100,
  /** One end of a carried connection broke: for so long what it had said is still passed on to the other. */
  passOnMs: 500,
  /** TCP connect to the application or a peer; ztunnel's value. */
  connectTimeoutMs: 10_000,
  /** An application on this host that has not answered the caller's own address by then is tried from ours; its kernel answers in microseconds. */
  originalSourceWaitMs: 250,
  /** Applications that are known not to answer callers' addresses: for how long, and how many. */
  unshownMs: 10 * 60_000,
  maxUnshown: 1_024,
  /** A name that is called: how long its resolution may take, and how many are under way at one time; each holds a thread. */
  nameTimeoutMs: 5_000,
  maxLookups: 64,
  /** How long its addresses are kept, in place of a TTL that the resolver does not tell; and that it has none. */
  nameKeptMs: 30_000,
  nameFailureKeptMs: 2_000,
  maxNames: 4_096,
  /** Several addresses: the next is tried after this; RFC 8305 §8's Connection Attempt Delay. And how many are. */
  attemptDelayMs: 250,
  maxAddressesTried: 6,
  /** TLS handshake, from the first byte to our verdict on the peer. */
  handshakeTimeoutMs: 10_000,
  /** How long a connection waits for its own workload to appear; ztunnel's value. */
  workloadWaitMs: 5_000,
  /** How often this host's addresses are looked at: which workloads run here may hang on them. */
  hostAddressesPollMs: 1_000,
  /** How soon a workload's port that could not be had is tried again. */
  listenRetryMs: 1_000,
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
  /** After a change of policy or trust: how long connections are decided again in one turn. */
  recheckSliceMs: 10,
  /** Inbound connections one identity may hold open. */
  maxConnectionsPerPeer: 20_000,
  /** HBONE tunnels one source address may hold open toward us. */
  maxTunnelsPerSource: 1_024,
  /** How long a SOCKS5 or HTTP CONNECT client may take to say where it wants to go. */
  entryTimeoutMs: 10_000,
  /** What a client may send before its connection is made; more waits in its kernel. */
  earlyBytes: 64 * 1024,
  /** Connections that have ended and can still be asked about, some 1 KiB each. */
  maxEndedConnections: 1_024,
  /** Label sets kept at hand, so that a connection does not write its labels again. */
  telemetrySeries: 4_096,
  /** PING on an idle HBONE connection, and how long its answer may take; ztunnel's values. */
  keepAliveIntervalMs: 10_000,
  keepAliveTimeoutMs: 20_000,
} as const;
