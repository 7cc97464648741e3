/** The bounds of HTTP/2 and HPACK. Each is reached by a test; a value that real Istio uses is marked with where it comes from. */

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
  /** One header block as it comes: HEADERS with its CONTINUATIONs (CVE-2024-27316 and its kin). */
  maxHeaderBlockBytes: 64 * 1024,
  maxContinuationFrames: 64,
  /** Entries of one SETTINGS frame; there are a dozen registered. */
  maxSettingsEntries: 64,
  /** Debug data of a GOAWAY that is kept. */
  maxGoAwayDebugBytes: 1024,
  /** Streams a client opens before the server has said how many it allows; RFC 9113 §6.5.2 asks servers for 100 at least. */
  assumedConcurrentStreams: 100,
  /** `onWritable` and `aboveHighWater`: DATA queued on one stream. */
  highWaterBytes: 512 * 1024,
  lowWaterBytes: 128 * 1024,
  /** A stream's turn when several have DATA. */
  quantumBytes: 64 * 1024,
  /** Payload from here on leaves as the caller's own memory, without a copy; measured. */
  copyBelowBytes: 16 * 1024,
  /**
   * What is taken of the input in one go, before the driver looks at the time: a frame counts 1, a header block, after which a request
   * may be answered, `headerBlockWork` and one for each 32 bytes. Measured: 4,096 one-byte DATA frames take 1 ms, 128 refused CONNECTs some 5 ms.
   */
  workPerReceive: 4096,
  headerBlockWork: 32,
  /** Pieces of DATA below this are gathered, stream by stream, until the input is through: the application pays by the piece. */
  gatherBelowBytes: 1024,
  /** DATA frames with less content than this, and no end, are charged as `tinyData`. */
  tinyDataBytes: 8,
  /** Frames the peer provoked and does not read: acknowledgements, resets. */
  maxProvokedFrames: 1000,
  /** Control frames and header blocks that wait for a peer that does not read. */
  maxQueuedControlBytes: 4 * 1024 * 1024,
  /** Closed streams remembered by number, to tell frames in flight from errors. */
  maxRememberedStreams: 128,
  settingsAckTimeoutMs: 10_000,
  /** SETTINGS of ours that wait for their acknowledgement; more is a bug of ours. */
  maxOutstandingSettings: 16,
  /** A drain waits this long for the PING that shows which requests were under way. */
  drainPingTimeoutMs: 1_000,
  /** What a peer may make us do for little; see `wire/h2/flood.ts`. */
  flood: {
    earlyResets: { burst: 1000, perSecond: 100 },
    provokedResets: { burst: 500, perSecond: 50 },
    settings: { burst: 100, perSecond: 10 },
    pings: { burst: 2000, perSecond: 1000 },
    emptyData: { burst: 1000, perSecond: 100 },
    /** Far above what a user who types, or a program that writes byte by byte, makes of it: kernels put those together. */
    tinyData: { burst: 50_000, perSecond: 10_000 },
    windowUpdates: { burst: 10_000, perSecond: 1000 },
    ignoredFrames: { burst: 2000, perSecond: 1000 },
  },
} as const;
