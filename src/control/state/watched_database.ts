/** A database that tells whether it can be written: a full disk is known from the first write it refuses to the first it takes. */
import { MeshError } from "../../base/errors.ts";
import type { WatchSource } from "../../base/watch.ts";
import type { Database, DatabaseSnapshot, SqlRow, SqlValue } from "../../host/database.ts";
import type { Room } from "./room.ts";

/** Whether the last write went through. Reads go on either way. */
export type StateHealth =
  | { readonly writable: true }
  | { readonly writable: false; readonly code: MeshError["code"]; readonly reason: string };

export class WatchedDatabase implements Database {
  readonly #database: Database;
  readonly #health: WatchSource<StateHealth>;
  readonly #room: Room;
  #depth = 0;
  #writes = 0;

  constructor(database: Database, health: WatchSource<StateHealth>, room: Room) {
    this.#room = room;
    this.#database = database;
    this.#health = health;
  }

  run(sql: string, ...values: readonly SqlValue[]): { readonly changes: number } {
    return this.#watch(() => this.#database.run(sql, ...values));
  }

  all(sql: string, ...values: readonly SqlValue[]): readonly SqlRow[] {
    return this.#database.all(sql, ...values);
  }

  get(sql: string, ...values: readonly SqlValue[]): SqlRow | null {
    return this.#database.get(sql, ...values);
  }

  script(sql: string): void {
    this.#watch(() => this.#database.script(sql));
  }

  /** Counts as written when it wrote: one that only reads says nothing about the disk. */
  transaction<T>(work: () => T): T {
    let wrote = false;
    return this.#watch(
      () =>
        this.#database.transaction(() => {
          const before = this.#writes;
          this.#depth++;
          try {
            return work();
          } finally {
            this.#depth--;
            wrote = this.#writes > before;
          }
        }),
      () => wrote,
    );
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

  #watch<T>(act: () => T, didWrite: () => boolean = () => true): T {
    try {
      const result = this.#withReserve(act);
      if (didWrite()) {
        this.#writes++;
        // Within a transaction nothing is known before the commit.
        if (this.#depth === 0 && !this.#health.value.writable) this.#health.set({ writable: true });
      }
      return result;
    } catch (thrown) {
      if (thrown instanceof MeshError && isOfTheDisk(thrown.code)) this.#tellOnce(thrown);
      throw thrown;
    } finally {
      if (this.#depth === 0) this.#room.ended();
    }
  }

  /** A full disk undoes the whole of it, so it is done once more when the reserve was given up; a part of a transaction is not. */
  #withReserve<T>(act: () => T): T {
    try {
      return act();
    } catch (thrown) {
      const isFull = thrown instanceof MeshError && thrown.code === "disk_full";
      if (!isFull || this.#depth > 0 || !this.#room.giveUp()) throw thrown;
      return act();
    }
  }

  /** Nested transactions pass one fault on, and a full disk refuses many writes for one reason. */
  #tellOnce({ code, message }: MeshError): void {
    const known = this.#health.value;
    // That a frozen state refuses a write says nothing of why it is not opened for writing.
    const isNews = known.writable || (known.code !== code && code !== "disk_read_only");
    if (isNews) this.#health.set({ writable: false, code, reason: message });
  }
}

function isOfTheDisk(code: MeshError["code"]): boolean {
  return (
    code === "disk_full" ||
    code === "disk_read_only" ||
    code === "database_damaged" ||
    code === "database_locked" ||
    code === "io"
  );
}
