/** Whom the mesh's trust was taken from. */

import { MeshError } from "../../base/errors.ts";
import { identityLimits, stateLimits } from "../../base/limits/control.ts";
import { shareOf } from "../../base/share.ts";
import type { Database, SqlRow } from "../../host/database.ts";
import type { NewRevocation, Revocation, RevocationCursor } from "../records/revocations.ts";
import { countOf, RowReader, storedMs, storedMsOrNull } from "./row_reader.ts";

const kinds = ["serial", "identity", "node", "operator", "token"] as const;
export type RevocationKind = (typeof kinds)[number];

export class Revocations {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * The first one is the one that is remembered, but for a tenant's, in whose place the mesh's comes: what the mesh has revoked no
   * tenant lifts. @returns whether it is new. @throws MeshError `limit_reached`.
   */
  add(revocation: NewRevocation): boolean {
    return this.addAll([revocation]) > 0;
  }

  /** All of them or none, with one write to the disk. @returns how many are new. @throws MeshError `limit_reached`. */
  addAll(revocations: Iterable<NewRevocation>): number {
    return this.#database.transaction(() => {
      let added = 0;
      const tenants = new Set<string>();
      for (const revocation of revocations) {
        const changes = this.#insert(revocation);
        added += changes;
        if (changes > 0) tenants.add(revocation.byNamespace ?? "");
      }
      if (added === 0) return 0;
      const all = this.count();
      if (all > stateLimits.maxRevocations)
        throw new MeshError("limit_reached", "local", `there are ${stateLimits.maxRevocations} revocations`);
      tenants.delete("");
      for (const namespace of tenants) this.#checkShare(namespace, all);
      return added;
    });
  }

  /** What tenants make up, identities that never were say, takes no room from what the mesh has to revoke. */
  #checkShare(namespace: string, all: number): void {
    const ownAnd = (by: string): number =>
      countOf(this.#database.get("SELECT count(*) AS count FROM revocations WHERE by_namespace = ?", by));
    const own = ownAnd(namespace);
    const mesh = ownAnd("");
    const share = shareOf(stateLimits.revocationShares, all - mesh - own, mesh);
    if (own <= share) return;
    const message = `namespace ${namespace} may have ${share} revocations now; lift some, or ask an administrator of the mesh`;
    throw new MeshError("limit_reached", "local", message);
  }

  /** Numbers that a revocation list of this issuer names at this time, by whose right; "" is the mesh's. */
  countListed(issuerKey: string, nowMs: number): ReadonlyMap<string, number> {
    const rows = this.#database.all(
      `SELECT by_namespace, count(*) AS count FROM revocations WHERE kind = 'serial' AND issuer_key IN (?, '')
       AND ifnull(expires_at_ms, ?) >= ? GROUP BY by_namespace`,
      issuerKey,
      storedMs(nowMs),
      storedMs(nowMs),
    );
    return new Map(
      rows.map((row) => {
        const reader = new RowReader("revocations", row);
        return [reader.text("by_namespace"), reader.integer("count")];
      }),
    );
  }

  /** In the order they were made. */
  list(kind?: RevocationKind): readonly Revocation[] {
    const rows =
      kind === undefined
        ? this.#database.all("SELECT * FROM revocations ORDER BY at_ms, rowid")
        : this.#database.all("SELECT * FROM revocations WHERE kind = ? ORDER BY at_ms, rowid", kind);
    return rows.map(readRevocation);
  }

  /** In the order they were made. @param after the end of the page before; null for the first. */
  page(
    after: RevocationCursor | null,
    limit: number,
  ): readonly { readonly revocation: Revocation; readonly cursor: RevocationCursor }[] {
    const { atMs, row } = after ?? { atMs: -1, row: -1 };
    return this.#database
      .all(
        "SELECT *, rowid AS row FROM revocations WHERE (at_ms, rowid) > (?, ?) ORDER BY at_ms, rowid LIMIT ?",
        atMs,
        row,
        Math.min(limit, stateLimits.maxPageRows),
      )
      .map((found) => {
        const revocation = readRevocation(found);
        const position = new RowReader("revocations", found).integer("row");
        return { revocation, cursor: { atMs: revocation.atMs, row: position } };
      });
  }

  /** Only what was revoked by number; whoever asks about a certificate asks about its identity and its node, too. */
  isRevokedSerial(serial: string, issuerKey?: string): boolean {
    const row =
      issuerKey === undefined
        ? this.#database.get("SELECT 1 FROM revocations WHERE kind = 'serial' AND value = ?", serial)
        : this.#database.get(
            "SELECT 1 FROM revocations WHERE kind = 'serial' AND value = ? AND issuer_key IN (?, '')",
            serial,
            issuerKey,
          );
    return row !== null;
  }

  isRevokedIdentity(uri: string): boolean {
    return this.get("identity", uri) !== null;
  }

  isRevokedNode(node: string): boolean {
    return this.get("node", node) !== null;
  }

  isRevokedOperator(name: string): boolean {
    return this.get("operator", name) !== null;
  }

  isRevokedToken(id: string): boolean {
    return this.get("token", id) !== null;
  }

  byWhoseRight(kind: RevocationKind, value: string): string | null {
    return this.get(kind, value)?.byNamespace ?? null;
  }

  get(kind: RevocationKind, value: string): Revocation | null {
    const row = this.#database.get(
      "SELECT * FROM revocations WHERE kind = ? AND value = ? ORDER BY at_ms LIMIT 1",
      kind,
      value,
    );
    return row === null ? null : readRevocation(row);
  }

  /** @returns whether there was one. */
  remove(kind: RevocationKind, value: string): boolean {
    return (
      this.#database.run("DELETE FROM revocations WHERE kind = ? AND value = ?", kind, value).changes > 0
    );
  }

  count(): number {
    return countOf(this.#database.get("SELECT count(*) AS count FROM revocations"));
  }

  /** What `prune` would forget, so many at a time; and the same rows by their names. */
  due(nowMs: number): readonly Revocation[] {
    return this.#database
      .all(
        "SELECT * FROM revocations WHERE expires_at_ms < ? ORDER BY expires_at_ms LIMIT ?",
        nowMs - identityLimits.maxAbsenceMs,
        stateLimits.pruneRows,
      )
      .map(readRevocation);
  }

  removeAll(revocations: readonly Revocation[]): void {
    for (const { kind, value, issuerKey } of revocations)
      this.#database.run(
        "DELETE FROM revocations WHERE kind = ? AND value = ? AND issuer_key = ?",
        kind,
        value,
        issuerKey,
      );
  }

  /** Forgets numbers of certificates that ended so long ago that not even a node could renew by them. @returns how many. */
  prune(nowMs: number): number {
    return this.#database.run(
      "DELETE FROM revocations WHERE expires_at_ms < ?",
      nowMs - identityLimits.maxAbsenceMs,
    ).changes;
  }

  #insert(revocation: NewRevocation): number {
    return this.#database.run(
      `INSERT INTO revocations (kind, value, issuer_key, reason, by_whom, by_namespace, at_ms, expires_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
       ON CONFLICT (kind, value, issuer_key) DO UPDATE SET reason = excluded.reason, by_whom = excluded.by_whom, by_namespace = ''
       WHERE excluded.by_namespace = '' AND revocations.by_namespace <> ''`,
      revocation.kind,
      revocation.value,
      revocation.issuerKey ?? "",
      revocation.reason,
      revocation.byWhom,
      revocation.byNamespace ?? "",
      storedMs(revocation.atMs),
      storedMsOrNull(revocation.expiresAtMs ?? null),
    ).changes;
  }
}

function readRevocation(row: SqlRow): Revocation {
  const reader = new RowReader("revocations", row);
  return {
    kind: reader.oneOf("kind", kinds),
    value: reader.text("value"),
    issuerKey: reader.text("issuer_key"),
    reason: reader.text("reason"),
    byWhom: reader.text("by_whom"),
    // A state of an earlier program, read for what must not be forgotten of it, has no such column.
    byNamespace: "by_namespace" in row ? reader.text("by_namespace") : "",
    atMs: reader.integer("at_ms"),
    expiresAtMs: reader.integerOrNull("expires_at_ms"),
  };
}
