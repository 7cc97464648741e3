/**
 * The mesh's documents in versions of the whole set. A version says what it changed; the set of any version is what each document
 * was changed to last. Texts are kept once, however many versions hold them.
 */

import { MeshError } from "../../base/errors.ts";
import { stateLimits } from "../../base/limits/control.ts";
import { sha256 } from "../../base/sha256.ts";
import { runSteps } from "../../base/turns/time_slice.ts";
import type { Database, SqlRow } from "../../host/database.ts";
import type {
  ChangedName,
  DocumentChange,
  DocumentSet,
  DocumentVersion,
  NewVersion,
  RecordedChange,
  StoredDocument,
} from "../records/document_versions.ts";
import type { Room } from "./room.ts";
import { countOf, RowReader, storedMs } from "./row_reader.ts";
import { VersionForgetting } from "./version_forgetting.ts";
import { VersionStaging } from "./version_staging.ts";

const actions = ["apply", "delete", "rollback"] as const;

export class DocumentVersions {
  readonly #database: Database;

  readonly #room: Pick<Room, "demand"> | null;
  /** The version that is being written in pieces. */
  readonly staging: VersionStaging;
  readonly #forgetting: VersionForgetting;

  /** @param room null: for reading. */
  constructor(database: Database, room: Pick<Room, "demand"> | null = null) {
    this.#database = database;
    this.#room = room;
    this.staging = new VersionStaging(database);
    this.#forgetting = new VersionForgetting(database);
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

  /** The same in steps. */
  *atInSteps(version: number): Generator<void, DocumentSet | null> {
    const isThere = (): boolean => this.get(version) !== null || (version === 0 && this.#oldest() <= 1);
    if (!isThere()) return null;
    const documents = version === 0 ? [] : yield* this.#documentsInSteps(version);
    return isThere() ? { version, documents } : null;
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

  /** What a version changed, by key, without the texts; a page of it. */
  namesChanged(version: number, afterKey: string, limit: number): readonly ChangedName[] {
    return this.#database
      .all(
        "SELECT key, namespace, kind, name, text_hash IS NULL AS gone FROM document_changes WHERE version = ? AND key > ? ORDER BY key LIMIT ?",
        version,
        afterKey,
        Math.min(limit, stateLimits.maxPageRows),
      )
      .map((row) => {
        const reader = new RowReader("document_changes", row);
        return {
          key: reader.text("key"),
          namespace: reader.text("namespace"),
          kind: reader.text("kind"),
          name: reader.text("name"),
          isRemoved: reader.integer("gone") === 1,
        };
      });
  }

  /** What a version changed, with what was there before; a page of it, by key. */
  recordedChanges(version: number, afterKey: string, limit: number): readonly RecordedChange[] {
    return this.#database
      .all(
        "SELECT c.*, t.text, (SELECT b.text FROM document_changes p JOIN document_texts b ON b.hash = p.text_hash WHERE p.key = c.key AND p.version = (SELECT max(version) FROM document_changes WHERE key = c.key AND version < c.version)) AS before FROM document_changes c LEFT JOIN document_texts t ON t.hash = c.text_hash WHERE c.version = ? AND c.key > ? ORDER BY c.key LIMIT ?",
        version,
        afterKey,
        limit,
      )
      .map((row) => ({
        change: readDocument(row),
        before: new RowReader("document_changes", row).textOrNull("before"),
      }));
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
      checkExpected(before, expected);
      // What was begun and never published: its numbers are those of this one.
      while (this.staging.discard());
      const version = before + 1;
      this.#insertVersion(version, made, changes.length);
      for (const change of changes) this.#write(version, change);
      return version;
    });
  }

  /** A version whose changes are added in pieces. @returns its number, which none is of until it is published. @throws MeshError as `apply`. */
  begin(made: NewVersion & { readonly forced: boolean }, expected: number): number {
    return this.#database.transaction(() => {
      this.#room?.demand();
      const before = this.version();
      checkExpected(before, expected);
      while (this.staging.discard());
      this.staging.begin(before + 1, made);
      return before + 1;
    });
  }

  /** Durable when it returns, and not in force. */
  stage(version: number, changes: readonly DocumentChange[]): void {
    this.#database.transaction(() => {
      this.#room?.demand();
      for (const change of changes) this.#write(version, change);
    });
  }

  /** From here on it is the newest version. */
  publish(made: NewVersion, expected: number, changes: number): number {
    return this.#database.transaction(() => {
      this.#room?.demand();
      checkExpected(this.version(), expected);
      this.#insertVersion(expected + 1, made, changes);
      this.staging.publish();
      return expected + 1;
    });
  }

  count(): number {
    return countOf(this.#database.get("SELECT count(*) AS count FROM document_versions"));
  }

  #insertVersion(version: number, made: NewVersion, changes: number): void {
    this.#database.run(
      "INSERT INTO document_versions (version, at_ms, actor, action, detail, changes) VALUES (?, ?, ?, ?, ?, ?)",
      version,
      storedMs(made.atMs),
      made.actor,
      made.action,
      made.detail,
      changes,
    );
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
    return runSteps(this.#documentsInSteps(version));
  }

  /** A document whose version is forgotten meanwhile is missing: whoever reads looks whether the version is still kept. */
  *#documentsInSteps(version: number): Generator<void, readonly StoredDocument[]> {
    const documents: StoredDocument[] = [];
    for (let after = ""; ; ) {
      const page = this.#database.all(
        "SELECT c.*, t.text FROM document_changes c JOIN document_texts t ON t.hash = c.text_hash WHERE c.key > ? AND c.version = (SELECT max(version) FROM document_changes WHERE key = c.key AND version <= ?) ORDER BY c.key LIMIT ?",
        after,
        version,
        rowsPerStep,
      );
      for (const row of page) {
        const { text, ...rest } = readDocument(row);
        documents.push({ ...rest, text: text ?? new RowReader("document_texts", row).text("text") });
      }
      if (page.length < rowsPerStep) return documents;
      after = documents.at(-1)?.key ?? "";
      yield;
    }
  }

  #oldest(): number {
    const row = this.#database.get("SELECT ifnull(min(version), 1) AS version FROM document_versions");
    return new RowReader("document_versions", row ?? {}).integer("version");
  }

  /**
   * Forgets old versions in steps, each a short transaction: those beyond `maxVersions`, and the oldest while texts take more than
   * `maxBytes`, of which some always stay.
   */
  *forgetInSteps({
    maxVersions = stateLimits.maxDocumentVersions,
    maxBytes = stateLimits.maxDocumentTextBytes,
  }: {
    readonly maxVersions?: number;
    readonly maxBytes?: number;
  } = {}): Generator<void> {
    for (;;) {
      while (this.#forgetting.step()) yield;
      const oldest = this.#oldest();
      const kept = this.version() - oldest + 1;
      const isLarge = kept > stateLimits.minDocumentVersions && this.textBytes() > maxBytes;
      if (kept <= Math.max(1, maxVersions) && !isLarge) return;
      this.#forgetting.begin(oldest);
      yield;
    }
  }

  textBytes(): number {
    const row = this.#database.get("SELECT bytes FROM usage WHERE what = 'documents'");
    return row === null ? 0 : new RowReader("usage", row).integer("bytes");
  }
}

/** Rows that are read in one step: of documents with a thousand versions each that looks at fifty thousand, some 25 ms. */
const rowsPerStep = 50;
const utf8 = new TextEncoder();

function checkExpected(found: number, expected: number | null): void {
  if (expected === null || expected === found) return;
  throw new MeshError("configuration", "local", `the documents are at version ${found}, not ${expected}`);
}

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
