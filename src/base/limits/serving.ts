/** The bounds of connections through a waypoint. Each is reached by a test; a value that Envoy or Istio uses is marked with where it comes from. */
export const servingLimits = {
  /** A port without a protocol: how long the first bytes are waited for before it is taken for one where the server speaks first. */
  detectTimeoutMs: 1_000,
  /** Bytes that are looked at to tell a protocol; no request line that is served begins later. */
  detectBytes: 64,
  /** A TLS ClientHello, whose server name is looked for; Envoy's TLS inspector takes as much. */
  maxHelloBytes: 16 * 1024,
  /** The head of a request, from its first byte to its last. */
  headTimeoutMs: 15_000,
  /** A connection without a request; Envoy's `idle_timeout`. */
  idleTimeoutMs: 3_600_000,
  /** Requests or answers whose reader or writer has stood still for so long are cut; Envoy's `stream_idle_timeout` is as long. */
  stalledMs: 5 * 60_000,
  /**
   * A client of HTTP/1.1 that has ended its side reads on, or is gone; nothing tells which while the answer is silent. Envoy, nginx and
   * Go's server take it for gone at once.
   */
  endedClientMs: 5_000,
  /** After an answer that ends its connection: for the client to read it before what it still sends is refused. */
  lingerMs: 1_000,
  /** How often connections are looked at for these. */
  sweepMs: 1_000,
  /** An upstream connection without a request, where no document says how long. */
  upstreamIdleMs: 60_000,
  /** However long a document says: Envoy's default. */
  maxUpstreamIdleMs: 3_600_000,
  /** How often it is looked for those, at the most: a document may say a millisecond. */
  minUpstreamSweepMs: 250,
  /** Such connections to one endpoint. */
  maxIdleUpstreams: 64,
  /** HTTP/2 inside the tunnel, both ways. */
  h2: {
    streamWindowBytes: 512 * 1024,
    connectionWindowBytes: 4 * 1024 * 1024,
    maxFrameBytes: 16 * 1024,
    /** Envoy's default of a waypoint (`maxConcurrentStreams` of `connect_terminate` is 100). */
    maxConcurrentStreams: 200,
  },
  /** Content that is joined to the head before it in one write. */
  joinedBytes: 16 * 1024,
} as const;
