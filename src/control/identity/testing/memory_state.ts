/** The state that identity needs, in memory; a transaction that throws leaves everything as it was. */

import type { AuditEntry } from "../../records/audit.ts";
import type { Registration } from "../../records/registrations.ts";
import type { NewToken, StoredToken, TokenRefusal } from "../../records/tokens.ts";
import type { IdentityState } from "../identity_state.ts";
import { equalInConstantTime } from "../join_token.ts";

export class MemoryState implements IdentityState {
  tokenRows = new Map<string, StoredToken>();
  registrationRows = new Map<string, Registration>();
  auditRows: AuditEntry[] = [];
  readonly revoked = {
    serials: new Set<string>(),
    identities: new Set<string>(),
    nodes: new Set<string>(),
    operators: new Set<string>(),
    tokens: new Set<string>(),
  };
  /** Thrown by the next writes: a full disk, say. */
  fault: Error | null = null;

  readonly tokens = {
    create: (token: NewToken): void => {
      this.#mayWrite();
      const row = { ...token, createdAtMs: 0, usedAtMs: null, usedBy: null, revokedAtMs: null };
      this.tokenRows.set(token.id, row);
    },
    check: (id: string, secretHash: Uint8Array, nowMs: number): TokenRefusal | StoredToken => {
      const token = this.tokenRows.get(id);
      if (token === undefined) return "unknown";
      if (!equalInConstantTime(token.secretHash, secretHash)) return "wrong";
      if (token.revokedAtMs !== null) return "revoked";
      if (token.usedAtMs !== null) return "used";
      return token.expiresAtMs <= nowMs ? "expired" : token;
    },
    redeem: (
      id: string,
      secretHash: Uint8Array,
      nowMs: number,
      usedBy: string,
    ): TokenRefusal | StoredToken => {
      this.#mayWrite();
      const token = this.tokens.check(id, secretHash, nowMs);
      if (typeof token !== "string") this.tokenRows.set(id, { ...token, usedAtMs: nowMs, usedBy });
      return token;
    },
  };

  readonly registrations = {
    put: (registration: Registration): void => {
      this.#mayWrite();
      this.registrationRows.set(registration.node, registration);
    },
    byNode: (node: string): Registration | null => this.registrationRows.get(node) ?? null,
    setSerials: (node: string, currentSerial: string, pendingSerial: string | null): void => {
      this.#mayWrite();
      const row = this.registrationRows.get(node);
      if (row !== undefined) this.registrationRows.set(node, { ...row, currentSerial, pendingSerial });
    },
    touch: (node: string, nowMs: number): void => {
      this.#mayWrite();
      const row = this.registrationRows.get(node);
      if (row !== undefined) this.registrationRows.set(node, { ...row, lastSeenMs: nowMs });
    },
  };

  /** By whose right everything was revoked. */
  revokedBy = "";

  readonly revocations = {
    isRevokedSerial: (serial: string): boolean => this.revoked.serials.has(serial),
    isRevokedIdentity: (uri: string): boolean => this.revoked.identities.has(uri),
    isRevokedNode: (node: string): boolean => this.revoked.nodes.has(node),
    isRevokedOperator: (name: string): boolean => this.revoked.operators.has(name),
    isRevokedToken: (id: string): boolean => this.revoked.tokens.has(id),
    byWhoseRight: (kind: "identity" | "node", value: string): string | null =>
      (kind === "node" ? this.revoked.nodes : this.revoked.identities).has(value) ? this.revokedBy : null,
  };

  /** By serial number, who has asked for it. */
  readonly requesters = new Map<string, { readonly requestedBy: string; readonly notBeforeMs: number }>();

  readonly certificates = {
    bySerial: (serial: string) => this.requesters.get(serial) ?? null,
  };

  readonly audit = {
    append: (entry: AuditEntry): void => {
      this.#mayWrite();
      this.auditRows.push(entry);
    },
  };

  transaction<T>(work: () => T): T {
    const before = [this.tokenRows, this.registrationRows, this.auditRows] as const;
    this.tokenRows = new Map(this.tokenRows);
    this.registrationRows = new Map(this.registrationRows);
    this.auditRows = [...this.auditRows];
    try {
      return work();
    } catch (error) {
      [this.tokenRows, this.registrationRows, this.auditRows] = before;
      throw error;
    }
  }

  #mayWrite(): void {
    if (this.fault !== null) throw this.fault;
  }
}
