/** Whom the mesh's trust was taken from. */
import { MeshError } from "../../base/errors.ts";
import { identityLimits, stateLimits } from "../../base/limits/control.ts";
import type { Database, SqlRow } from "../../host/database.ts";
import { countOf, RowReader, storedMs, storedMsOrNull } from "./row_reader.ts";

export type RevocationKind = "serial" | "identity" | "node";

export interface Revocation {
  readonly kind: RevocationKind;
  /** Serial number in hexadecimal, SPIFFE URI, or the node's name. */
  readonly value: string;
  /** Of a serial number: the issuer's `Certificate.authorityKey`; "" otherwise. */
  readonly issuerKey: string;
  readonly reason: string;
  readonly byWhom: string;
  readonly atMs: number;
  /** Of a serial number: when the certificate ends, after which the revocation can be forgotten. Null: never. */
  readonly expiresAtMs: number | null;
}

export type NewRevocation = Omit<Revocation, "issuerKey" | "expiresAtMs"> &
  Partial<Pick<Revocation, "issuerKey" | "expiresAtMs">>;

export class Revocations {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** The first one is the one that is remembered. @returns whether it is new. @throws MeshError `limit_reached`. */
  add(revocation: NewRevocation): boolean {
    return this.addAll([revocation]) > 0;
  }

  /** All of them or none, with one write to the disk. @returns how many are new. @throws MeshError `limit_reached`. */
  addAll(revocations: Iterable<NewRevocation>): number {
    return this.#database.transaction(() => {
      let added = 0;
      for (const revocation of revocations) added += this.#insert(revocation);
      if (added > 0 && this.count() > stateLimits.maxRevocations)
        throw new MeshError("limit_reached", "local", `there are ${stateLimits.maxRevocations} revocations`);
      return added;
    });
  }

  /** In the order they were made. */
  list(kind?: RevocationKind): readonly Revocation[] {
    const rows =
      kind === undefined
        ? this.#database.all("SELECT * FROM revocations ORDER BY at_ms, rowid")
        : this.#database.all("SELECT * FROM revocations WHERE kind = ? ORDER BY at_ms, rowid", kind);
    return rows.map(readRevocation);
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

  /** Forgets numbers of certificates that ended so long ago that not even a node could renew by them. @returns how many. */
  prune(nowMs: number): number {
    return this.#database.run(
      "DELETE FROM revocations WHERE expires_at_ms < ?",
      nowMs - identityLimits.maxAbsenceMs,
    ).changes;
  }

  #insert(revocation: NewRevocation): number {
    return this.#database.run(
      "INSERT OR IGNORE INTO revocations (kind, value, issuer_key, reason, by_whom, at_ms, expires_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
      revocation.kind,
      revocation.value,
      revocation.issuerKey ?? "",
      revocation.reason,
      revocation.byWhom,
      storedMs(revocation.atMs),
      storedMsOrNull(revocation.expiresAtMs ?? null),
    ).changes;
  }
}

function readRevocation(row: SqlRow): Revocation {
  const reader = new RowReader("revocations", row);
  return {
    kind: reader.oneOf("kind", ["serial", "identity", "node"]),
    value: reader.text("value"),
    issuerKey: reader.text("issuer_key"),
    reason: reader.text("reason"),
    byWhom: reader.text("by_whom"),
    atMs: reader.integer("at_ms"),
    expiresAtMs: reader.integerOrNull("expires_at_ms"),
  };
}
