/**
 * Who did what: rows that are only ever added, each with a hash over itself and the one before. A row that somebody changes, adds
 * or takes out between others breaks the chain; to know of rows cut off at the end, keep a `head` elsewhere.
 */

import { chainRow, rowDigest } from "../../base/audit_chain.ts";
import { MeshError } from "../../base/errors.ts";
import { auditExportLimits, auditLimits, stateLimits } from "../../base/limits/control.ts";
import { sha256 } from "../../base/sha256.ts";
import { runSteps } from "../../base/turns/time_slice.ts";
import type { Database, SqlRow, SqlValue } from "../../host/database.ts";
import type { AuditEntry, AuditHead, AuditQuery, ChainedEntry, StoredAuditEntry } from "../records/audit.ts";
import { charsOf, hashed, readEntry, shortened, storable } from "./audit_rows.ts";
import { RowReader, storedMs } from "./row_reader.ts";

export type AuditVerdict =
  | {
      readonly intact: true;
      readonly rows: number;
      readonly head: AuditHead;
      /** Heads that are older than the first row that is left: they could not be compared. */
      readonly older: number;
    }
  | { readonly intact: false; readonly id: number; readonly reason: string };

/** Rows that pruning leaves although their time is over, because somebody does not have them yet. */
export interface AuditHold {
  /** The last row that may go. */
  readonly afterId: number;
  /** Who does not have those after it: `syslog`. */
  readonly waitsFor: string;
}

export interface AuditKept {
  readonly keepRows?: number;
  readonly keepBytes?: number;
  /** What is kept at the most while rows are held. */
  readonly waitRows?: number;
  readonly waitBytes?: number;
  readonly hold?: AuditHold | null;
}

export interface AuditDue {
  readonly startId: number;
  /** The last row that is to go; `startId` for none. */
  readonly endId: number;
  /** The last one that could go, some of them later. */
  readonly wantedId: number;
  /** Who some of the rows that should go wait for; null when none wait. */
  readonly waitsFor: string | null;
  /** Rows go that somebody does not have. */
  readonly overruled: boolean;
}

export interface ChainProof {
  readonly sinceId: number;
  /** Hexadecimal. */
  readonly sinceHash: string;
  /** 32 bytes a row. */
  readonly digests: Uint8Array;
}

export class AuditLog {
  readonly #database: Database;
  #salts: { readonly afterId: number; readonly key: Uint8Array } | null = null;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Within whatever transaction is open: a change and its row are there together or not at all. @returns the row's number. */
  append(entry: AuditEntry): number {
    return this.#database.transaction(() => {
      const last = this.#last();
      const id = last.id + 1;
      const namespace = entry.namespace ?? null;
      const isPastShare = namespace !== null && this.bytes(namespace) > stateLimits.auditTenantBytes;
      const kept = (text: string | null): string | null =>
        text === null ? null : isPastShare ? hashed(text) : shortened(text);
      const row = {
        id,
        atMs: storedMs(entry.atMs),
        actor: storable(entry.actor),
        action: entry.action,
        target: storable(entry.target),
        namespace: namespace === null ? null : storable(namespace),
        outcome: entry.outcome,
        detail: shortened(entry.detail),
        before: kept(entry.before),
        after: kept(entry.after),
      };
      this.#database.run(
        "INSERT INTO audit (id, at_ms, actor, action, target, namespace, outcome, detail, before, after, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        id,
        row.atMs,
        row.actor,
        row.action,
        row.target,
        row.namespace,
        row.outcome,
        row.detail,
        row.before,
        row.after,
        chainRow(last.hash, row, this.#saltOf(id)),
      );
      return id;
    });
  }

  /** What rows take, of one tenant or of all. */
  bytes(namespace: string | null = null): number {
    const what = namespace === null ? "audit" : `audit/${namespace}`;
    const row = this.#database.get("SELECT bytes FROM usage WHERE what = ?", what);
    return row === null ? 0 : new RowReader("usage", row).integer("bytes");
  }

  read(query: AuditQuery): readonly StoredAuditEntry[] {
    const conditions = ["id > ?"];
    const values: SqlValue[] = [query.afterId ?? 0];
    const where = (condition: string, value: SqlValue | undefined) => {
      if (value === undefined) return;
      conditions.push(condition);
      values.push(value);
    };
    where("id < ?", query.beforeId);
    where("namespace = ?", query.namespace);
    where("actor = ?", query.actor);
    where("action = ?", query.action);
    const order = query.afterId === undefined ? "DESC" : "ASC";
    const limit = Math.max(0, Math.min(query.limit, stateLimits.maxPageRows));
    return this.#database
      .all(
        `SELECT * FROM audit WHERE ${conditions.join(" AND ")} ORDER BY id ${order} LIMIT ?`,
        ...values,
        limit,
      )
      .map((row) => this.#read(row).entry);
  }

  /**
   * Those after this row in their order, for who passes them on: at least one if there is one, and about so many characters at the most.
   */
  page(afterId: number, maxChars: number): readonly ChainedEntry[] {
    const rows: ChainedEntry[] = [];
    let chars = 0;
    // A few at a time: what is read and not taken is read again by the next page.
    for (let last = afterId; rows.length < rowsPerStep; last = rows.at(-1)?.entry.id ?? last) {
      const found = this.#database.all(
        "SELECT * FROM audit WHERE id > ? ORDER BY id LIMIT ?",
        last,
        rowsPerRead,
      );
      for (const row of found) {
        const chained = this.#read(row);
        chars += charsOf(chained.entry);
        if (rows.length > 0 && chars > maxChars) return rows;
        rows.push(chained);
      }
      if (found.length < rowsPerRead) break;
    }
    return rows;
  }

  /** The last row that was pruned, with the hash that the first one that is left goes on from. */
  start(): AuditHead {
    const { id, hash } = this.#start();
    return { id, hash: hash.toHex() };
  }

  /** Rows up to this one are of the first programs, and have no digests. */
  get digestsAfterId(): number {
    this.#salts ??= this.#readSalts();
    return this.#salts.afterId;
  }

  /**
   * What leads from one row to another for who may not read them: the hash of the first, and the digests of those after it. In steps.
   *
   * @param sinceId later where rows before it were pruned. @param toId a row that is there.
   */
  *proofInSteps(sinceId: number, toId: number): Generator<void, ChainProof> {
    const start = this.#start();
    const from = Math.max(sinceId, start.id);
    const row = this.#database.get("SELECT hash FROM audit WHERE id = ?", from);
    const sinceHash = row === null ? start.hash : new RowReader("audit", row).bytes("hash", 32);
    const digests = new Uint8Array(32 * Math.max(0, toId - from));
    let next = from + 1;
    while (next <= toId) {
      const rows = this.page(next - 1, auditLimits.charsPerStep);
      if (rows.length === 0) break;
      for (const { entry, salt } of rows) {
        if (entry.id > toId || salt === null) break;
        digests.set(rowDigest(entry, salt), 32 * (entry.id - from - 1));
      }
      next = (rows.at(-1)?.entry.id ?? toId) + 1;
      yield;
    }
    // Rows were pruned meanwhile: digests with a hole would look to every host as if the log had been written again.
    if (this.#start().id > from && toId > from)
      throw new MeshError("io", "local", "rows were removed while they were read");
    return { sinceId: from, sinceHash: sinceHash.toHex(), digests };
  }

  head(): AuditHead {
    const { id, hash } = this.#last();
    return { id, hash: hash.toHex() };
  }

  /** Reads every row. @param known a head kept elsewhere, which has to be in the chain (or before its start, when pruned since). */
  verify(known: AuditHead | null = null): AuditVerdict {
    return runSteps(this.verifyInSteps(known === null ? [] : [known]));
  }

  /** `verify` with any number of heads, in steps of a few milliseconds. What is added meanwhile is read too. */
  *verifyInSteps(heads: readonly AuditHead[]): Generator<void, AuditVerdict> {
    const known = new Map(heads.map(({ id, hash }) => [id, hash]));
    // Of one row there is one hash: a log that showed two was two logs.
    for (const { id, hash } of heads)
      if (known.get(id) !== hash)
        return { intact: false, id, reason: `two signed heads name row ${id}, and differ` };
    const start = this.#start();
    const older = heads.filter(({ id }) => id < start.id).length;
    if ((known.get(start.id) ?? start.hash.toHex()) !== start.hash.toHex())
      return {
        intact: false,
        id: start.id,
        reason: `row ${start.id} is not the one that the signed head names`,
      };
    let last = start;
    let rows = 0;
    let chars = 0;
    for (;;) {
      const page = this.#database.all(
        "SELECT * FROM audit WHERE id > ? ORDER BY id LIMIT ?",
        last.id,
        rowsPerStep,
      );
      for (const row of page) {
        const { entry, salt, hash } = this.#read(row);
        const broken = (reason: string): AuditVerdict => ({ intact: false, id: entry.id, reason });
        // Pruned while this was going on: the chain begins later now.
        if (entry.id !== last.id + 1 && this.#start().id + 1 !== entry.id)
          return broken(`row ${last.id + 1} is missing`);
        const before = entry.id === last.id + 1 ? last.hash : this.#start().hash;
        if (hash.toHex() !== chainRow(before, entry, salt).toHex())
          return broken(`row ${entry.id} was changed`);
        if ((known.get(entry.id) ?? hash.toHex()) !== hash.toHex())
          return broken(`row ${entry.id} is not the one that the signed head names`);
        last = { id: entry.id, hash };
        rows++;
        chars += charsOf(entry);
        if (chars < auditLimits.charsPerStep) continue;
        chars = 0;
        yield;
      }
      if (page.length < rowsPerStep) break;
      yield;
    }
    for (const { id } of heads)
      if (id > last.id)
        return { intact: false, id: last.id + 1, reason: `rows ${last.id + 1} to ${id} are cut off` };
    return { intact: true, rows, head: { id: last.id, hash: last.hash.toHex() }, older };
  }

  /**
   * How far the oldest rows go, until no more than `keepRows` and about `keepBytes` are left; at most `stateLimits.pruneRows` of them. Rows
   * that `hold` names stay until there are more than `waitRows` or `waitBytes`.
   *
   * @returns null when there is nothing to remove.
   */
  due({
    keepRows = stateLimits.auditRetentionRows,
    keepBytes = stateLimits.auditRetentionBytes,
    waitRows = stateLimits.auditRetentionRows * auditExportLimits.maxWaitFactor,
    waitBytes = stateLimits.auditRetentionBytes * auditExportLimits.maxWaitFactor,
    hold = null,
  }: AuditKept = {}): AuditDue | null {
    const start = this.#start().id;
    const wanted = start + this.#excess(keepRows, keepBytes);
    const least = start + this.#excess(waitRows, waitBytes);
    const allowed = hold === null ? wanted : Math.min(wanted, Math.max(hold.afterId, least));
    const waitsFor = hold !== null && wanted > hold.afterId ? hold.waitsFor : null;
    const endId = Math.min(allowed, start + stateLimits.pruneRows);
    if (endId <= start && waitsFor === null) return null;
    return {
      startId: start,
      endId: Math.max(start, endId),
      wantedId: Math.max(start, allowed),
      waitsFor,
      overruled: hold !== null && endId > hold.afterId,
    };
  }

  /**
   * Takes away the oldest, as far as `due` says. That it was done is a row itself.
   *
   * @returns how many; call again while it is `stateLimits.pruneRows`.
   */
  prune(atMs: number, actor: string, kept: AuditKept = {}): number {
    return this.#database.transaction(() => {
      const due = this.due(kept);
      return due === null ? 0 : this.pruneTo(due, atMs, actor);
    });
  }

  /** What `due` has found, and no more. @returns how many. */
  pruneTo({ endId, overruled, waitsFor }: AuditDue, atMs: number, actor: string): number {
    return this.#database.transaction(() => {
      const start = this.#start();
      if (endId <= start.id) return 0;
      const row = this.#database.get("SELECT * FROM audit WHERE id = ?", endId);
      if (row === null) return 0;
      const { hash } = this.#read(row);
      const without = overruled ? `; ${waitsFor} did not have all of them` : "";
      const detail = `rows ${start.id + 1} to ${endId}; the last had the hash ${hash.toHex()}${without}`;
      const entry = {
        atMs,
        actor,
        action: "audit.prune",
        target: "audit",
        outcome: "ok",
        before: null,
        after: null,
      } as const;
      this.append({ ...entry, detail });
      this.#database.run("UPDATE audit_start SET id = ?, hash = ?", endId, hash);
      return this.#database.run("DELETE FROM audit WHERE id <= ?", endId).changes;
    });
  }

  /** How many of the oldest are more than is to be kept. By bytes: as many rows as their mean says; the last one always stays. */
  #excess(keepRows: number, keepBytes: number): number {
    const rows = this.#last().id - this.#start().id;
    const share = 1 - keepBytes / Math.max(1, this.bytes());
    const tooLarge = share > 0 ? Math.min(rows - 1, Math.ceil(rows * share)) : 0;
    return Math.max(0, rows - keepRows, tooLarge);
  }

  #read(row: SqlRow): ChainedEntry {
    const { entry, hash } = readEntry(row);
    return { entry, salt: this.#saltOf(entry.id), hash };
  }

  /** From one key for all: a salt for each row takes no room in the state. */
  #saltOf(id: number): Uint8Array | null {
    this.#salts ??= this.#readSalts();
    const { afterId, key } = this.#salts;
    return id <= afterId ? null : sha256(key, utf8.encode(String(id))).subarray(0, saltBytes);
  }

  #readSalts(): { readonly afterId: number; readonly key: Uint8Array } {
    // A back-up of an earlier program is read as it is.
    const isThere = this.#database.get("SELECT 1 AS one FROM sqlite_schema WHERE name = 'audit_digests'");
    if (isThere === null) return { afterId: Number.MAX_SAFE_INTEGER, key: new Uint8Array(32) };
    const row = this.#database.get("SELECT after_id, salt_key FROM audit_digests");
    const reader = new RowReader("audit_digests", row ?? {});
    return { afterId: reader.integer("after_id"), key: reader.bytes("salt_key", 32) };
  }

  #last(): { readonly id: number; readonly hash: Uint8Array } {
    const row = this.#database.get("SELECT id, hash FROM audit ORDER BY id DESC LIMIT 1");
    if (row === null) return this.#start();
    const reader = new RowReader("audit", row);
    return { id: reader.integer("id"), hash: reader.bytes("hash", 32) };
  }

  #start(): { readonly id: number; readonly hash: Uint8Array } {
    const row = this.#database.get("SELECT id, hash FROM audit_start");
    const reader = new RowReader("audit_start", row ?? {});
    return { id: reader.integer("id"), hash: reader.bytes("hash", 32) };
  }
}

/** Rows that are read in one step of a check: as many of the longest are some 6 MiB. */
const rowsPerStep = 100;
const rowsPerRead = 10;

const saltBytes = 16;
const utf8 = new TextEncoder();
