/** The version of the documents that is being written in pieces, if there is one. Its changes are rows like any others, of a version that is not there yet. */
import { stateLimits } from "../../base/limits/control.ts";
import type { Database } from "../../host/database.ts";
import type { NewVersion, StagedVersion } from "../records/document_versions.ts";
import { RowReader, storedMs } from "./row_reader.ts";

export class VersionStaging {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  current(): StagedVersion | null {
    const row = this.#database.get("SELECT * FROM document_staging");
    if (row === null) return null;
    const reader = new RowReader("document_staging", row);
    return {
      version: reader.integer("version"),
      atMs: reader.integer("at_ms"),
      actor: reader.text("actor"),
      action: reader.oneOf("action", ["apply", "delete", "rollback"]),
      detail: reader.text("detail"),
      forced: reader.integer("forced") === 1,
      isPublished: reader.integer("published") === 1,
      auditedKey: reader.text("audited_key"),
    };
  }

  begin(version: number, made: NewVersion & { readonly forced: boolean }): void {
    this.#database.run(
      "INSERT INTO document_staging (one, version, at_ms, actor, action, detail, forced, published, audited_key) VALUES (1, ?, ?, ?, ?, ?, ?, 0, '')",
      version,
      storedMs(made.atMs),
      made.actor,
      made.action,
      made.detail,
      made.forced ? 1 : 0,
    );
  }

  publish(): void {
    this.#database.run("UPDATE document_staging SET published = 1");
  }

  /** The audit log has a row of every document up to this one. @param key null: of all. */
  audited(key: string | null): void {
    if (key === null) this.#database.run("DELETE FROM document_staging");
    else this.#database.run("UPDATE document_staging SET audited_key = ?", key);
  }

  /** Takes a piece of what was never published away. @returns whether there is more of it. */
  discard(): boolean {
    const staged = this.current();
    if (staged === null || staged.isPublished) return false;
    return this.#database.transaction(() => {
      const rows = this.#database.all(
        "SELECT key, text_hash FROM document_changes WHERE version = ? ORDER BY key LIMIT ?",
        staged.version,
        stateLimits.documentRowsPerWrite,
      );
      for (const row of rows) {
        const key = new RowReader("document_changes", row).text("key");
        this.#database.run("DELETE FROM document_changes WHERE version = ? AND key = ?", staged.version, key);
        dropText(this.#database, row.text_hash);
      }
      if (rows.length === 0) this.#database.run("DELETE FROM document_staging");
      return rows.length > 0;
    });
  }
}

/** A text that no change refers to any more goes. */
export function dropText(database: Database, hash: unknown): void {
  if (!(hash instanceof Uint8Array)) return;
  database.run(
    "DELETE FROM document_texts WHERE hash = ? AND NOT EXISTS (SELECT 1 FROM document_changes WHERE text_hash = ?)",
    hash,
    hash,
  );
}
