/**
 * Who did what: rows that are only ever added, each with a hash over itself and the one before. A row that somebody changes, adds
 * or takes out between others breaks the chain; to know of rows cut off at the end, keep a `head` elsewhere.
 */

import { auditExportLimits, auditLimits, stateLimits } from "../../base/limits/control.ts";
import { sha256, sha256Hex } from "../../base/sha256.ts";
import { runSteps } from "../../base/time_slice.ts";
import type { Database, SqlRow, SqlValue } from "../../host/database.ts";
import type { AuditEntry, AuditHead, AuditQuery, ChainedEntry, StoredAuditEntry } from "../records/audit.ts";
import { RowReader, storedMs } from "./row_reader.ts";

export type AuditVerdict =
  | { readonly intact: true; readonly rows: number; readonly head: AuditHead }
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
  /** Who some of the rows that should go wait for; null when none wait. */
  readonly waitsFor: string | null;
  /** Rows go that somebody does not have. */
  readonly overruled: boolean;
}

export class AuditLog {
  readonly #database: Database;

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
        ...entry,
        id,
        atMs: storedMs(entry.atMs),
        namespace,
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
        chainHash(last.hash, row),
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
      .map((row) => readEntry(row).entry);
  }

  /**
   * Those after this row in their order, for who passes them on: at least one if there is one, and about so many characters at the most.
   */
  page(afterId: number, maxChars: number): readonly ChainedEntry[] {
    const rows: ChainedEntry[] = [];
    let chars = 0;
    for (const row of this.#database.all(
      "SELECT * FROM audit WHERE id > ? ORDER BY id LIMIT ?",
      afterId,
      rowsPerStep,
    )) {
      const chained = readEntry(row);
      chars += charsOf(chained.entry);
      if (rows.length > 0 && chars > maxChars) break;
      rows.push(chained);
    }
    return rows;
  }

  /** The last row that was pruned, with the hash that the first one that is left goes on from. */
  start(): AuditHead {
    const { id, hash } = this.#start();
    return { id, hash: hash.toHex() };
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
    const start = this.#start();
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
        const { entry, hash } = readEntry(row);
        const broken = (reason: string): AuditVerdict => ({ intact: false, id: entry.id, reason });
        // Pruned while this was going on: the chain begins later now.
        if (entry.id !== last.id + 1 && this.#start().id + 1 !== entry.id)
          return broken(`row ${last.id + 1} is missing`);
        const before = entry.id === last.id + 1 ? last.hash : this.#start().hash;
        if (hash.toHex() !== chainHash(before, entry).toHex()) return broken(`row ${entry.id} was changed`);
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
    return { intact: true, rows, head: { id: last.id, hash: last.hash.toHex() } };
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
      const { hash } = readEntry(row);
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

/** About what a row takes, in characters. */
function charsOf({ detail, before, after }: StoredAuditEntry): number {
  return 200 + detail.length + (before?.length ?? 0) + (after?.length ?? 0);
}

function readEntry(row: SqlRow): ChainedEntry {
  const reader = new RowReader("audit", row);
  const entry = {
    id: reader.integer("id"),
    atMs: reader.integer("at_ms"),
    actor: reader.text("actor"),
    action: reader.text("action"),
    target: reader.text("target"),
    namespace: reader.textOrNull("namespace"),
    outcome: reader.oneOf("outcome", ["ok", "refused", "failed"]),
    detail: reader.text("detail"),
    before: reader.textOrNull("before"),
    after: reader.textOrNull("after"),
  };
  return { entry, hash: reader.bytes("hash", 32) };
}

const utf8 = new TextEncoder();

/** JSON of a fixed list of fields: no two different rows are written alike. */
function chainHash(previous: Uint8Array, row: StoredAuditEntry): Uint8Array {
  const fields = [row.id, row.atMs, row.actor, row.action, row.target, row.namespace];
  const rest = [row.outcome, row.detail, row.before, row.after];
  return sha256(previous, utf8.encode(JSON.stringify([...fields, ...rest])));
}

/** @returns whether this row is the one that was written after the head. */
export function continues({ id, hash }: AuditHead, { entry, hash: own }: ChainedEntry): boolean {
  return entry.id === id + 1 && chainHash(Uint8Array.fromHex(hash), entry).toHex() === own.toHex();
}

/** What is left of a text of a tenant that has had its share of the log. */
function hashed(text: string): string {
  return `… ${text.length} characters, left out: the namespace has used its share of the audit log; SHA-256 ${sha256Hex(utf8.encode(text))}`;
}

function shortened(text: string): string {
  if (text.length <= stateLimits.maxAuditTextLength) return text;
  const kept = text.slice(0, stateLimits.maxAuditTextLength);
  return `${kept}\n… ${text.length - kept.length} characters more; SHA-256 of it all ${sha256Hex(utf8.encode(text))}`;
}
