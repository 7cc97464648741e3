/** Refusals of callers that are not known, apart from the audit log: as many as there is room for, the newest stay. */
import { stateLimits } from "../../base/limits/control.ts";
import type { Database } from "../../host/database.ts";
import type { AuditEntry, StoredAuditEntry } from "../records/audit.ts";
import type { Room } from "./room.ts";
import { RowReader, storedMs } from "./row_reader.ts";

export class Strangers {
  readonly #database: Database;
  readonly #room: Pick<Room, "demand">;

  constructor(database: Database, room: Pick<Room, "demand">) {
    this.#database = database;
    this.#room = room;
  }

  /** @throws MeshError `disk_full`, early: this can wait. */
  append({ atMs, actor, action, target, detail }: AuditEntry): void {
    this.#database.transaction(() => {
      this.#room.demand();
      this.#database.run(
        "INSERT INTO strangers (at_ms, actor, action, target, detail) VALUES (?, ?, ?, ?, ?)",
        storedMs(atMs),
        actor,
        action,
        target,
        detail,
      );
      this.#database.run(
        "DELETE FROM strangers WHERE id <= (SELECT max(id) FROM strangers) - ?",
        stateLimits.maxStrangers,
      );
    });
  }

  /** The newest first. @param beforeId for the next page. */
  read(limit: number, beforeId: number = Number.MAX_SAFE_INTEGER): readonly StoredAuditEntry[] {
    return this.#database
      .all(
        "SELECT * FROM strangers WHERE id < ? ORDER BY id DESC LIMIT ?",
        beforeId,
        Math.min(limit, stateLimits.maxPageRows),
      )
      .map((row) => {
        const reader = new RowReader("strangers", row);
        return {
          id: reader.integer("id"),
          atMs: reader.integer("at_ms"),
          actor: reader.text("actor"),
          action: reader.text("action"),
          target: reader.text("target"),
          namespace: null,
          outcome: "refused",
          detail: reader.text("detail"),
          before: null,
          after: null,
        };
      });
  }
}
