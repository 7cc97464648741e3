/** Rows of the audit log, as the state keeps them and administration shows them. */

export interface AuditEntry {
  readonly atMs: number;
  readonly actor: string;
  /** `documents.apply`, `token.create`, … */
  readonly action: string;
  readonly target: string;
  /** Whose tenant may read it; null or left out: only who may read everything. */
  readonly namespace?: string | null;
  readonly outcome: "ok" | "refused" | "failed";
  readonly detail: string;
  readonly before: string | null;
  readonly after: string | null;
}

export interface StoredAuditEntry extends AuditEntry {
  readonly id: number;
  readonly namespace: string | null;
}

/** A row with its place in the chain. */
export interface ChainedEntry {
  readonly entry: StoredAuditEntry;
  /** What its digest is salted with; null for a row of the first programs. */
  readonly salt: Uint8Array | null;
  /** Over the row and the hash of the one before it. */
  readonly hash: Uint8Array;
}

/** How far one receiver of the audit log has got. */
export interface AuditExportStatus {
  /** `file`, `syslog`, `otlp`. */
  readonly target: string;
  readonly where: string;
  /** The last row that it has for certain; 0 for none. */
  readonly exportedId: number;
  /** Rows that it does not have yet. */
  readonly waiting: number;
  /** Since when nothing gets there, and why; null while it does. */
  readonly failing: { readonly sinceMs: number; readonly reason: string } | null;
  /** Rows that were removed before it had them, and rows that it has refused, since the start. */
  readonly lost: number;
  readonly refused: number;
}

/** All that is given must hold. */
export interface AuditQuery {
  /** Ascending, after this row; without it the newest come first. */
  readonly afterId?: number;
  /** Only rows before this one. */
  readonly beforeId?: number;
  readonly namespace?: string;
  readonly actor?: string;
  readonly action?: string;
  /** At most `stateLimits.maxPageRows`. */
  readonly limit: number;
}

/** The last row, by which a copy kept elsewhere proves that nothing was cut off. */
export interface AuditHead {
  readonly id: number;
  /** Hexadecimal. */
  readonly hash: string;
}

/** A signed head as nodes are sent it: with the digests by which one that they had before is known to be in the same log. */
export interface PublishedHead extends AuditHead {
  readonly stateId: string;
  readonly atMs: number;
  /** Base64. */
  readonly signature: string;
  /** Of the signer, leaf first, in PEM. */
  readonly chainPem: string;
  readonly sinceId: number;
  /** Hexadecimal. */
  readonly sinceHash: string;
  /** Of the rows after `sinceId`, 32 bytes each. */
  readonly digests: Uint8Array;
}

/** What a check of the archive has found. */
export interface ArchiveCheck {
  readonly intact: boolean;
  /** Files, and rows of all tables in them. */
  readonly segments: number;
  readonly rows: number;
  /** The oldest audit row that is still there, in archive or state. */
  readonly fromId: number;
  readonly reason: string | null;
}

/** What a check of the whole log has found. */
export interface AuditCheck {
  readonly intact: boolean;
  /** Rows read, and heads that they were compared with. */
  readonly rows: number;
  readonly heads: number;
  /** Of these, heads of rows that were pruned: they could not be compared. */
  readonly older: number;
  readonly head: AuditHead | null;
  readonly reason: string | null;
  /** Null where there is none, or none was asked for. */
  readonly archive?: ArchiveCheck | null;
}
