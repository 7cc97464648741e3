/** What identity asks of the control plane's state. `control/state` is of this shape, and tests have it in memory. */

import type { AuditEntry } from "../records/audit.ts";
import type { Registration } from "../records/registrations.ts";
import type { NewToken, StoredToken, TokenRefusal } from "../records/tokens.ts";

export interface TokenStore {
  /** @throws MeshError `limit_reached`. */
  create(token: NewToken): void;
  /** Looks, and changes nothing: what `redeem` would say now. */
  check(id: string, secretHash: Uint8Array, nowMs: number): TokenRefusal | StoredToken;
  /** One-time: checks, marks as used and returns it, atomically. The hash is compared in constant time. */
  redeem(id: string, secretHash: Uint8Array, nowMs: number, usedBy: string): TokenRefusal | StoredToken;
}

export interface RegistrationStore {
  /** In place of what is known under that name. @throws MeshError `limit_reached`. */
  put(registration: Registration): void;
  byNode(node: string): Registration | null;
  touch(node: string, nowMs: number): void;
  /** Which certificates a host renews by: the one it was seen with, and the one it was given since. */
  setSerials(node: string, currentSerial: string, pendingSerial: string | null): void;
}

/** What was revoked, by whatever it was named: the tables, not the lists that are made of them, so that it holds at once. */
export interface RevocationStore {
  isRevokedSerial(serialNumber: string): boolean;
  isRevokedIdentity(uri: string): boolean;
  isRevokedNode(node: string): boolean;
  /** @param name `issuer#sub` */
  isRevokedOperator(name: string): boolean;
  /** @param id `issuer#jti` */
  isRevokedToken(id: string): boolean;
  /** @returns the namespace by whose right it was revoked, "" for the mesh's; null when it is not revoked. */
  byWhoseRight(kind: "identity" | "node", value: string): string | null;
}

/** What was issued, and at whose request. */
export interface IssuedStore {
  /** @returns null for a certificate that is not known here. */
  bySerial(serialNumber: string): { readonly requestedBy: string; readonly notBeforeMs: number } | null;
}

export interface AuditLog {
  append(entry: AuditEntry): void;
}

export interface IdentityState {
  readonly tokens: TokenStore;
  readonly registrations: RegistrationStore;
  readonly revocations: RevocationStore;
  readonly certificates: IssuedStore;
  readonly audit: AuditLog;
  /** Where refusals of callers that are not known go; the audit log when left out. */
  readonly strangers?: AuditLog;
  /** All writes of `work`, or none. */
  transaction<T>(work: () => T): T;
}
