/**
 * The oldest version becomes a part of the next: what it left in force stays, what the next has replaced goes. The version is not there
 * any more from the beginning; its rows go in pieces, and a restart goes on where this one was.
 */
import { stateLimits } from "../../base/limits/control.ts";
import type { Database } from "../../host/database.ts";
import { RowReader } from "./row_reader.ts";
import { dropText } from "./version_staging.ts";

export class VersionForgetting {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** @param version the oldest one. None may be under way. */
  begin(version: number): void {
    this.#database.transaction(() => {
      this.#database.run(
        "INSERT INTO document_forgetting (one, version, step, key) VALUES (1, ?, 'replaced', '')",
        version,
      );
      this.#database.run("DELETE FROM document_versions WHERE version = ?", version);
    });
  }

  /** @returns whether there was something to do. */
  step(): boolean {
    const row = this.#database.get("SELECT * FROM document_forgetting");
    if (row === null) return false;
    const reader = new RowReader("document_forgetting", row);
    const version = reader.integer("version");
    const after = reader.text("key");
    this.#database.transaction(() => {
      const last =
        reader.oneOf("step", ["replaced", "removed"]) === "replaced"
          ? this.#dropReplaced(version, after)
          : this.#dropRemoved(version, after);
      if (last !== null) this.#database.run("UPDATE document_forgetting SET key = ?", last);
      else if (reader.text("step") === "replaced")
        this.#database.run("UPDATE document_forgetting SET step = 'removed', key = ''");
      else this.#database.run("DELETE FROM document_forgetting");
    });
    return true;
  }

  /** What the next version changed, as it was before. @returns the last key that was looked at; null at the end. */
  #dropReplaced(version: number, after: string): string | null {
    const keys = this.#keys(version + 1, after, stateLimits.documentRowsPerWrite);
    for (const key of keys)
      for (const old of this.#database.all(
        "SELECT version, text_hash FROM document_changes WHERE key = ? AND version <= ?",
        key,
        version,
      )) {
        const of = new RowReader("document_changes", old).integer("version");
        this.#database.run("DELETE FROM document_changes WHERE key = ? AND version = ?", key, of);
        dropText(this.#database, old.text_hash);
      }
    return keys.at(-1) ?? null;
  }

  /** That a document was removed need not be known where nothing is known of it before. */
  #dropRemoved(version: number, after: string): string | null {
    const keys = this.#keys(version, after, stateLimits.maxPageRows);
    const last = keys.at(-1);
    if (last === undefined) return null;
    this.#database.run(
      "DELETE FROM document_changes WHERE version = ? AND key > ? AND key <= ? AND text_hash IS NULL",
      version,
      after,
      last,
    );
    return last;
  }

  #keys(version: number, after: string, limit: number): readonly string[] {
    return this.#database
      .all(
        "SELECT key FROM document_changes WHERE version = ? AND key > ? ORDER BY key LIMIT ?",
        version,
        after,
        limit,
      )
      .map((row) => new RowReader("document_changes", row).text("key"));
  }
}
