/**
 * What identity keeps, as it needs it: the state's tables have these shapes, and tests have them in memory. Every write is
 * durable when it returns.
 */

/** What a join token is good for. Workloads and groups are `namespace/name`. */
export type TokenBinding =
  | { readonly kind: "node"; readonly node: string }
  | { readonly kind: "workload"; readonly workload: string }
  | { readonly kind: "group"; readonly group: string };

export interface NewToken {
  readonly id: string;
  /** SHA-256 of the secret. */
  readonly secretHash: Uint8Array;
  readonly binding: TokenBinding;
  readonly expiresAtMs: number;
  readonly createdBy: string;
  /** May take the place of a host that has joined under the same name. */
  readonly replace: boolean;
}

export interface TokenRecord extends NewToken {
  readonly createdAtMs: number;
  readonly usedAtMs: number | null;
  readonly usedBy: string | null;
  readonly revokedAtMs: number | null;
}

export type TokenRefusal = "unknown" | "wrong" | "expired" | "used" | "revoked";

export interface TokenStore {
  create(token: NewToken): void;
  /** Looks, and changes nothing: what `redeem` would say now. */
  check(id: string, secretHash: Uint8Array, nowMs: number): TokenRefusal | TokenRecord;
  /** One-time: checks, marks as used and returns it, atomically. The hash is compared in constant time. */
  redeem(id: string, secretHash: Uint8Array, nowMs: number, usedBy: string): TokenRefusal | TokenRecord;
  list(): readonly TokenRecord[];
  revoke(id: string): void;
}

/** A host that has joined. */
export interface Registration {
  readonly node: string;
  readonly binding: TokenBinding;
  readonly addresses: readonly string[];
  readonly network: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly joinedAtMs: number;
  readonly lastSeenMs: number;
  readonly tokenId: string | null;
  readonly revokedAtMs: number | null;
  readonly revokeReason: string | null;
}

export interface RegistrationStore {
  put(registration: Registration): void;
  byNode(node: string): Registration | null;
  touch(node: string, nowMs: number): void;
}

export interface IssuedRecord {
  readonly serial: string;
  /** The SPIFFE URI. */
  readonly identity: string;
  /** The issuer's `Certificate.authorityKey`. */
  readonly issuerKey: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  readonly requestedBy: string;
  readonly issuedAtMs: number;
}

export interface CertificateStore {
  record(issued: IssuedRecord): void;
  byIdentity(uri: string): readonly IssuedRecord[];
}

export interface RevocationStore {
  isRevokedSerial(serial: string): boolean;
  isRevokedIdentity(uri: string): boolean;
}

export interface AuditEntry {
  readonly atMs: number;
  readonly actor: string;
  readonly action: string;
  readonly target: string;
  readonly outcome: "ok" | "refused" | "failed";
  readonly detail: string;
  readonly before: string | null;
  readonly after: string | null;
}

export interface AuditLog {
  append(entry: AuditEntry): void;
}

export interface IdentityState {
  readonly tokens: TokenStore;
  readonly registrations: RegistrationStore;
  readonly certificates: CertificateStore;
  readonly revocations: RevocationStore;
  readonly audit: AuditLog;
  /** All writes of `work`, or none. */
  transaction<T>(work: () => T): T;
}
