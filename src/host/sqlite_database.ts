/** SQLite as `bun:sqlite` has it, behind `Database`. Both hosts use it: on a file, and in memory. */
import type { Database as Sqlite, Statement } from "bun:sqlite";
import { assert } from "../base/assert.ts";
import { MeshError } from "../base/errors.ts";
import { stateLimits } from "../base/limits/control.ts";
import type { Database, DatabaseOptions, DatabaseSnapshot, SqlRow, SqlValue } from "./database.ts";
import { failDatabase } from "./sqlite_errors.ts";

/** What differs between a file and memory. */
export interface SqliteBacking {
  readonly path: string;
  /** May throw in place of a write. */
  beforeWrite(): void;
  /** The same before a transaction begins. */
  beforeTransaction?(): void;
  backup(sqlite: Sqlite, path: string, replace: boolean): void;
  close(sqlite: Sqlite): void;
  snapshot(sqlite: Sqlite, onRelease: () => void): DatabaseSnapshot;
  giveUpReserve(): boolean;
  keepReserve(): boolean;
}

export class SqliteDatabase implements Database {
  readonly #sqlite: Sqlite;
  readonly #backing: SqliteBacking;
  readonly #statements = new Map<string, Statement<unknown, SqlValue[]>>();
  #snapshot: DatabaseSnapshot | null = null;
  #depth = 0;
  #closed = false;

  constructor(sqlite: Sqlite, backing: SqliteBacking) {
    this.#sqlite = sqlite;
    this.#backing = backing;
  }

  run(sql: string, ...values: readonly SqlValue[]): { readonly changes: number } {
    return this.#guard(() => {
      this.#backing.beforeWrite();
      return { changes: this.#prepare(sql).run(...values).changes };
    });
  }

  all(sql: string, ...values: readonly SqlValue[]): readonly SqlRow[] {
    return this.#guard(() =>
      this.#prepare(sql)
        .all(...values)
        .map(asRow),
    );
  }

  get(sql: string, ...values: readonly SqlValue[]): SqlRow | null {
    return this.#guard(() => {
      const row = this.#prepare(sql).get(...values);
      return row === null || row === undefined ? null : asRow(row);
    });
  }

  script(sql: string): void {
    this.#guard(() => {
      this.#backing.beforeWrite();
      this.#sqlite.run(sql);
    });
  }

  transaction<T>(work: () => T): T {
    const isOuter = this.#depth === 0;
    this.#backing.beforeTransaction?.();
    const savepoint = `depth_${this.#depth}`;
    // IMMEDIATE: the right to write is had at the start, or not at all.
    this.#execute(isOuter ? "BEGIN IMMEDIATE" : `SAVEPOINT ${savepoint}`);
    this.#depth++;
    let result: T;
    try {
      result = work();
      assert(!(result instanceof Promise), "a transaction does not wait: what it runs is synchronous");
    } catch (thrown) {
      this.#depth--;
      this.#undo(isOuter, savepoint);
      throw thrown;
    }
    this.#depth--;
    try {
      this.#execute(isOuter ? "COMMIT" : `RELEASE ${savepoint}`);
    } catch (thrown) {
      this.#undo(isOuter, savepoint);
      throw thrown;
    }
    return result;
  }

  check(): readonly string[] {
    const rows = [...this.all("PRAGMA integrity_check(100)"), ...this.all("PRAGMA foreign_key_check")];
    return rows.map((row) => Object.values(row).join(" ")).filter((line) => line !== "ok");
  }

  backup(path: string, { replace = false }: { readonly replace?: boolean } = {}): void {
    this.#guard(() => {
      assert(this.#depth === 0, "a backup within a transaction would hold what is not committed");
      this.#backing.backup(this.#sqlite, path, replace);
    });
  }

  snapshot(): DatabaseSnapshot {
    return this.#guard(() => {
      assert(this.#depth === 0, "a copy within a transaction would hold what is not committed");
      if (this.#snapshot !== null)
        throw new MeshError("limit_reached", "local", "a copy of the state is being read; wait for its end");
      this.#snapshot = this.#backing.snapshot(this.#sqlite, () => {
        this.#snapshot = null;
      });
      return this.#snapshot;
    });
  }

  giveUpReserve(): boolean {
    return this.#backing.giveUpReserve();
  }

  keepReserve(): boolean {
    return this.#backing.keepReserve();
  }

  close(): void {
    if (this.#closed) return;
    assert(this.#depth === 0, "the database is closed within a transaction");
    this.#snapshot?.release();
    this.#closed = true;
    for (const statement of this.#statements.values()) statement.finalize();
    this.#statements.clear();
    try {
      this.#backing.close(this.#sqlite);
    } catch (thrown) {
      failDatabase(thrown, this.#backing.path);
    }
  }

  /** SQLite has undone a transaction by itself after some errors (disk full, I/O); then there is nothing left to undo. */
  #undo(isOuter: boolean, savepoint: string): void {
    if (!this.#sqlite.inTransaction) return;
    this.#execute(isOuter ? "ROLLBACK" : `ROLLBACK TO ${savepoint}; RELEASE ${savepoint}`);
  }

  #execute(sql: string): void {
    this.#guard(() => void this.#sqlite.run(sql));
  }

  #prepare(sql: string): Statement<unknown, SqlValue[]> {
    const known = this.#statements.get(sql);
    if (known !== undefined) return known;
    assert(
      this.#statements.size < stateLimits.maxStatements,
      "statements are made of values; bind the values instead",
    );
    const statement = this.#sqlite.prepare<unknown, SqlValue[]>(sql);
    this.#statements.set(sql, statement);
    return statement;
  }

  #guard<T>(act: () => T): T {
    assert(!this.#closed, `${this.#backing.path} is closed`);
    try {
      return act();
    } catch (thrown) {
      return failDatabase(thrown, this.#backing.path);
    }
  }
}

/** What every connection is set to, before anything else is read. @throws what SQLite throws, or MeshError. */
export function configureSqlite(sqlite: Sqlite, path: string, options: DatabaseOptions): void {
  sqlite.run("PRAGMA foreign_keys = ON");
  sqlite.run("PRAGMA trusted_schema = OFF");
  sqlite.run("PRAGMA cell_size_check = ON");
  // Deleted keys and token hashes are overwritten, not left in free pages.
  sqlite.run("PRAGMA secure_delete = ON");
  if (options.maxBytes !== undefined) {
    const pageBytes = numberOf(sqlite, "PRAGMA page_size");
    sqlite.run(`PRAGMA max_page_count = ${Math.max(1, Math.floor(options.maxBytes / pageBytes))}`);
  }
  checkOwner(sqlite, path, options);
  checkPages(sqlite, path);
}

function checkOwner(sqlite: Sqlite, path: string, { applicationId, mode }: DatabaseOptions): void {
  const found = numberOf(sqlite, "PRAGMA application_id");
  if (found === applicationId) return;
  // Killed right after it was made, a database has a first page and nothing on it.
  const isNew = found === 0 && numberOf(sqlite, "SELECT count(*) FROM sqlite_schema") === 0;
  if (!isNew || mode === "readOnly")
    throw new MeshError("database_damaged", "local", `${path}: it is a database of some other program`);
  sqlite.run(`PRAGMA application_id = ${applicationId}`);
}

/** Of a large database the pages are read when they are needed, and `Database.check` reads them all. */
function checkPages(sqlite: Sqlite, path: string): void {
  const bytes = numberOf(sqlite, "PRAGMA page_count") * numberOf(sqlite, "PRAGMA page_size");
  if (bytes > stateLimits.maxQuickCheckBytes) return;
  const [first] = sqlite.query<Record<string, unknown>, []>("PRAGMA quick_check(1)").values();
  const words = String(first?.[0]);
  if (words !== "ok") throw new MeshError("database_damaged", "local", `${path}: it is damaged: ${words}`);
}

function numberOf(sqlite: Sqlite, sql: string): number {
  const value = sqlite.prepare(sql).values()[0]?.[0];
  assert(typeof value === "number", `${sql} gives no number`);
  return value;
}

function asRow(row: unknown): SqlRow {
  assert(typeof row === "object" && row !== null, "a row is an object");
  return row as SqlRow;
}
