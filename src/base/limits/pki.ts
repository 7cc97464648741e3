/** The bounds of certificates, trust and tokens. Each is reached by a test; a value that real Istio uses is marked with where it comes from. */

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
  /** A wall clock that has moved by so much against the monotonic one was set; one that is slewed moves by 30 ms a minute. */
  clockSetMs: 5_000,
  /** How far ahead of half life a renewal may be spread, as a share of the life. */
  renewalSpread: 0.05,
  /** Over how long renewals are spread when a CA is replaced, so that nodes do not ask all at once. */
  replacementSpreadMs: 5_000,
  /** SVIDs are valid from this long ago, for peers whose clock is behind; istiod's value. */
  backdateMs: 2 * 60_000,
  /**
   * The same of roots and intermediates: one that was made while the clock was ahead by hours would issue nothing once it was put right, as
   * it is not valid yet then.
   */
  authorityBackdateMs: 24 * 60 * 60_000,
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
