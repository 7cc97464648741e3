/**
 * Databases of a simulated machine. What was committed outlives the process, as on a disk; the file that others see is the image
 * of the last close. Damage is done by writing something else over that file.
 */
import { Database as Sqlite } from "bun:sqlite";
import { MeshError } from "../../base/errors.ts";
import type { Database, DatabaseOptions, Databases } from "../database.ts";
import { configureSqlite, type SqliteBacking, SqliteDatabase } from "../sqlite_database.ts";
import { failDatabase } from "../sqlite_errors.ts";
import type { MemoryDisk } from "./files.ts";

/** The process that has it open; one that has ended holds nothing any more. */
export interface DatabaseHolder {
  readonly ended: boolean;
}

interface LiveDatabase {
  readonly sqlite: Sqlite;
  /** As it was written to the disk last. */
  image: Uint8Array;
  holder: DatabaseHolder | null;
}

const liveDatabases = new WeakMap<MemoryDisk, Map<string, LiveDatabase>>();

export class MemoryDatabases implements Databases {
  readonly #disk: MemoryDisk;
  readonly #holder: DatabaseHolder;

  constructor(disk: MemoryDisk, holder: DatabaseHolder) {
    this.#disk = disk;
    this.#holder = holder;
  }

  open(path: string, options: DatabaseOptions): Database {
    const live = this.#live(path, options);
    if (live.holder !== null && !live.holder.ended)
      throw new MeshError("database_locked", "local", `${path}: another process has it open`);
    try {
      // Of a process that was killed within a transaction.
      if (live.sqlite.inTransaction) live.sqlite.run("ROLLBACK");
      configureSqlite(live.sqlite, path, options);
    } catch (thrown) {
      return failDatabase(thrown, path);
    }
    live.holder = this.#holder;
    this.#save(path, live);
    return new SqliteDatabase(live.sqlite, this.#backing(path, live, options));
  }

  #backing(path: string, live: LiveDatabase, { mode }: DatabaseOptions): SqliteBacking {
    return {
      path,
      beforeWrite: () => {
        if (this.#holder.ended) throw new MeshError("io", "local", `${path}: the process has ended`);
        if (mode === "readOnly" || mode === "frozen")
          throw new MeshError("disk_read_only", "local", `${path}: it is open for reading alone`);
        if (this.#disk.full) throw new MeshError("disk_full", "local", `${path}: there is no room to write`);
      },
      backup: (sqlite, target, replace) => this.#backUp(sqlite, target, replace),
      snapshot: (sqlite, onRelease) => {
        const image = new Uint8Array(sqlite.serialize());
        return {
          bytes: image.length,
          read: async (offset, length) => image.slice(offset, offset + length),
          release: onRelease,
        };
      },
      giveUpReserve: () => false,
      keepReserve: () => true,
      close: () => {
        live.holder = null;
        this.#save(path, live);
      },
    };
  }

  /** The database behind the file, or a new one made of what the file holds now. */
  #live(path: string, { mode = "create" }: DatabaseOptions): LiveDatabase {
    const databases = liveDatabases.get(this.#disk) ?? new Map<string, LiveDatabase>();
    liveDatabases.set(this.#disk, databases);
    const bytes = this.#disk.exists(path) ? this.#disk.read(path) : new Uint8Array(0);
    const known = databases.get(path);
    if (known !== undefined && bytes.length > 0 && Buffer.compare(known.image, bytes) === 0) return known;
    if (bytes.length === 0 && mode !== "create")
      throw new MeshError("database_missing", "local", `${path}: there is no database`);
    if (this.#disk.list(parent(path)) === null) throw new MeshError("io", "local", `${path}: ENOENT`);
    if (this.#disk.full && bytes.length === 0) throw new MeshError("disk_full", "local", `${path}: ENOSPC`);
    const live = { sqlite: load(path, bytes), image: bytes, holder: null };
    databases.set(path, live);
    return live;
  }

  #save(path: string, live: LiveDatabase): void {
    live.image = new Uint8Array(live.sqlite.serialize());
    this.#disk.write(path, live.image);
  }

  #backUp(sqlite: Sqlite, path: string, replace: boolean): void {
    if (this.#disk.full) throw new MeshError("disk_full", "local", `${path}: ENOSPC`);
    if (!replace && this.#disk.exists(path))
      throw new MeshError("io", "local", `${path} is there already; it is not overwritten`);
    if (this.#disk.list(parent(path)) === null) throw new MeshError("io", "local", `${path}: ENOENT`);
    this.#disk.write(path, new Uint8Array(sqlite.serialize()));
  }
}

function load(path: string, bytes: Uint8Array): Sqlite {
  try {
    return bytes.length === 0 ? new Sqlite(":memory:") : Sqlite.deserialize(bytes);
  } catch (thrown) {
    return failDatabase(thrown, path);
  }
}

function parent(path: string): string {
  const slash = path.lastIndexOf("/");
  return slash <= 0 ? "/" : path.slice(0, slash);
}
