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
    windowUpdates: { burst: 10_000, perSecond: 1000 },
    ignoredFrames: { burst: 2000, perSecond: 1000 },
  },
} as const;

/** Certificates, trust and renewal. */
export const pkiLimits = {
  /** One certificate in DER. */
  maxCertificateBytes: 16 * 1024,
  /** Certificates a peer may present. */
  maxPresentedCertificates: 10,
  /** Certificates on a path, leaf and trust anchor included. */
  maxPathCertificates: 8,
  /** Signatures checked for one peer, dead ends included. */
  maxSignatureChecks: 16,
  /** RSA keys: shorter is weak, longer costs the verifier. */
  minRsaBits: 2048,
  maxRsaBits: 8192,
  /** A bundle of trust roots: text, and certificates in it. */
  maxRootsBytes: 1024 * 1024,
  maxRoots: 64,
  /** Verified chains remembered, so that a peer that comes again costs a hash. */
  maxVerifiedChains: 4096,
  /** Issuing intermediates remembered, so that their revocation lists can be checked as soon as they arrive. */
  maxKnownIssuers: 256,
  /** Revocation lists: number, bytes of one, entries of one. Reading costs some 2.5 µs an entry on the data path's thread. */
  maxCrls: 64,
  maxCrlBytes: 1024 * 1024,
  maxCrlEntries: 20_000,
  /** A certificate request. */
  maxCsrBytes: 16 * 1024,
  /** Identities that hold or want an SVID at one time. */
  maxIdentities: 10_000,
  /** Signings under way at one time; ztunnel's value. */
  maxConcurrentSignings: 8,
  /** How long one signing may take, and how long a caller waits for its first SVID. */
  signTimeoutMs: 10_000,
  svidWaitMs: 10_000,
  /** Back-off after a failed signing: start, factor, jitter, end; ztunnel's values. */
  backoffStartMs: 500,
  backoffFactor: 2,
  backoffJitter: 0.2,
  backoffMaxMs: 150_000,
  /** The wall clock is looked at this often at the least, so that a jump of it is noticed. */
  clockCheckMs: 60_000,
  /** How far ahead of half life a renewal may be spread, as a share of the life. */
  renewalSpread: 0.05,
  /** Over how long renewals are spread when a CA is replaced, so that nodes do not ask all at once. */
  replacementSpreadMs: 5_000,
  /** SVIDs are valid from this long ago, for peers whose clock is behind; istiod's value. */
  backdateMs: 2 * 60_000,
  /** The longest SVID the CA issues; istiod's MAX_WORKLOAD_CERT_TTL. */
  maxSvidLifetimeMs: 90 * 24 * 60 * 60_000,
  /** The root of a CA made here; istiod's value. */
  rootLifetimeMs: 3650 * 24 * 60 * 60_000,
} as const;

/** Bearer tokens (JSON Web Tokens) of configured issuers, and their keys. */
export const tokenLimits = {
  /** A Kubernetes service-account token has about 1,000; operators' with many groups have more. */
  maxTokenChars: 16 * 1024,
  maxKeyIdChars: 256,
  /** A set of keys, as it comes: bytes and keys in it. */
  maxJwksBytes: 256 * 1024,
  maxKeys: 64,
  /** Keys tried for a token that does not name its key. */
  maxKeysTried: 8,
  maxRsaBits: 8192,
  /** Reading a set of keys, or a discovery document. */
  fetchTimeoutMs: 5_000,
  /** Keys are read again when they are older; Istio's value for remote key sets. */
  keysFreshMs: 5 * 60_000,
  /** Keys are believed for so long while their issuer is away: long enough for an outage, short enough for a key it has withdrawn. */
  keysStaleMs: 6 * 60 * 60_000,
  /** A token with a key that is not known makes us ask the issuer again, but not more often than this. */
  unknownKeyIntervalMs: 30_000,
  /** Back-off after a reading that failed. */
  retryMinMs: 2_000,
  retryMaxMs: 5 * 60_000,
  /** How far an issuer's clock and ours may be apart. */
  defaultClockSkewMs: 60_000,
  maxClockSkewMs: 5 * 60_000,
} as const;

/** Who calls the control plane, how hosts join, and what its CA service answers. A rate is a burst and what comes back a second. */
export const identityLimits = {
  /** Join tokens: how long one may wait to be used. */
  minJoinTokenMs: 60_000,
  defaultJoinTokenMs: 60 * 60_000,
  maxJoinTokenMs: 7 * 24 * 60 * 60_000,
  /** `fjt_`, 16 characters of name, 64 of secret. */
  maxJoinTokenChars: 85,
  /** What a joining host says of itself. */
  maxJoinAddresses: 16,
  maxJoinLabels: 64,
  /** Kubernetes' bounds of a label's name (with its prefix) and value. */
  maxLabelNameChars: 317,
  maxLabelValueChars: 63,
  maxVersionChars: 64,
  maxNetworkChars: 63,
  /** Joins under way at one time; each may wait for a signature. */
  maxJoinsUnderWay: 64,
  /** A certificate that is this much older than its host's registration is of an earlier host of that name; certificates have whole seconds. */
  registrationSlackMs: 1_000,
  /** A node's certificate can be renewed for so long after its end; revocations of serial numbers must be remembered as long. */
  maxAbsenceMs: 90 * 24 * 60 * 60_000,
  /** Credentials looked at for one address (IPv6: one /64). A whole site may stand behind one. */
  addressRate: { burst: 1_000, perSecond: 100 },
  /** Certificates asked for by one caller. A node asks for all of its workloads when it starts. */
  callerRate: { burst: 500, perSecond: 20 },
  /** Certificates asked for by all. */
  signingRate: { burst: 2_000, perSecond: 200 },
  /** Addresses, and callers, whose rates are remembered; past it the longest idle is forgotten. */
  maxRateKeys: 10_000,
  /** Refusals written to the audit log; the others are counted, and the next one written tells how many. */
  auditRate: { burst: 100, perSecond: 1 },
  maxAuditDetailChars: 512,
  /** The control plane's own certificate: its life, and how long before it was made it begins, for hosts whose clock is behind. */
  servingLifetimeMs: 7 * 24 * 60 * 60_000,
  servingBackdateMs: 24 * 60 * 60_000,
  /** Names and addresses in it. */
  maxServingNames: 64,
  /** Back-off after a failed renewal of it. */
  servingRetryMs: 30_000,
  /** A certificate's life when the caller asks for none, istiod's DEFAULT_WORKLOAD_CERT_TTL, and the least it can ask for. */
  defaultCertificateMs: 24 * 60 * 60_000,
  minCertificateMs: 60_000,
} as const;

/** Where the CA's keys live: authorities, Vault, revocation lists, rotation. */
export const keysLimits = {
  /**
   * Certificates in force of one requester, a node with all of its workloads say. A quarter of what a revocation list holds
   * (`maxCrlEntries`): nobody gets so many that they could not be taken back.
   */
  maxValidPerRequester: 5_000,
  /** Certificates that one write to the disk records, some 8 ms of work beside the disk's; more wait for the next one. */
  recordsPerWrite: 256,
  /** A key-encryption key's file; 64 digits and a line's end are what is wanted. */
  maxKeyFileBytes: 1024,
  /** Intermediates that we ask for or issue: life, and the share of it after which a new one is made. */
  intermediateLifetimeMs: 90 * 24 * 60 * 60_000,
  intermediateRenewalShare: 0.5,
  /** How long a caller waits for a key that cannot be used now; below what a node waits for its signer. */
  keyWaitMs: 8_000,
  /** Requests to Vault under way at one time, and those that may wait for their turn. */
  maxVaultRequests: 16,
  maxVaultWaiting: 1_024,
  /** One request to Vault, and the answer's size. */
  vaultTimeoutMs: 5_000,
  maxVaultResponseBytes: 1024 * 1024,
  /** Characters of Vault's own words that are kept of an error. */
  maxVaultErrorLength: 300,
  /** Back-off towards Vault. */
  vaultBackoffStartMs: 200,
  vaultBackoffMaxMs: 15_000,
  /** A token is renewed after this share of its lease. */
  tokenRenewalShare: 2 / 3,
  /** Revocation lists say that they hold for so long, and are signed anew after so long. */
  listLifetimeMs: 7 * 24 * 60 * 60_000,
  listRenewalMs: 24 * 60 * 60_000,
  /** How often it is looked at whether a list is due. */
  listCheckMs: 60_000,
  /** How often rotation and renewal are looked at. */
  checkIntervalMs: 1_000,
} as const;

/** Replacing authorities. */
export const rotationLimits = {
  /** Names that a refusal lists; it says how many there are. */
  maxNames: 20,
  /** Versions of the bundle whose roots are remembered, to know what an acknowledgement of one means. */
  maxRememberedBundles: 256,
  /** After a failed renewal of an intermediate the next try. */
  renewalRetryMs: 30_000,
  /** Retired authorities that are remembered, for people. */
  maxRetired: 16,
  /** Looking at what nodes hold takes at most one part in so many of the time. */
  restPerWork: 50,
} as const;

/** Mesh documents and the store. */
export const meshLimits = {
  /** One configuration file. A million lines of documents are more than this. */
  maxFileBytes: 8 * 1024 * 1024,
  /** One document; etcd holds Kubernetes objects to 1.5 MiB, an Istio L4 document is a few KiB. */
  maxDocumentBytes: 256 * 1024,
  maxDocumentsPerFile: 10_000,
  /** Documents of all files together. */
  maxDocuments: 100_000,
  /** Files below all configured paths together. */
  maxFiles: 10_000,
  /** Folders within folders. */
  maxFolderDepth: 16,
  /** Nodes of one document after its aliases are written out: what stops an alias bomb. */
  maxNodesPerDocument: 50_000,
  /** Aliases of one document; each is a search through it. */
  maxAliasesPerDocument: 100,
  /** Collections within collections of one document. */
  maxNodeDepth: 64,
  /** Errors told about one document; the rest are counted. */
  maxErrorsPerDocument: 20,
  /** Rules of one AuthorizationPolicy; Istio's schema. */
  maxRulesPerPolicy: 512,
  /** `targetRefs` and `serviceAccounts` entries; Istio's schema. */
  maxTargetRefs: 16,
  /** How long a changed file must stay as it is before it is read as finished. */
  fileSettleMs: 50,
  /** Looks at a file that keeps changing, before its last good state is kept and the matter reported. */
  maxSettleAttempts: 40,
  /** Parsing gives way to connections after this long. */
  parseSliceMs: 5,
} as const;

/** The policy engine. */
export const policyLimits = {
  /** Rules of one kind (DENY, ALLOW, and each as dry run) that one scope may hold. More: `engine_unavailable` for its workloads. */
  maxRulesPerSection: 262_144,
  /** Pieces a rule is split into for the index where its matches mix dimensions; of one that needs more, some pieces are only told apart by evaluating them. */
  maxAlternatives: 16,
  /**
   * A group of so many policies that has changed is amended rather than compiled anew, until what has changed since is more than this
   * share of it.
   */
  minLayeredPolicies: 256,
  maxChangedShare: 1 / 16,
  /** Compiled policies in one image. */
  maxImageBytes: 128 * 1024 * 1024,
  /** Entries of one index dimension, beyond which a rule is evaluated instead of indexed: what nested prefixes can cost. */
  maxIndexEntries: 4_000_000,
  /** Callers interned; at this many, or when their arena is full, all are dropped and interned again on need. */
  maxCallers: 16_384,
  /** Where interned callers stand in an image: some 40 bytes for each caller and section it meets. */
  callerArenaBytes: 1024 * 1024,
  /** Distinct lists of policy names that workloads carry, compiled; at this many all are dropped and compiled again on need. */
  maxNamedGroups: 4_096,
  /** Characters of policy names in one `Denial`. */
  maxDenialNameChars: 256,
} as const;

/** Sockets and files. */
export const hostLimits = {
  /** The most output taken from a machine for one round of writes. */
  writeBatchBytes: 256 * 1024,
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
  /** Received bytes one socket holds while nobody may be told of them (no handler yet, or paused); past it the connection is reset. */
  heldBytes: 1024 * 1024,
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
  /** TCP keep-alive: idle time before the first probe, time between probes, and probes; ztunnel's values. */
  keepAliveIdleSeconds: 180,
  keepAliveIntervalSeconds: 180,
  keepAliveProbes: 9,
  /** A burst of file events is reported once, this long after its first. */
  watchCoalesceMs: 50,
  /** How often a watched path is looked at anyway, because events get lost (network file systems, overflow). */
  watchPollMs: 2_000,
  /** Entries below one watched path that are looked at. */
  maxWatchedEntries: 10_000,
  /** A program run by the host is killed after this. */
  runTimeoutMs: 30_000,
  /** Output of such a program that is kept. */
  maxRunOutputBytes: 1024 * 1024,
} as const;

/** Flows: connections, pools, timeouts. */
export const proxyLimits = {
  /** After a drain, before the process ends: for peers to read the last bytes. */
  lastWordsMs: 100,
  /** TCP connect to the application or a peer; ztunnel's value. */
  connectTimeoutMs: 10_000,
  /** TLS handshake, from the first byte to our verdict on the peer. */
  handshakeTimeoutMs: 10_000,
  /** How long a connection waits for its own workload to appear; ztunnel's value. */
  workloadWaitMs: 5_000,
  /** How often this host's addresses are looked at: which workloads run here may hang on them. */
  hostAddressesPollMs: 1_000,
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
  /** What a client may send before its connection is made; more waits in its kernel. */
  earlyBytes: 64 * 1024,
  /** Label sets kept at hand, so that a connection does not write its labels anew. */
  telemetrySeries: 4_096,
  /** PING on an idle HBONE connection, and how long its answer may take; ztunnel's values. */
  keepAliveIntervalMs: 10_000,
  keepAliveTimeoutMs: 20_000,
} as const;

/** The control plane's state: one database, and the versions of the mesh's documents. */
export const stateLimits = {
  /** Opening waits this long for a process that is on its way out. */
  busyTimeoutMs: 2_000,
  /** What the database may grow to. */
  maxDatabaseBytes: 8 * 1024 * 1024 * 1024,
  /** A database up to this size is read through at each start. */
  maxQuickCheckBytes: 256 * 1024 * 1024,
  /** The write-ahead log is cut back to this once it is folded in. */
  maxIdleLogBytes: 16 * 1024 * 1024,
  /** Different statements; they are constants of the program. */
  maxStatements: 200,
  /** Join tokens, spent ones included; those are forgotten this long after their end. */
  maxTokens: 10_000,
  tokenRetentionMs: 30 * 24 * 60 * 60_000,
  /** Hosts that have joined and were not removed. */
  maxRegistrations: 100_000,
  /** Issued certificates are remembered this long after their end. */
  certificateRetentionMs: 7 * 24 * 60 * 60_000,
  /** Rows that pruning deletes in one transaction. */
  pruneRows: 10_000,
  /** Rows that one question is answered with. */
  maxPageRows: 1_000,
  /** Revocations in force. */
  maxRevocations: 100_000,
  /** Roots and intermediates, retired ones included. */
  maxAuthorities: 64,
  /** Named values. */
  maxSettings: 1_000,
  /** Characters of one text of an audit row; of a longer one its beginning is kept, and its hash. */
  maxAuditTextLength: 256 * 1024,
  /** Rows of the audit log that pruning leaves. */
  auditRetentionRows: 1_000_000,
  /** Versions of the mesh's documents that can be gone back to. */
  maxDocumentVersions: 1_000,
} as const;

/** Administration and telemetry. */
export const adminLimits = {
  /** Label sets one metric may have; further ones are counted together as `overflow`. */
  maxSeriesPerMetric: 20_000,
  /** Characters of a label's value that are kept. */
  maxLabelValueLength: 512,
  /** How long the command line waits for a node's answer. */
  clientTimeoutMs: 5_000,
  /** Connections that `/connections` lists; it says how many there are. */
  maxListedConnections: 10_000,
} as const;

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
  /** A stream that lasted this long begins the back-off anew when it ends. */
  steadyMs: 30_000,
  /** A stream that was opened and has brought no answer by then is given up. */
  firstAnswerTimeoutMs: 20_000,
  /** One response; ztunnel's value (`xds/client.rs`). */
  maxResponseBytes: 200 * 1024 * 1024,
  /** Resources one control plane may have us hold, and their bytes, all types together. */
  maxResources: 500_000,
  maxResourceBytes: 512 * 1024 * 1024,
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
  /** The same once it has expired: until it is renewed this host is nobody. */
  renewExpiredRetryMaxMs: 15_000,
  /** The wall clock is looked at this often at the least, so that a jump of it, or a sleep of the host, is noticed. */
  clockCheckMs: 60_000,
  /** Documents (raw Istio resources) that are held for a waypoint. */
  maxDocuments: 100_000,
} as const;

/** Delta ADS, and the control plane's xDS server. */
export const adsLimits = {
  /**
   * One request: whoever comes back names everything it has, with versions, at some 100 bytes each. More than the 4 MiB of other
   * methods, because a client whose request is refused comes back with the same for ever; of callers that are known alone.
   */
  maxRequestBytes: 16 * 1024 * 1024,
  /** Names that one stream may be subscribed to, all types together, and characters of one: a uid holds a cluster, a namespace and two names. */
  maxNamesPerStream: 10_000,
  maxNameChars: 1_024,
  /** Types one stream may ask for; ztunnel asks for two, a waypoint's documents are about twenty. */
  maxTypesPerStream: 64,
  /** Entries of `initial_resource_versions`. */
  maxInitialVersions: 500_000,
  /** Requests on one stream: an acknowledgement for each response, and lookups. */
  requests: { burst: 1_000, perSecond: 200 },
  /** Characters of a refusal (NACK) that are sent or kept. */
  maxErrorChars: 4_096,
  /** One response that changes what a client has. A resource that is larger by itself goes alone. */
  responseBytes: 1024 * 1024,
  /**
   * The first response of a type on a stream: ztunnel carries traffic as soon as it has acknowledged one, so it should be whole. Its
   * own bound is 200 MiB.
   */
  firstResponseBytes: 64 * 1024 * 1024,
  /** A client that leaves a response unanswered for this long loses its stream. */
  acknowledgeTimeoutMs: 60_000,
  /** From the beginning of a stream until it has said who it is and what it wants. */
  firstRequestTimeoutMs: 15_000,
  /** From the end of the token that a stream was opened with, to the end of the stream: time for the next token to be there. */
  expiredTokenGraceMs: 60_000,
  /** How long what depends on the order of policies and addresses waits for the request for the other type on a new stream. */
  policiesFirstMs: 50,
  /** Changes remembered by revision; a client that is further behind is given what differs, by name. */
  maxRememberedChanges: 100_000,
  /** Changes are pushed when it has been quiet for this long, or after so long at the most; istiod: 100 ms and 10 s. */
  quietMs: 10,
  maxDelayMs: 200,
  /** Resources made of the mesh in one go; more are made in slices, between which connections have their turn. */
  encodedAtOnce: 200,
  /** Streams at one time, all clients together, and of one client: a client that reconnects leaves its last stream for a while. */
  maxStreams: 10_000,
  maxStreamsPerClient: 8,
  /** What a node calls itself. */
  maxNodeIdChars: 1_024,
} as const;

/** HTTP on the control plane's port, both ends: administration. */
export const controlHttpLimits = {
  /** From a request's headers to the end of its body. */
  requestTimeoutMs: 30_000,
  /** A response that its client does not read any further is cut after this. */
  stalledResponseMs: 60_000,
  /** What is still taken, and dropped, of a body that nobody wants; after that the stream is reset. */
  maxDiscardedBytes: 1024 * 1024,
  /** From the command line's request to the head of the answer: a signature by a far away vault takes its time. */
  answerTimeoutMs: 60_000,
  /** An answer that the command line keeps whole. */
  maxAnswerBytes: 64 * 1024 * 1024,
  /** A back-up that goes over the wire; a larger one is made where the state is. */
  maxBackupBytes: 1024 * 1024 * 1024,
} as const;

/** gRPC, and the connections that carry it to and from the control plane. */
export const grpcLimits = {
  /** A request to us; what gRPC's implementations take by default. */
  maxRequestBytes: 4 * 1024 * 1024,
  /** A response to us: the whole mesh in one; ztunnel's value for xDS. */
  maxResponseBytes: 200 * 1024 * 1024,
  /** Requests that are not whole yet, of one connection, of one address (IPv6: one /64) and of all. */
  maxAssembledBytesPerConnection: 24 * 1024 * 1024,
  maxAssembledBytesPerAddress: 64 * 1024 * 1024,
  maxAssembledBytes: 128 * 1024 * 1024,
  /** From the beginning of a request to its end: whoever does not finish one holds its bytes and its call for nothing. */
  requestTimeoutMs: 60_000,
  /** Handlers that run for one connection, one address and for all, those of calls that were given up included. */
  maxHandlersPerConnection: 2_000,
  maxHandlersPerAddress: 12_500,
  maxHandlers: 50_000,
  /** Characters of `grpc-message`. */
  maxStatusMessageChars: 1_024,
  /** A deadline further away is none. */
  maxTimeoutMs: 2_147_483_647,
  /** Connections to the control plane's port, and TLS handshakes under way: all, and of one address, which by being silent must not keep others out. */
  maxConnections: 20_000,
  maxConnectionsPerAddress: 1_024,
  maxHandshakes: 256,
  maxHandshakesPerAddress: 64,
  handshakeTimeoutMs: 10_000,
  /** Calls at one time on one connection. */
  maxStreamsPerConnection: 1_024,
  /** Windows of one call and of one connection: what a peer may send before it is read. */
  streamWindowBytes: 256 * 1024,
  connectionWindowBytes: 1024 * 1024,
  maxFrameBytes: 64 * 1024,
  /** Windows of our own connection to a control plane, which sends the whole mesh at once. */
  channelStreamWindowBytes: 4 * 1024 * 1024,
  channelConnectionWindowBytes: 16 * 1024 * 1024,
  /** A connection without calls is drained after this. */
  idleMs: 5 * 60_000,
  /** PING, and how long its answer may take; ztunnel's values toward istiod. */
  keepAliveIntervalMs: 30_000,
  keepAliveTimeoutMs: 10_000,
  /** TCP connect toward the control plane; ztunnel's value. */
  connectTimeoutMs: 5_000,
  /** Back-off of a channel after a failed connection; ztunnel's values toward istiod. */
  backoffStartMs: 10,
  backoffFactor: 2,
  backoffJitter: 0.2,
  backoffMaxMs: 15_000,
  /** A connection that lived this long makes the next one's back-off start anew. */
  backoffResetMs: 10_000,
  /** Addresses of a control plane's name that are tried. */
  maxAddresses: 4,
  /** Calls that wait for one connection to be made. */
  maxWaitingCalls: 1_024,
  /** A peer that does not read our last words is cut after this. */
  lingerMs: 2_000,
  /** How long calls may finish when the server stops. */
  drainDeadlineMs: 5_000,
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

/** Administration of the control plane: bodies, pages, administrators. */
export const controlAdminLimits = {
  /** Documents of one `apply`; as much as two of the largest files. */
  maxApplyBytes: 16 * 1024 * 1024,
  /** Any other body. */
  maxBodyBytes: 64 * 1024,
  /** Entries of one answer, and how many there are when nobody says. */
  maxPage: 1_000,
  defaultPage: 100,
  /** Rows looked at for one page of those a caller may see. */
  maxScanned: 20_000,
  /** Administrators, subjects of one, and the text of all. */
  maxAdministrators: 1_000,
  maxSubjects: 100,
  maxAdministratorBytes: 1024 * 1024,
  /** Characters of a reason. */
  maxReasonLength: 500,
  /** How often `audit --follow` asks for more. */
  followIntervalMs: 1_000,
} as const;

/** What settings may ask for, and the configuration file itself. */
export const controlLimits = {
  /** Between two sweeps of what ended long ago. */
  pruneIntervalMs: 60 * 60_000,
  /** The same while there is more to sweep than one sweep takes. */
  pruneAgainMs: 1_000,
  /** A host that joined by a WorkloadGroup stays in the mesh this long after its last stream has ended. */
  memberGraceMs: 30_000,
  /** Life of the first administrator's certificate, renewed at half of it. */
  administratorLifetimeMs: 30 * 24 * 60 * 60_000,
  /** Life of a node's own certificate; it renews at half of it, and an expired one is still good for renewal. */
  nodeLifetimeMs: 30 * 24 * 60 * 60_000,
  maxTokenIssuers: 32,
  /** Leaves that are renewed early, because their CA is being replaced, are spread over this long. */
  renewalSpreadMs: 5_000,
} as const;

export const configLimits = {
  maxFileBytes: 1024 * 1024,
  /** Values of one setting that may be given several times. */
  maxValues: 1_000,
  /** The largest window HTTP/2 knows (RFC 9113 §6.9.1). */
  maxWindowBytes: 2_147_483_647,
  minSvidLifetimeMs: 60_000,
  maxDurationMs: 24 * 60 * 60_000,
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
  /** xDS and the CA; istiod's. */
  control: 15012,
} as const;
