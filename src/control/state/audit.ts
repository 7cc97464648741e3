/**
 * Who did what: rows that are only ever added, each with a hash over itself and the one before. A row that somebody changes, adds
 * or takes out between others breaks the chain; to know of rows cut off at the end, keep a `head` elsewhere.
 */

import { auditLimits, stateLimits } from "../../base/limits/control.ts";
import { sha256, sha256Hex } from "../../base/sha256.ts";
import { runSteps } from "../../base/time_slice.ts";
import type { Database, SqlRow, SqlValue } from "../../host/database.ts";
import type { AuditEntry, AuditHead, AuditQuery, StoredAuditEntry } from "../records/audit.ts";
import { RowReader, storedMs } from "./row_reader.ts";

export type AuditVerdict =
  | { readonly intact: true; readonly rows: number; readonly head: AuditHead }
  | { readonly intact: false; readonly id: number; readonly reason: string };

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
        if (hash.toHex() !== chainHash(before, entry).toHex())
          return broken(`row ${entry.id} is not as it was written`);
        if ((known.get(entry.id) ?? hash.toHex()) !== hash.toHex())
          return broken(`row ${entry.id} is not the one that was known`);
        last = { id: entry.id, hash };
        rows++;
        chars += 200 + entry.detail.length + (entry.before?.length ?? 0) + (entry.after?.length ?? 0);
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
   * Takes away the oldest, until no more than `keepRows` and about `keepBytes` are left; at most `stateLimits.pruneRows` at a time. That it was done is a row itself.
   *
   * @returns how many; call again while it is that many.
   */
  prune(
    atMs: number,
    actor: string,
    {
      keepRows = stateLimits.auditRetentionRows,
      keepBytes = stateLimits.auditRetentionBytes,
    }: { readonly keepRows?: number; readonly keepBytes?: number } = {},
  ): number {
    return this.#database.transaction(() => {
      const start = this.#start();
      const last = this.#last().id;
      const rows = last - start.id;
      // By bytes: as many rows as their mean says, the last ones always stay.
      const excess = 1 - keepBytes / Math.max(1, this.bytes());
      const tooLarge = excess > 0 ? Math.min(rows - 1, Math.ceil(rows * excess)) : 0;
      const tooMany = Math.max(rows - keepRows, tooLarge);
      const end = start.id + Math.min(tooMany, stateLimits.pruneRows);
      if (end <= start.id) return 0;
      const row = this.#database.get("SELECT * FROM audit WHERE id = ?", end);
      if (row === null) return 0;
      const { hash } = readEntry(row);
      const detail = `rows ${start.id + 1} to ${end}; the last had the hash ${hash.toHex()}`;
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
      this.#database.run("UPDATE audit_start SET id = ?, hash = ?", end, hash);
      return this.#database.run("DELETE FROM audit WHERE id <= ?", end).changes;
    });
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

function readEntry(row: SqlRow): { readonly entry: StoredAuditEntry; readonly hash: Uint8Array } {
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

/** What is left of a text of a tenant that has had its share of the log. */
function hashed(text: string): string {
  return `… ${text.length} characters, left out: the namespace has used its share of the audit log; SHA-256 ${sha256Hex(utf8.encode(text))}`;
}

function shortened(text: string): string {
  if (text.length <= stateLimits.maxAuditTextLength) return text;
  const kept = text.slice(0, stateLimits.maxAuditTextLength);
  return `${kept}\n… ${text.length - kept.length} characters more; SHA-256 of it all ${sha256Hex(utf8.encode(text))}`;
}
