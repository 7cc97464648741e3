/** What was issued: serial numbers, for whom, at whose request. Revocation needs to know which are still good. */

import { stateLimits } from "../../base/limits/control.ts";
import type { Database, SqlRow, SqlValue } from "../../host/database.ts";
import type { CertificateQuery, IssuedCertificate } from "../records/certificates.ts";
import { countOf, RowReader, storedMs } from "./row_reader.ts";

export class Certificates {
  readonly #database: Database;
  /** Null before the first one of this process. */
  #newestMs: number | null = null;

  constructor(database: Database) {
    this.#database = database;
  }

  /**
   * What is issued later is the newer, also in the same millisecond, and after a clock was set back: who still lacks a leaf of the new CA
   * goes by that, and would be waited for until the old leaf's end, or until the clock has come as far again.
   */
  record(issued: IssuedCertificate): void {
    this.#newestMs ??= countOf(
      this.#database.get("SELECT ifnull(max(issued_at_ms), 0) AS count FROM certificates"),
    );
    const atMs = storedMs(issued.issuedAtMs);
    const issuedAtMs = atMs <= this.#newestMs ? this.#newestMs + 1 : atMs;
    this.#newestMs = issuedAtMs;
    this.#database.run(
      "INSERT INTO certificates (serial, issuer_key, identity, not_before_ms, not_after_ms, requested_by, issued_at_ms) VALUES (?, ?, ?, ?, ?, ?, ?)",
      issued.serial,
      issued.issuerKey,
      issued.identity,
      storedMs(issued.notBeforeMs),
      storedMs(issued.notAfterMs),
      issued.requestedBy,
      issuedAtMs,
    );
  }

  /** All that `work` records, by one durable write, or nothing of it when it throws. */
  atOnce(work: () => void): void {
    this.#database.transaction(work);
  }

  /** The newest first. */
  byIdentity(uri: string): readonly IssuedCertificate[] {
    return this.list({ identity: uri });
  }

  /** A serial number is unique for its issuer; without one, the newest of that number. */
  bySerial(serial: string, issuerKey?: string): IssuedCertificate | null {
    const row =
      issuerKey === undefined
        ? this.#database.get(
            "SELECT * FROM certificates WHERE serial = ? ORDER BY issued_at_ms DESC LIMIT 1",
            serial,
          )
        : this.#database.get(
            "SELECT * FROM certificates WHERE serial = ? AND issuer_key = ?",
            serial,
            issuerKey,
          );
    return row === null ? null : readCertificate(row);
  }

  /** How many of a requester's have not expired at this time. */
  countValid(requestedBy: string, validAtMs: number): number {
    return countOf(
      this.#database.get(
        "SELECT count(*) AS count FROM certificates WHERE requested_by = ? AND not_after_ms > ?",
        requestedBy,
        storedMs(validAtMs),
      ),
    );
  }

  /** The newest first. */
  list(query: CertificateQuery): readonly IssuedCertificate[] {
    const conditions: string[] = [];
    const values: SqlValue[] = [];
    const where = (condition: string, ...given: readonly (SqlValue | undefined)[]) => {
      const known = given.filter((value) => value !== undefined);
      if (known.length === 0) return;
      conditions.push(condition);
      values.push(...known);
    };
    where("identity = ?", query.identity);
    where("requested_by = ?", query.requestedBy);
    where("issuer_key = ?", query.issuerKey);
    where("not_after_ms > ?", query.validAtMs);
    where("(issued_at_ms, serial) < (?, ?)", query.after?.issuedAtMs, query.after?.serial);
    const filter = conditions.length === 0 ? "" : `WHERE ${conditions.join(" AND ")} `;
    const limit = Math.min(query.limit ?? stateLimits.maxPageRows, stateLimits.maxPageRows);
    return this.#database
      .all(
        `SELECT * FROM certificates ${filter}ORDER BY issued_at_ms DESC, serial DESC LIMIT ?`,
        ...values,
        limit,
      )
      .map(readCertificate);
  }

  /** Every one that fits, page by page. */
  *all(query: Omit<CertificateQuery, "limit" | "after">): Generator<IssuedCertificate> {
    let page = this.list(query);
    for (;;) {
      yield* page;
      const last = page.at(-1);
      if (last === undefined || page.length < stateLimits.maxPageRows) return;
      page = this.list({ ...query, after: last });
    }
  }

  /** What `prune` would forget, and the same rows by their names. */
  due(nowMs: number, retentionMs: number = stateLimits.certificateRetentionMs): readonly IssuedCertificate[] {
    return this.#database
      .all(
        "SELECT * FROM certificates WHERE not_after_ms < ? ORDER BY not_after_ms LIMIT ?",
        nowMs - retentionMs,
        stateLimits.pruneRows,
      )
      .map(readCertificate);
  }

  removeAll(certificates: readonly IssuedCertificate[]): void {
    for (const { serial, issuerKey } of certificates)
      this.#database.run("DELETE FROM certificates WHERE serial = ? AND issuer_key = ?", serial, issuerKey);
  }

  /** Forgets those that ended long ago, `stateLimits.pruneRows` at a time. @returns how many; call again while it is that many. */
  prune(nowMs: number, retentionMs: number = stateLimits.certificateRetentionMs): number {
    return this.#database.run(
      "DELETE FROM certificates WHERE rowid IN (SELECT rowid FROM certificates WHERE not_after_ms < ? LIMIT ?)",
      nowMs - retentionMs,
      stateLimits.pruneRows,
    ).changes;
  }
}

function readCertificate(row: SqlRow): IssuedCertificate {
  const reader = new RowReader("certificates", row);
  return {
    serial: reader.text("serial"),
    identity: reader.text("identity"),
    issuerKey: reader.text("issuer_key"),
    notBeforeMs: reader.integer("not_before_ms"),
    notAfterMs: reader.integer("not_after_ms"),
    requestedBy: reader.text("requested_by"),
    issuedAtMs: reader.integer("issued_at_ms"),
  };
}
