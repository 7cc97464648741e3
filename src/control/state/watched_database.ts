/** A database that tells whether it can be written: a full disk is known from the first write it refuses to the first it takes. */
import { MeshError } from "../../base/errors.ts";
import type { WatchSource } from "../../base/watch.ts";
import type { Database, SqlRow, SqlValue } from "../../host/database.ts";
import type { StateHealth } from "./control_state.ts";

export class WatchedDatabase implements Database {
  readonly #database: Database;
  readonly #health: WatchSource<StateHealth>;
  #depth = 0;
  #writes = 0;

  constructor(database: Database, health: WatchSource<StateHealth>) {
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

  close(): void {
    this.#database.close();
  }

  #watch<T>(act: () => T, didWrite: () => boolean = () => true): T {
    try {
      const result = act();
      if (didWrite()) {
        this.#writes++;
        // Within a transaction nothing is known before the commit.
        if (this.#depth === 0 && !this.#health.value.writable) this.#health.set({ writable: true });
      }
      return result;
    } catch (thrown) {
      if (thrown instanceof MeshError && isOfTheDisk(thrown.code)) this.#tellOnce(thrown);
      throw thrown;
    }
  }

  /** Nested transactions pass one fault on, and a full disk refuses many writes for one reason. */
  #tellOnce({ code, message }: MeshError): void {
    const known = this.#health.value;
    if (known.writable || known.code !== code) this.#health.set({ writable: false, code, reason: message });
  }
}

function isOfTheDisk(code: MeshError["code"]): boolean {
  return code === "disk_full" || code === "database_damaged" || code === "database_locked" || code === "io";
}
