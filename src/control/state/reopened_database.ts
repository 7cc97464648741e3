/**
 * The state on a file system that cannot be written: it is read, so that nodes go on being served, and opened again as soon as it can be
 * written. What cannot be written for another reason (another user's, say) is not begun with at all: somebody else may be writing it.
 */
import { asMeshError, MeshError } from "../../base/errors.ts";
import { stateLimits } from "../../base/limits/control.ts";
import type { WatchSource } from "../../base/watch.ts";
import type { Database, DatabaseSnapshot, SqlRow, SqlValue } from "../../host/database.ts";
import type { Clock, Host, Timer } from "../../host/host.ts";
import { AuditLog } from "./audit.ts";
import type { Room } from "./room.ts";
import { applicationId, type StatePaths } from "./state_files.ts";
import type { StateHealth } from "./watched_database.ts";

type OpeningHost = Pick<Host, "databases">;

export interface StateBounds {
  readonly maxBytes?: number;
  /** Room that is kept on the disk for what cannot wait. */
  readonly reserveBytes?: number;
}

interface Frozen {
  readonly database: ReopenedDatabase;
  readonly open: () => Database;
}

type Opened =
  | { readonly database: Database; readonly frozen: null }
  | { readonly database: Database; readonly frozen: Frozen; readonly reason: string };

/** @throws MeshError as `ControlState.open` says. */
export function openDatabase(
  host: OpeningHost,
  paths: StatePaths,
  marker: string | null,
  bounds: StateBounds,
): Opened {
  const open = (): Database => openForWriting(host, paths, marker, bounds);
  try {
    return { database: open(), frozen: null };
  } catch (thrown) {
    if (!(thrown instanceof MeshError) || thrown.code !== "disk_read_only" || marker === null) throw thrown;
    const database = new ReopenedDatabase(
      host.databases.open(paths.database, { mode: "frozen", applicationId }),
    );
    const reason = `the file system of ${paths.directory} is read-only: nodes are served, and changes are refused`;
    return { database, frozen: { database, open }, reason };
  }
}

/** There is nothing to make where nothing can be made. @throws MeshError `io`, `disk_read_only`. */
export async function makeStateDirectory(files: Host["files"], directory: string): Promise<void> {
  try {
    await files.makeDirectory(directory, 0o700);
  } catch (thrown) {
    const isReadOnly = thrown instanceof MeshError && thrown.code === "disk_read_only";
    if (!isReadOnly || !(await files.exists(directory))) throw thrown;
  }
}

/** Tries until the file system can be written; from then on it is as if it had been so from the start. @returns a function that ends it. */
export function reopenLater(
  options: Frozen & {
    readonly clock: Clock;
    readonly audit: AuditLog;
    readonly room: Room;
    readonly health: WatchSource<StateHealth>;
  },
): () => void {
  const { clock, audit, health, room, database, open } = options;
  let timer: Timer;
  const later = (): void => {
    timer = clock.setTimer(stateLimits.frozenRetryMs, () => {
      try {
        const writable = open();
        // The lock is ours now. What has changed since it was read is another process's work, and we serve something else.
        const [found, known] = [new AuditLog(writable).head(), audit.head()];
        if (found.id === known.id && found.hash === known.hash) {
          database.replace(writable);
          room.reopened();
          health.set({ writable: true });
          return;
        }
        writable.close();
        health.set({
          writable: false,
          code: "database_damaged",
          reason: "the state has changed on the disk since it was read; restart the control plane",
        });
      } catch (thrown) {
        const { code, message: reason } = asMeshError(thrown, "io", "local");
        const now = health.value;
        if (code !== "disk_read_only" && (now.writable || now.reason !== reason))
          health.set({ writable: false, code, reason });
      }
      later();
    });
  };
  later();
  return () => timer.cancel();
}

function openForWriting(
  host: OpeningHost,
  paths: StatePaths,
  marker: string | null,
  { maxBytes = stateLimits.maxDatabaseBytes, reserveBytes = stateLimits.reservedDiskBytes }: StateBounds,
): Database {
  // Where there was a state, an absent or empty file is a loss, never a beginning.
  const mode = marker === null ? "create" : "existing";
  try {
    return host.databases.open(paths.database, { mode, applicationId, maxBytes, reserveBytes });
  } catch (thrown) {
    if (!(thrown instanceof MeshError) || thrown.code !== "database_missing") throw thrown;
    throw new MeshError(
      "database_missing",
      "local",
      `${paths.database} is gone, and ${paths.marker} says that there was one; restore a back-up, or remove the marker to begin a new state`,
      { cause: thrown },
    );
  }
}

export class ReopenedDatabase implements Database {
  #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  /** From now on this one; the one before is closed. */
  replace(database: Database): void {
    this.#database.close();
    this.#database = database;
  }

  run(sql: string, ...values: readonly SqlValue[]): { readonly changes: number } {
    return this.#database.run(sql, ...values);
  }

  all(sql: string, ...values: readonly SqlValue[]): readonly SqlRow[] {
    return this.#database.all(sql, ...values);
  }

  get(sql: string, ...values: readonly SqlValue[]): SqlRow | null {
    return this.#database.get(sql, ...values);
  }

  script(sql: string): void {
    this.#database.script(sql);
  }

  transaction<T>(work: () => T): T {
    return this.#database.transaction(work);
  }

  check(): readonly string[] {
    return this.#database.check();
  }

  backup(path: string, options?: { readonly replace?: boolean }): void {
    this.#database.backup(path, options);
  }

  snapshot(): DatabaseSnapshot {
    return this.#database.snapshot();
  }

  giveUpReserve(): boolean {
    return this.#database.giveUpReserve();
  }

  keepReserve(): boolean {
    return this.#database.keepReserve();
  }

  close(): void {
    this.#database.close();
  }
}
