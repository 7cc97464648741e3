/**
 * One embedded SQL database in one file, held by one process at a time. Calls are synchronous: a statement is a few
 * microseconds, and a write comes back when it is on the disk.
 */

export type SqlValue = string | number | bigint | Uint8Array | null;

/** As it is in the file: its reader checks it. */
export type SqlRow = Readonly<Record<string, SqlValue>>;

export interface DatabaseOptions {
  /**
   * `create` (the default): made when there is none, or when the file is empty. `existing`: must be there. `readOnly`: must be there,
   * and stays as it is. `frozen`: the same, on a file system that cannot be written; every write is `disk_read_only`.
   */
  readonly mode?: "create" | "existing" | "readOnly" | "frozen";
  /** Written into a new database, and demanded of an old one: somebody else's file is never taken for ours. */
  readonly applicationId: number;
  /** What the database may grow to; a write past it is `disk_full`. */
  readonly maxBytes?: number;
  /** Room on the disk that is kept by a file beside the database, until `giveUpReserve`. None when left out, and where it does not fit. */
  readonly reserveBytes?: number;
}

export interface Databases {
  /**
   * No other process may open the file until it is closed or the process is gone. A new file has mode 0600, and an old one gets it;
   * the folder has to be there.
   *
   * @throws MeshError, blame local: `database_missing`, `database_locked` (another process has it), `database_damaged` (no
   *   database, not ours, or its pages contradict each other), `disk_full`, `disk_read_only` (its file system is), `io`.
   */
  open(path: string, options: DatabaseOptions): Database;
}

/** The whole database as it was at one moment, a file by itself, read while it goes on being written. */
export interface DatabaseSnapshot {
  readonly bytes: number;
  /** @throws MeshError `io`; `limit_reached` when too much was written since. */
  read(offset: number, length: number): Promise<Uint8Array>;
  /** Idempotent. Must come, or the database's log grows. */
  release(): void;
}

/** Every method throws MeshError `disk_full`, `database_locked`, `database_damaged` or `io`, blame local; a statement that is wrong is a bug. */
export interface Database {
  /** One statement that writes. Outside of a transaction it is durable when this returns. */
  run(sql: string, ...values: readonly SqlValue[]): { readonly changes: number };
  /** All rows. A bound belongs into the statement. */
  all(sql: string, ...values: readonly SqlValue[]): readonly SqlRow[];
  get(sql: string, ...values: readonly SqlValue[]): SqlRow | null;
  /** Statements without values, separated by semicolons: what migrations are made of. */
  script(sql: string): void;
  /**
   * All that `work` writes, or nothing of it, whatever it or the commit throws; durable when the outermost one returns. `work` is
   * synchronous. One within another is undone alone.
   */
  transaction<T>(work: () => T): T;
  /** Every page, index and constraint, read. @returns what is wrong, one line each; empty when nothing is. */
  check(): readonly string[];
  /**
   * A copy as of now, complete and by itself, in a file of mode 0600: written to a neighbour, flushed, then renamed. Writes wait.
   *
   * @throws MeshError `io` when `path` is there already and `replace` was not asked for.
   */
  backup(path: string, options?: { readonly replace?: boolean }): void;
  /** One at a time. @throws MeshError `limit_reached` while there is one. */
  snapshot(): DatabaseSnapshot;
  /** Frees the room that was kept on the disk, for a write that matters. @returns whether there was any. */
  giveUpReserve(): boolean;
  /** Keeps it again. @returns whether it is kept now; true where none was asked for. */
  keepReserve(): boolean;
  /** Folds what was written last into the file. Idempotent. */
  close(): void;
}
