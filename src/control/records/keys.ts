/** What is asked of the control plane's state: every write is durable when it returns. `control/state` is of this shape. */
import type { AuditEntry } from "./audit.ts";

/**
 * `next` is announced and issues nothing yet; `active` issues, and there is one; `retiring` is still believed for what it has
 * issued; `retired` is history.
 */
export type AuthorityState = "next" | "active" | "retiring" | "retired";

export interface AuthorityRow {
  readonly id: string;
  readonly kind: "root" | "intermediate";
  readonly certificatePem: string;
  /** What is above it, nearest first, the root last; empty for a root. */
  readonly chainPem: string;
  /** What stands for its key (`key_place.ts`); null once it was erased. */
  readonly sealedKey: Uint8Array | null;
  readonly state: AuthorityState;
  readonly createdAtMs: number;
}

export interface AuthorityRecords {
  /** The oldest first. */
  list(): readonly AuthorityRow[];
  /** Makes or replaces. */
  put(row: AuthorityRow): void;
  setState(id: string, state: AuthorityState): boolean;
  forgetKey(id: string): boolean;
  remove(id: string): boolean;
}

export interface IssuedRow {
  readonly serial: string;
  /** A SPIFFE ID. */
  readonly identity: string;
  /** `Certificate.authorityKey` of who has issued it. */
  readonly issuerKey: string;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** A node's name, or a SPIFFE ID. */
  readonly requestedBy: string;
  readonly issuedAtMs: number;
}

export interface IssuedRecords {
  record(row: IssuedRow): void;
  /** All that `work` records, by one durable write, or nothing of it when it throws. */
  atOnce(work: () => void): void;
  bySerial(serial: string): IssuedRow | null;
  /** How many of a requester's have not expired at this time. */
  countValid(requestedBy: string, validAtMs: number): number;
  /** Those that all of the query holds for, the newest first. */
  all(query: {
    readonly identity?: string;
    readonly requestedBy?: string;
    readonly issuerKey?: string;
    /** Not expired at this time. */
    readonly validAtMs?: number;
  }): Iterable<IssuedRow>;
}

export interface RevocationRow {
  readonly kind: "serial" | "identity" | "node" | "operator" | "token";
  readonly value: string;
  /** Of a serial number; "" when it is not known who has issued it. */
  readonly issuerKey: string;
  readonly reason: string;
  readonly byWhom: string;
  /** By whose right: a namespace's; "", or left out, for the mesh's. */
  readonly byNamespace?: string;
  readonly atMs: number;
  /** Of a serial number: when the certificate ends; null when that is not known. */
  readonly expiresAtMs: number | null;
}

export interface RevocationRecords {
  /** The first one is remembered. @returns whether it is new. */
  add(row: RevocationRow): boolean;
  /** All of them or none. @returns how many are new. */
  addAll(rows: Iterable<RevocationRow>): number;
  list(kind?: RevocationRow["kind"]): readonly RevocationRow[];
  /** Numbers that a list of this issuer names at this time, by whose right; "" is the mesh's. */
  countListed(issuerKey: string, nowMs: number): ReadonlyMap<string, number>;
  get(kind: RevocationRow["kind"], value: string): RevocationRow | null;
  /** Whether this certificate's number is listed. */
  isRevokedSerial(serial: string, issuerKey: string): boolean;
  /** @returns whether it was there. */
  remove(kind: RevocationRow["kind"], value: string): boolean;
}

/** Values by name. */
export interface SettingRecords {
  get(name: string): string | null;
  set(name: string, value: string): void;
  remove(name: string): boolean;
}

export interface KeyRecords {
  /** Where it is written down what was issued; nowhere when left out. */
  readonly audit?: { append(entry: AuditEntry): unknown };
  readonly authorities: AuthorityRecords;
  readonly certificates: IssuedRecords;
  readonly revocations: RevocationRecords;
  readonly settings: SettingRecords;
}
