/** A database on a file system that cannot be written: what was committed is read, and nothing else is possible. */
import { Database as Sqlite } from "bun:sqlite";
import { readFileSync, statSync } from "node:fs";
import { MeshError } from "../../base/errors.ts";
import { stateLimits } from "../../base/limits/control.ts";
import type { Database, DatabaseOptions } from "../database.ts";
import { configureSqlite, SqliteDatabase } from "../sqlite_database.ts";
import { failDatabase } from "../sqlite_errors.ts";
import { imageWithLog } from "../wal_image.ts";

/**
 * After an orderly end the file is all there is, and is read where it is. After another one its log has what was committed last, revocations
 * say, which SQLite cannot read without writing: both are then read into memory.
 *
 * @throws MeshError, blame local: `database_damaged`; `limit_reached` for one that is too large to be held in memory.
 */
export function openFrozen(path: string, options: DatabaseOptions): Database {
  let sqlite: Sqlite | null = null;
  try {
    const walBytes = statSync(`${path}-wal`, { throwIfNoEntry: false })?.size ?? 0;
    sqlite = walBytes === 0 ? new Sqlite(immutableUri(path), readOnlyUri) : intoMemory(path, walBytes);
    configureSqlite(sqlite, path, { ...options, mode: "readOnly" });
    return frozen(sqlite, path);
  } catch (thrown) {
    sqlite?.close();
    return failDatabase(thrown, path);
  }
}

/** SQLITE_OPEN_READONLY and SQLITE_OPEN_URI. */
const readOnlyUri = 0x01 | 0x40;

/** Without locks or a log of its own, neither of which could be made (https://www.sqlite.org/uri.html#uriimmutable). */
function immutableUri(path: string): string {
  return `file:${encodeURI(path).replaceAll("?", "%3f").replaceAll("#", "%23")}?mode=ro&immutable=1`;
}

function intoMemory(path: string, walBytes: number): Sqlite {
  const bytes = statSync(path).size + walBytes;
  if (bytes > stateLimits.maxFrozenBytes)
    throw new MeshError(
      "limit_reached",
      "local",
      `${path}: its file system cannot be written, and ${bytes} bytes are too many to be read into memory (${stateLimits.maxFrozenBytes})`,
    );
  return Sqlite.deserialize(imageWithLog(readFileSync(path), readFileSync(`${path}-wal`)), true);
}

function frozen(sqlite: Sqlite, path: string): Database {
  const refuse = (): never => {
    throw new MeshError(
      "disk_read_only",
      "local",
      `${path}: the file system is read-only; changes are refused`,
    );
  };
  return new SqliteDatabase(sqlite, {
    path,
    beforeWrite: refuse,
    beforeTransaction: refuse,
    backup: refuse,
    snapshot: refuse,
    giveUpReserve: () => false,
    keepReserve: () => false,
    close: (source) => source.close(true),
  });
}
