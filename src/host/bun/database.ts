/** Databases in files. */
import { Database as Sqlite } from "bun:sqlite";
import {
  chmodSync,
  closeSync,
  fsyncSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";
import { MeshError } from "../../base/errors.ts";
import { stateLimits } from "../../base/limits/control.ts";
import type { Database, DatabaseOptions, Databases } from "../database.ts";
import { systemErrorName } from "../socket_errors.ts";
import { configureSqlite, type SqliteBacking, SqliteDatabase } from "../sqlite_database.ts";
import { failDatabase } from "../sqlite_errors.ts";
import { FileSnapshot } from "./database_snapshot.ts";
import { openFrozen } from "./frozen_database.ts";

/**
 * Bun closes a database that is collected as garbage, and its lock goes with it: what was not closed stays held until the process
 * ends.
 */
const held = new Set<Sqlite>();

export const bunDatabases: Databases = {
  open(path, options) {
    if (options.mode === "frozen") return openFrozen(path, options);
    const isReadOnly = options.mode === "readOnly";
    prepareFile(path, options);
    let sqlite: Sqlite | null = null;
    try {
      sqlite = new Sqlite(path, isReadOnly ? { readonly: true } : { readwrite: true, create: false });
      sqlite.run(`PRAGMA busy_timeout = ${stateLimits.busyTimeoutMs}`);
      if (!isReadOnly) makeDurable(sqlite);
      configureSqlite(sqlite, path, options);
      held.add(sqlite);
      const reserve = new Reserve(`${path}.reserve`, options.reserveBytes ?? 0);
      if (!isReadOnly) reserve.keep();
      return database(sqlite, path, reserve);
    } catch (thrown) {
      sqlite?.close();
      return failDatabase(thrown, path);
    }
  },
};

/** Blocks of the disk that are taken while there are some, so that they can be given up once there are none. */
class Reserve {
  readonly #path: string;
  readonly #bytes: number;

  constructor(path: string, bytes: number) {
    this.#path = path;
    this.#bytes = bytes;
  }

  keep(): boolean {
    if (this.#bytes === 0) return true;
    if (statSync(this.#path, { throwIfNoEntry: false })?.size === this.#bytes) return true;
    const partial = `${this.#path}.partial`;
    try {
      // Written and not only made long: a file with holes keeps no room.
      writeFileSync(partial, new Uint8Array(this.#bytes).fill(0x46), { mode: 0o600, flush: true });
      renameSync(partial, this.#path);
      return true;
    } catch {
      removeIfThere(partial);
      return false;
    }
  }

  giveUp(): boolean {
    if (statSync(this.#path, { throwIfNoEntry: false }) === undefined) return false;
    removeIfThere(this.#path);
    return true;
  }
}

function database(sqlite: Sqlite, path: string, reserve: Reserve): Database {
  const backing: SqliteBacking = {
    path,
    beforeWrite() {},
    snapshot: (source, onRelease) => new FileSnapshot(source, path, onRelease),
    giveUpReserve: () => reserve.giveUp(),
    keepReserve: () => reserve.keep(),
    backup: (source, target, replace) => backUp(source, target, replace),
    close: (source) => {
      held.delete(source);
      source.close(true);
    },
  };
  return new SqliteDatabase(sqlite, backing);
}

/**
 * A commit is in the log and the log on the disk before it returns. The lock is the kernel's and ends with the process; it is taken
 * for good at the first access, so a second process fails at opening rather than at some later write, and no memory is shared
 * (https://www.sqlite.org/wal.html#use_of_wal_without_shared_memory).
 */
function makeDurable(sqlite: Sqlite): void {
  sqlite.run("PRAGMA locking_mode = EXCLUSIVE");
  sqlite.run("PRAGMA journal_mode = WAL");
  sqlite.run("PRAGMA synchronous = FULL");
  sqlite.run(`PRAGMA journal_size_limit = ${stateLimits.maxIdleLogBytes}`);
}

/** SQLite gives its log the mode of the file; the file is here before SQLite is, so no other user ever sees into either. */
function prepareFile(path: string, { mode = "create" }: DatabaseOptions): void {
  try {
    const status = statSync(path, { throwIfNoEntry: false });
    const isAbsent = status === undefined || status.size === 0;
    if (isAbsent && mode !== "create")
      throw new MeshError("database_missing", "local", `${path}: there is no database`);
    if (status !== undefined && !status.isFile())
      throw new MeshError("database_damaged", "local", `${path}: it is no file`);
    if (status === undefined) closeSync(openSync(path, "wx", 0o600));
    if (mode !== "readOnly") chmodSync(path, 0o600);
  } catch (thrown) {
    failFile(thrown, path);
  }
}

function backUp(sqlite: Sqlite, path: string, replace: boolean): void {
  const partial = `${path}.partial`;
  try {
    if (!replace && statSync(path, { throwIfNoEntry: false }) !== undefined)
      throw new MeshError("io", "local", `${path} is there already; it is not overwritten`);
    removeIfThere(partial);
    closeSync(openSync(partial, "wx", 0o600));
    sqlite.prepare("VACUUM INTO ?").run(partial);
    flush(partial);
    renameSync(partial, path);
    flush(dirname(path));
  } catch (thrown) {
    removeIfThere(partial);
    failFile(thrown, path);
  }
}

/** What keeps it from being removed keeps it from being made, too, and is told then. */
function removeIfThere(path: string): void {
  try {
    rmSync(path, { force: true });
  } catch {}
}

function flush(path: string): void {
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}

function failFile(thrown: unknown, path: string): never {
  const name = thrown instanceof MeshError ? null : systemErrorName(thrown);
  if (name === null || name.startsWith("SQLITE_")) return failDatabase(thrown, path);
  const code =
    name === "ENOSPC" || name === "EDQUOT" ? "disk_full" : name === "EROFS" ? "disk_read_only" : "io";
  throw new MeshError(code, "local", `${path}: ${name}`, { cause: thrown });
}
