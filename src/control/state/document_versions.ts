/**
 * The mesh's documents in versions of the whole set. A version says what it changed; the set of any version is what each document
 * was changed to last. Texts are kept once, however many versions hold them.
 */

import { MeshError } from "../../base/errors.ts";
import { stateLimits } from "../../base/limits/control.ts";
import { sha256 } from "../../base/sha256.ts";
import type { Database, SqlRow } from "../../host/database.ts";
import type {
  DocumentChange,
  DocumentSet,
  DocumentVersion,
  NewVersion,
  StoredDocument,
} from "../records/document_versions.ts";
import type { Room } from "./room.ts";
import { countOf, RowReader, storedMs } from "./row_reader.ts";

const actions = ["apply", "delete", "rollback"] as const;

export class DocumentVersions {
  readonly #database: Database;

  readonly #room: Pick<Room, "demand"> | null;

  /** @param room null: for reading. */
  constructor(database: Database, room: Pick<Room, "demand"> | null = null) {
    this.#database = database;
    this.#room = room;
  }

  version(): number {
    const row = this.#database.get("SELECT ifnull(max(version), 0) AS version FROM document_versions");
    return new RowReader("document_versions", row ?? {}).integer("version");
  }

  current(): DocumentSet {
    const version = this.version();
    return { version, documents: this.#documentsAt(version) };
  }

  /** @returns null for a version that never was, or is not kept any more. */
  at(version: number): DocumentSet | null {
    if (version === 0 && this.#oldest() <= 1) return { version, documents: [] };
    return this.get(version) === null ? null : { version, documents: this.#documentsAt(version) };
  }

  get(version: number): DocumentVersion | null {
    const row = this.#database.get("SELECT * FROM document_versions WHERE version = ?", version);
    return row === null ? null : readVersion(row);
  }

  /** The newest first. @param beforeVersion for the next page. */
  history(limit: number, beforeVersion: number = Number.MAX_SAFE_INTEGER): readonly DocumentVersion[] {
    return this.#database
      .all(
        "SELECT * FROM document_versions WHERE version < ? ORDER BY version DESC LIMIT ?",
        beforeVersion,
        Math.min(limit, stateLimits.maxPageRows),
      )
      .map(readVersion);
  }

  /** What a version changed, by key. */
  changesOf(version: number): readonly DocumentChange[] {
    return this.#database
      .all(
        "SELECT c.*, t.text FROM document_changes c LEFT JOIN document_texts t ON t.hash = c.text_hash WHERE c.version = ? ORDER BY c.key",
        version,
      )
      .map((row) => readDocument(row));
  }

  /** Durable with the transaction it is in. @returns the new version. @throws MeshError `configuration` when it is not made of `expected`. */
  apply(changes: readonly DocumentChange[], made: NewVersion, expected: number | null = null): number {
    return this.#database.transaction(() => {
      this.#room?.demand();
      const before = this.version();
      if (expected !== null && expected !== before)
        throw new MeshError(
          "configuration",
          "local",
          `the documents are at version ${before}, not ${expected}`,
        );
      const version = before + 1;
      this.#database.run(
        "INSERT INTO document_versions (version, at_ms, actor, action, detail, changes) VALUES (?, ?, ?, ?, ?, ?)",
        version,
        storedMs(made.atMs),
        made.actor,
        made.action,
        made.detail,
        changes.length,
      );
      for (const change of changes) this.#write(version, change);
      while (this.#oldest() <= version - stateLimits.maxDocumentVersions) this.#forgetOldest();
      this.forgetBytes(stateLimits.maxDocumentTextBytes);
      return version;
    });
  }

  count(): number {
    return countOf(this.#database.get("SELECT count(*) AS count FROM document_versions"));
  }

  #write(version: number, change: DocumentChange): void {
    const hash = change.text === null ? null : sha256(utf8.encode(change.text));
    if (hash !== null)
      this.#database.run(
        "INSERT OR IGNORE INTO document_texts (hash, text) VALUES (?, ?)",
        hash,
        change.text,
      );
    this.#database.run(
      "INSERT INTO document_changes (version, key, namespace, kind, name, source, line, created_ms, text_hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
      version,
      change.key,
      change.namespace,
      change.kind,
      change.name,
      change.source,
      change.line,
      storedMs(change.createdMs),
      hash,
    );
  }

  #documentsAt(version: number): readonly StoredDocument[] {
    return this.#database
      .all(
        "SELECT c.*, t.text FROM document_changes c JOIN document_texts t ON t.hash = c.text_hash WHERE c.version = (SELECT max(version) FROM document_changes WHERE key = c.key AND version <= ?) ORDER BY c.key",
        version,
      )
      .map((row) => {
        const { text, ...rest } = readDocument(row);
        return { ...rest, text: text ?? new RowReader("document_texts", row).text("text") };
      });
  }

  #oldest(): number {
    const row = this.#database.get("SELECT ifnull(min(version), 1) AS version FROM document_versions");
    return new RowReader("document_versions", row ?? {}).integer("version");
  }

  /** Forgets the oldest versions until texts take no more; some always stay, and at most some go at one time. */
  forgetBytes(maxBytes: number): void {
    for (let count = 0; count < versionsPerTurn; count++) {
      const kept = this.version() - this.#oldest() + 1;
      if (kept <= stateLimits.minDocumentVersions || this.textBytes() <= maxBytes) return;
      this.#database.transaction(() => this.#forgetOldest());
    }
  }

  /** Forgets all but the newest versions. @returns how many went; at most some at one time. */
  forgetTo(keep: number): number {
    let count = 0;
    for (; count < versionsPerTurn && this.version() - this.#oldest() + 1 > Math.max(1, keep); count++)
      this.#database.transaction(() => this.#forgetOldest());
    return count;
  }

  textBytes(): number {
    const row = this.#database.get("SELECT bytes FROM usage WHERE what = 'documents'");
    return row === null ? 0 : new RowReader("usage", row).integer("bytes");
  }

  /** Makes the oldest version a part of the next: what it left in force stays, what the next has replaced goes. */
  #forgetOldest(): void {
    const oldest = this.#oldest();
    const replaced =
      "version <= ? AND key IN (SELECT key FROM document_changes WHERE version = ?) AND version < ?";
    const values = [oldest, oldest + 1, oldest + 1];
    const hashes = this.#database
      .all(`SELECT DISTINCT text_hash FROM document_changes WHERE ${replaced}`, ...values)
      .map((row) => row.text_hash);
    this.#database.run(`DELETE FROM document_changes WHERE ${replaced}`, ...values);
    this.#database.run("DELETE FROM document_changes WHERE version = ? AND text_hash IS NULL", oldest);
    this.#database.run("DELETE FROM document_versions WHERE version = ?", oldest);
    for (const hash of hashes)
      if (hash instanceof Uint8Array)
        this.#database.run(
          "DELETE FROM document_texts WHERE hash = ? AND NOT EXISTS (SELECT 1 FROM document_changes WHERE text_hash = ?)",
          hash,
          hash,
        );
  }
}

/** Versions that are forgotten in one turn. */
const versionsPerTurn = 8;
const utf8 = new TextEncoder();

function readVersion(row: SqlRow): DocumentVersion {
  const reader = new RowReader("document_versions", row);
  return {
    version: reader.integer("version"),
    atMs: reader.integer("at_ms"),
    actor: reader.text("actor"),
    action: reader.oneOf("action", actions),
    detail: reader.text("detail"),
    changes: reader.integer("changes"),
  };
}

function readDocument(row: SqlRow): DocumentChange {
  const reader = new RowReader("document_changes", row);
  return {
    key: reader.text("key"),
    namespace: reader.text("namespace"),
    kind: reader.text("kind"),
    name: reader.text("name"),
    text: reader.textOrNull("text"),
    source: reader.text("source"),
    line: reader.integer("line"),
    createdMs: reader.integer("created_ms"),
  };
}
