/** The bounds of the control plane. Each is reached by a test; a value that real Istio uses is marked with where it comes from. */

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
  /** Credentials that did not hold, by address (IPv6: one /64). A whole site may be behind one: those whose credentials hold are not charged. */
  addressRate: { burst: 1_000, perSecond: 100 },
  /** Past that rate, how long a chain that was refused is not looked at again, and how many such chains are remembered. */
  refusedChainMs: 10_000,
  maxRefusedChains: 4_096,
  /** Tokens that held: they are looked at whatever their address has used up. */
  maxKnownTokens: 10_000,
  /** Certificates asked for by one caller. A node asks for all of its workloads when it starts. */
  callerRate: { burst: 500, perSecond: 20 },
  /** Certificates asked for in one namespace: a quarter of all. */
  namespaceRate: { burst: 500, perSecond: 50 },
  /** Certificates asked for by all. */
  signingRate: { burst: 2_000, perSecond: 200 },
  /** Besides those, renewals of hosts' own certificates: 100,000 hosts renew some 0.08 times a second (30 days, at half of it). */
  renewalRate: { burst: 1_000, perSecond: 50 },
  /** Addresses, and callers, whose rates are remembered; past it the longest idle is forgotten. */
  maxRateKeys: 10_000,
  /** Refusals written to the audit log; the others are counted, and the next one written tells how many. */
  auditRate: { burst: 100, perSecond: 1 },
  maxAuditDetailChars: 512,
  /** Alarms about one host that are written whatever else is. */
  alarmRate: { burst: 3, perSecond: 1 / 60 },
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
   * (`maxCrlEntries`): no caller gets so many that they could not be taken back.
   */
  maxValidPerRequester: 5_000,
  /** Certificates on a revocation list that one namespace has revoked; the reserve is for the mesh's administrators. */
  listShares: { max: 20_000, reserved: 5_000, each: 10_000 },
  /** Certificates that one write to the disk records, some 8 ms of work beside the disk's; more wait for the next one. */
  recordsPerWrite: 256,
  /** A key-encryption key's file; 64 digits and a line's end are what is wanted. */
  maxKeyFileBytes: 1024,
  /** Intermediates that we ask for or issue: life, and the share of it after which a new one is made. */
  intermediateLifetimeMs: 90 * 24 * 60 * 60_000,
  intermediateRenewalShare: 0.5,
  /**
   * Where the root's key is kept away: an operator brings it once or twice a year, so an intermediate lives for more than a year, and so
   * does the root's revocation list. Whenever the key is there, what has less than this share of its life left is made again.
   */
  keptAwayLifetimeMs: 400 * 24 * 60 * 60_000,
  keptAwayRenewalShare: 0.9,
  /** An authority that has no more left than this, the life of the control plane's own certificate, makes the control plane unready. */
  authorityEndingMs: 7 * 24 * 60 * 60_000,
  /** The same as a share of its life; it is renewed at half of it. */
  authorityEndingShare: 0.25,
  /** How long a caller waits for a key that cannot be used now; below what a node waits for its signer. */
  keyWaitMs: 8_000,
  /** Requests to Vault under way at one time, and those that may wait for their turn. */
  maxVaultRequests: 16,
  maxVaultWaiting: 1_024,
  /** One request to Vault, and the answer's size. */
  vaultTimeoutMs: 5_000,
  maxVaultResponseBytes: 1024 * 1024,
  /** Certificates of a chain that Vault tells; each takes some 0.1 ms to read, and no CA has so many above it. */
  maxVaultChain: 16,
  /** Characters of Vault's own words that are kept of an error. */
  maxVaultErrorLength: 300,
  /** Back-off towards Vault. */
  vaultBackoff: { backoffStartMs: 200, backoffMaxMs: 15_000 },
  /** A token is renewed after this share of its lease. */
  tokenRenewalShare: 2 / 3,
  /** Revocation lists say that they hold for so long, and are signed again after so long. */
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
  /** A member of a group that is gone for so long is not waited for: groups scale in, and their hosts do not come back. */
  memberGoneMs: 60 * 60_000,
  /** Between failed renewals of an intermediate. Each may leave a version of a key in Vault, and a full disk stays full for days. */
  renewalBackoff: { backoffStartMs: 30_000, backoffMaxMs: 60 * 60_000 },
  /** Retired authorities that are remembered, for people. */
  maxRetired: 16,
  /** Looking at what nodes hold takes at most one part in so many of the time. */
  restPerWork: 50,
} as const;

/** The control plane's state: one database, and the versions of the mesh's documents. */
export const stateLimits = {
  /** Opening waits this long for a process that is on its way out. */
  busyTimeoutMs: 2_000,
  /** What the database may grow to. */
  maxDatabaseBytes: 8 * 1024 * 1024 * 1024,
  /**
   * Of that, what revocation, renewal and recovery alone may use, some 500,000 rows; and the room on the disk that a file keeps for them. The
   * rest is refused before it comes so far.
   */
  reservedDatabaseBytes: 256 * 1024 * 1024,
  reservedDiskBytes: 64 * 1024 * 1024,
  /**
   * Of a file system that cannot be written: a database that was not closed in order, and its log, are read into memory up to this size. And
   * how often it is tried whether it can be written again.
   */
  maxFrozenBytes: 1024 * 1024 * 1024,
  frozenRetryMs: 5_000,
  /** After the reserve was given up, between two tries to keep it again. */
  reserveRetryMs: 10_000,
  /** Texts of documents, those in force and those of earlier versions; past it the oldest versions are forgotten. */
  maxDocumentTextBytes: 1536 * 1024 * 1024,
  /** Texts of documents in force. A namespace may have half of what the others leave, of these and of `maxDocuments`. */
  maxDocumentBytesInForce: 512 * 1024 * 1024,
  /** Versions that are kept, however large they are. */
  minDocumentVersions: 10,
  /** The audit log: what pruning leaves; and of one tenant's texts (before and after), past which only their hashes are kept. */
  auditRetentionBytes: 1024 * 1024 * 1024,
  auditTenantBytes: 128 * 1024 * 1024,
  /** What may be written while a copy of the state is read; then the copy is given up. And what one piece of it holds. */
  maxSnapshotLogBytes: 1024 * 1024 * 1024,
  snapshotChunkBytes: 256 * 1024,
  /** Refusals of callers that are not known; at the rate they are written at, a few hours of them. */
  maxStrangers: 10_000,
  /** Share of the database from which on pruning leaves a quarter of all this, and no certificate that has ended. */
  pressureShare: 0.75,
  /** A database up to this size is read through at each start. */
  maxQuickCheckBytes: 256 * 1024 * 1024,
  /** The write-ahead log is cut back to this once it is folded in. */
  maxIdleLogBytes: 16 * 1024 * 1024,
  /** Different statements; they are constants of the program. */
  maxStatements: 200,
  /**
   * Join tokens, spent ones included; those are forgotten this long after their end, and the oldest at once when their place is
   * needed. Of those that are good still, one namespace may have a share, and some room is for the mesh's administrators alone.
   */
  maxTokens: 10_000,
  tokenShares: { max: 10_000, reserved: 1_000, each: 2_000 },
  tokenRetentionMs: 30 * 24 * 60 * 60_000,
  /** Hosts that have joined and were not removed, and what one namespace may have of them. */
  maxRegistrations: 100_000,
  /** Of those, what is read in one step, some 2 ms. */
  registrationsPerPage: 200,
  registrationShares: { max: 100_000, reserved: 10_000, each: 50_000 },
  /** Issued certificates are remembered this long after their end. */
  certificateRetentionMs: 7 * 24 * 60 * 60_000,
  /** Rows that pruning deletes in one transaction. */
  pruneRows: 1_000,
  /** A segment of the archive that is not full is written so long after the one before; and characters that are read for one at one time. */
  archiveIntervalMs: 60 * 60_000,
  archivePageChars: 256 * 1024,
  archivePages: 8,
  /** Rows that one question is answered with. */
  maxPageRows: 1_000,
  /** Revocations in force, and those that one namespace may make: the mesh's administrators always have room for theirs. */
  maxRevocations: 100_000,
  revocationShares: { max: 100_000, reserved: 30_000, each: 20_000 },
  /** Roots and intermediates, retired ones included. */
  maxAuthorities: 64,
  /** Named values. */
  maxSettings: 1_000,
  /** Characters of one text of an audit row; of a longer one its beginning is kept, and its hash. */
  maxAuditTextLength: 32 * 1024,
  /** Rows of the audit log that pruning leaves. */
  auditRetentionRows: 1_000_000,
  /**
   * Changes of documents that one write to the disk holds, and bytes of their texts: some 5 ms beside the disk's. A change of more is written in
   * several, and published by a small one.
   */
  documentRowsPerWrite: 64,
  documentBytesPerWrite: 512 * 1024,
  /** Versions of the mesh's documents that can be gone back to. */
  maxDocumentVersions: 1_000,
} as const;

/** What a namespace may have without a grant of the mesh's administrators. */
export const tenancyLimits = {
  /** The shortest prefixes: one subnet as it is usually cut, and one IPv6 link (RFC 7421). */
  minIpv4Length: 24,
  minIpv6Length: 64,
  /** Of a name that begins with `*.`, what follows it: `*.example.com` is one owner's, `*.com` is everyone's. */
  minWildcardLabels: 2,
} as const;

/** Proof of the audit log. */
export const auditLimits = {
  /** Between two signed heads: what is cut off within it and before the next is not noticed. */
  headIntervalMs: 60_000,
  /** Between two heads that nodes are sent: each goes to all of them. */
  headPushMs: 5 * 60_000,
  /** Heads that a node may have missed and still sees that its last one is in the same log; and digests that go with one, 128 KiB. */
  headsInProof: 3,
  maxDigests: 4_096,
  dayMs: 24 * 60 * 60_000,
  /** Heads that are kept: all of a day, and one for each day of more than a year before it. */
  maxHeads: 2_000,
  /** Heads from elsewhere that one question names. */
  maxKnownHeads: 1_000,
  /** Characters of rows that are hashed in one step, some 2 ms. */
  charsPerStep: 64 * 1024,
  /** The same of one answer, which is written in one turn. */
  charsPerAnswer: 256 * 1024,
} as const;

/** The audit log on its way to files, syslog and collectors. */
export const auditExportLimits = {
  /** How often it is looked for new rows. */
  pollMs: 500,
  /** Characters of the rows that one receiver is sent at one time: some milliseconds of writing JSON, and all the memory that it costs. */
  batchChars: 256 * 1024,
  /** A batch that was not taken for so long is said; longer than syslog and collectors are given. */
  stuckMs: 30_000,
  /** At the end, what is being sent is waited for so long. */
  closeMs: 2_000,
  /** How far a receiver has got is written down so often at the most: each time is a write to the disk. */
  cursorIntervalMs: 1_000,
  /** Back-off towards a receiver that does not take anything. */
  backoff: { backoffStartMs: 500, backoffMaxMs: 30_000, backoffJitter: 0.2 },
  /** One request to a collector, and what is read of its answer. */
  otlpTimeoutMs: 10_000,
  maxOtlpAnswerBytes: 64 * 1024,
  maxOtlpHeaders: 32,
  /** A syslog server over TCP: its connection, and the time in which it has to take what it is sent. */
  syslogTimeoutMs: 10_000,
  /** Syslog has no answers: what was sent within this time before a connection broke is sent again. */
  syslogSettleMs: 10_000,
  /** One message; rsyslog's own bound (`maxMessageSize`) is 8 KiB. Of a longer row texts are left out, and their hashes are there. */
  maxSyslogBytes: 8 * 1024,
  /** Datagrams in one turn, some 5 ms of it. */
  datagramsPerTurn: 64,
  /** Pruning waits for receivers until there are so many times as many rows, or bytes, as are to be kept; or until room is short. */
  maxWaitFactor: 2,
} as const;

/** HTTP on the control plane's port, both ends: administration. */
export const controlHttpLimits = {
  /** From a request's headers to the end of its body. */
  requestTimeoutMs: 30_000,
  /** A response that its client does not read any further is cut after this. */
  stalledResponseMs: 60_000,
  /** What is still taken, and dropped, of a body that is not wanted; after that the stream is reset. */
  maxDiscardedBytes: 1024 * 1024,
  /** From the command line's request to the head of the answer: a signature by a far away vault takes its time. */
  answerTimeoutMs: 60_000,
  /** An answer that the command line keeps whole. */
  maxAnswerBytes: 64 * 1024 * 1024,
} as const;

/** Administration of the control plane: bodies, pages, administrators. */
export const controlAdminLimits = {
  /** Documents of one `apply`; as much as two of the largest files. */
  maxApplyBytes: 16 * 1024 * 1024,
  /**
   * Changes of documents that wait for their turn: all, what of that is for administrators of the mesh alone, and of one caller. A large one
   * takes a second or two, and the command line waits for a minute.
   */
  changeShares: { max: 32, reserved: 8, each: 8 },
  /** Any other body. */
  maxBodyBytes: 64 * 1024,
  /**
   * What all bodies of `apply` hold until they are answered, and all others. A caller may hold half of what the others leave: two of the
   * largest for the first one.
   */
  maxHeldBodyBytes: 96 * 1024 * 1024,
  maxHeldSmallBodyBytes: 8 * 1024 * 1024,
  /** What a chunk of a body counts for at least: an array has its own size, and a frame may hold one byte. */
  minBodyChunkBytes: 256,
  /** Values of one body: as many documents as there may be, with their paths and texts; and how deep it is nested. */
  maxJsonValues: 400_000,
  maxJsonDepth: 16,
  /** Characters of a large answer that are made in one go. */
  answerChunkChars: 64 * 1024,
  /** Entries of one answer, and how many there are when the request does not say. */
  maxPage: 1_000,
  defaultPage: 100,
  /** Rows of the audit log that are read in one go: at most some 3 MiB. */
  auditRowsPerRead: 50,
  /** Rows looked at for one page of those a caller may see. */
  maxScanned: 20_000,
  /** Names of documents that one page of the history looks at; a version may have changed a hundred thousand, and is then a page. */
  maxNamed: 200_000,
  /** Administrators, subjects of one, and the text of all. */
  maxAdministrators: 1_000,
  maxSubjects: 100,
  maxAdministratorBytes: 1024 * 1024,
  /** Changes of one tenant, dry runs too: an hour's work at once, then one a second. A second rate is for revocations and removals alone. */
  changeRate: { burst: 60, perSecond: 1 },
  withdrawalRate: { burst: 300, perSecond: 5 },
  maxRateKeys: 10_000,
  /** Characters of a reason. */
  maxReasonLength: 500,
  /** How often `audit --follow` asks for more. */
  followIntervalMs: 1_000,
} as const;

/** What settings may ask for, and the configuration file itself. */
export const controlLimits = {
  /** Between two sweeps of what ended long ago, or is past its bound. */
  pruneIntervalMs: 60_000,
  /** The same while there is more to sweep than one sweep takes. */
  pruneAgainMs: 100,
  /** A host that joined by a WorkloadGroup stays in the mesh this long after its last stream has ended. */
  memberGraceMs: 30_000,
  /** Life of the first administrator's certificate, renewed at half of it. */
  administratorLifetimeMs: 30 * 24 * 60 * 60_000,
  /** Life of a node's own certificate; it renews at half of it, and an expired one is still good for renewal. */
  nodeLifetimeMs: 30 * 24 * 60 * 60_000,
  maxTokenIssuers: 32,
  /** How long a host may be gone before it is removed; what is less than a certificate's life and an absence would end renewals. */
  minHostRetentionMs: 60 * 60_000,
  maxHostRetentionMs: 3650 * 24 * 60 * 60_000,
  /** Hosts that are gone, and that are removed at one time. */
  hostsPerSweep: 100,
  /** Leaves that are renewed early, because their CA is being replaced, are spread over this long. */
  renewalSpreadMs: 5_000,
} as const;
