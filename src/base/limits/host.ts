/** The bounds of the host. Each is reached by a test; a value that real Istio uses is marked with where it comes from. */

/** Sockets and files. */
export const hostLimits = {
  /** The most output taken from a machine for one round of writes. */
  writeBatchBytes: 256 * 1024,
  /** The first, and each after the socket was full: a whole frame of HTTP/2's usual 16 KiB, and what comes with it. */
  blockedBatchBytes: 32 * 1024,
  /**
   * What machines may do of one turn of the event loop for the input of all sockets together; what is more waits for the next turn. No
   * turn should pass 50 ms, and promises that the input settled run in the same turn.
   */
  turnMs: 10,
  /** Time spent in a turn that is too little to be counted: a look at the time costs, and most input is handled in microseconds. */
  uncountedTurnMs: 1,
  /** How often it is looked whether the loop is held, and for how long the longest turn is told: one scrape of metrics, and some. */
  turnWatchMs: 20,
  turnWindowMs: 60_000,
  /** For how long the allocator keeps pages that were freed: longer than a busy connection waits for its next read. */
  freedPagesMs: 10_000,
  /** What a function must have done before it is compiled: some 1,300 calls, which a start has of none and traffic within a second of all. */
  compileAfter: 20_000,
  /** After its start, and then again until there is nothing to do, a program gives back what only the start needed. */
  settledMs: 500,
  /**
   * A heap that is larger is collected while the program goes on, and what was compiled stays: shrinking it is one turn, of a millisecond or
   * more for each megabyte.
   */
  maxShrunkHeapBytes: 24 * 1024 * 1024,
  /** Log lines are written when so many bytes have gathered, or after this time. */
  logBufferBytes: 64 * 1024,
  logDelayMs: 50,
  /** Bodies and idle connections of the administration's HTTP server. */
  httpRequestBodyBytes: 1024 * 1024,
  httpIdleSeconds: 30,
  /** Answers to our own HTTP requests: status line and headers (and trailers), and how many headers. */
  httpAnswerHeadBytes: 32 * 1024,
  httpAnswerHeaders: 128,
  /** Addresses of one name that are tried. */
  httpDialAttempts: 4,
  /** Received bytes one socket holds while no handler may be told of them (no handler yet, or paused); past it the connection is reset. */
  heldBytes: 1024 * 1024,
  /** Where the runtime buffers what a socket is given to write, it is given no more than so much that has not left yet (Node, Deno). */
  unsentBytes: 256 * 1024,
  /** Datagrams of one socket that wait for the one before them to leave; what is more is lost, as on its way (Node, Deno). */
  datagramsWaiting: 64,
  /** How often it is looked whether a connection that is about to be reset has sent everything; at most for `lingerMs`. */
  unsentPollMs: 5,
  /** How long the last words of a peer that reset its connection are read; its kernel has all of them already. */
  brokenReadMs: 1_000,
  /** After `close()` the peer may go on sending for this long, so that our last bytes are not lost to an RST (RFC 9112 §9.6). */
  lingerMs: 2_000,
  /** What a peer may still send while we wait for its end; more is left unread, and it is cut when the time is over. */
  lingerBytes: 1024 * 1024,
  /** Sockets that may linger at once; further ones are closed without waiting. */
  maxLingering: 1024,
  /** Sockets that are reset in one turn of the event loop, some 2 ms of it; of a crowd the rest have to wait. */
  resetsPerTurn: 64,
  /** Descriptors that connections leave free (a quarter of all where there are few): at none, Bun spins on the connection it cannot accept. */
  reservedDescriptors: 64,
  /** Certificates in a peer's chain; a longer chain fails the handshake. */
  maxPeerCertificates: 10,
  /**
   * TCP keep-alive: idle time before the first probe, and time between probes that are not answered; another for each connection. The kernel
   * rounds its timers, by 16 s where they are longer than two minutes, and so sends the probes of all that became idle together at once; of
   * more than `net.core.netdev_max_backlog` (1,000) it drops the rest, and again when it repeats them. With one time for all (ztunnel has
   * 180 s) five to nine in ten of 10,000 connections were gone after an hour.
   */
  keepAliveMinSeconds: 60,
  keepAliveMaxSeconds: 120,
  /** So many probes without an answer end a connection; ztunnel's value. */
  keepAliveProbes: 9,
  /** A burst of file events is reported once, this long after its first. */
  watchCoalesceMs: 50,
  /** How often a watched path is looked at anyway, because events get lost (network file systems, overflow). */
  watchPollMs: 2_000,
  /** Entries below one watched path that are looked at. */
  maxWatchedEntries: 10_000,
  /** What a killed process may have left of a line that it appended: more than the longest row of the audit log with everything escaped. */
  maxTornLineBytes: 1024 * 1024,
  /** A program run by the host is killed after this. */
  runTimeoutMs: 30_000,
  /** How often the loaded capture rules are compared with those that were installed: 10 to 25 ms of one core each time. */
  captureLookMs: 1_000,
  /** Rules that somebody removes are told at once, and looked at no more often than this, however much is removed. */
  captureSoonMs: 50,
  /** Between two starts of the program that tells. */
  captureMonitorAgainMs: 10_000,
  /** Every so many looks the routing rules and this host's networks are looked at as well. */
  captureFullLook: 5,
  /** How often it is looked whether a cgroup that capture goes by is still the same: until then it is captured as if it were none of them. */
  captureCgroupsLookMs: 100,
  /** Container bridges that are left out of capture. */
  captureBridges: 256,
  /** Output of such a program that is kept. */
  maxRunOutputBytes: 1024 * 1024,
} as const;

/** Handing a node over to another process. */
export const upgradeLimits = {
  /** Listening sockets that one process hands to another: their names go through its environment, which has 128 KiB for one value. */
  maxListeners: 1_000,
  /** Of a message between the two processes, and how many wait to be read; past it the other one is taken for broken. */
  maxMessageBytes: 64 * 1024,
  maxWaitingMessages: 16,
  /** A new process that is not ready by then has failed; what an operator may say instead. */
  readyMs: 60_000,
  maxReadyMs: 10 * 60_000,
  /** Of counts of metrics in one message; one label set, which has a bound of its own, may be longer. */
  countsTextChars: 16 * 1024,
  /** How often the old process tells the new one what it has counted, and how long its last word may take. */
  countsMs: 1_000,
  lastCountsMs: 2_000,
  /** How often it looks whether it is. */
  readyLookMs: 50,
  /** From being told to accept until it does. */
  takeMs: 10_000,
  /** It has to go on for so long before the old process lets go: until then the old one can take everything back. */
  proveMs: 5_000,
  /** How long the open connections of the old process may go on: nothing waits for it, so this is long. */
  drainDeadlineMs: 10 * 60_000,
  maxDrainDeadlineMs: 24 * 3_600_000,
  /** GOAWAY goes to peers little by little, within this part of the deadline and at most for so long: they all dial again. */
  goawayPart: 0.25,
  goawayMs: 30_000,
  /** In so many steps. */
  goawaySteps: 50,
  /** Requests that an HTTP port of the old process still answers get so long. */
  httpLastMs: 2_000,
} as const;

/** A node's workers: the processes that carry its traffic, and the one that leads them. */
export const workerLimits = {
  /** More than the cores of any host that this was tried on, and each costs memory. */
  maxWorkers: 64,
  /** One frame between the two. A part of a mesh is a tenth of it. */
  maxFrameBytes: 64 * 1024 * 1024,
  /** Frames that wait for a worker: a mesh of a million workloads, and some. One that reads none of them is taken for broken. */
  maxQueuedFrames: 10_000,
  /** What a worker says of connections as they come, while somebody looks on: past it lines are left out. */
  maxRecordBytes: 1024 * 1024,
  /** Connections that other workers passed on and that are taken in one turn, a few milliseconds; the others are taken in the next ones. */
  maxTakenAtOnce: 64,
  /** Values within values of one frame. */
  maxDepth: 64,
  /** Workloads, services and policies of one frame, so that neither end holds its turn for long. */
  changesPerFrame: 250,
  /** What a worker is told has to be in force by then, from when all before it was, or it is killed and replaced. */
  confirmMs: 10_000,
  /** From its start until it has the whole state. */
  startMs: 60_000,
  /** How often each is asked for its counters; an answer says as well that it is there. */
  askMs: 2_000,
  /** Back-off of a worker that ends again and again: start and end. */
  backoffStartMs: 100,
  backoffMaxMs: 15_000,
  /** One that served for so long starts the back-off again when it ends. */
  steadyMs: 30_000,
  /** How often a worker looks whether one of its tunnels would be better off with another. */
  evenOutMs: 2_000,
  /** Beyond its drain, until it is killed. */
  lastMs: 2_000,
} as const;
