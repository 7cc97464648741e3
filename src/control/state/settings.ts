/** Values by name, for what is too little for a table: the identity of this state, counters of lists, role bindings. */
import { MeshError } from "../../base/errors.ts";
import { stateLimits } from "../../base/limits/control.ts";
import type { Database } from "../../host/database.ts";
import { countOf, RowReader } from "./row_reader.ts";

export class Settings {
  readonly #database: Database;

  constructor(database: Database) {
    this.#database = database;
  }

  get(name: string): string | null {
    const row = this.#database.get("SELECT value FROM settings WHERE name = ?", name);
    return row === null ? null : new RowReader("settings", row).text("value");
  }

  /** @throws MeshError `limit_reached`. */
  set(name: string, value: string): void {
    this.#database.transaction(() => {
      this.#database.run(
        "INSERT INTO settings (name, value) VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        name,
        value,
      );
      if (countOf(this.#database.get("SELECT count(*) AS count FROM settings")) > stateLimits.maxSettings)
        throw new MeshError("limit_reached", "local", `there are ${stateLimits.maxSettings} settings`);
    });
  }

  /** Sorted by name. @param prefix of names; all when left out. */
  all(prefix = ""): ReadonlyMap<string, string> {
    const rows = this.#database.all(
      "SELECT name, value FROM settings WHERE substr(name, 1, length(?)) = ? ORDER BY name",
      prefix,
      prefix,
    );
    return new Map(
      rows.map((row) => {
        const reader = new RowReader("settings", row);
        return [reader.text("name"), reader.text("value")];
      }),
    );
  }

  /** @returns whether there was one. */
  remove(name: string): boolean {
    return this.#database.run("DELETE FROM settings WHERE name = ?", name).changes > 0;
  }
}
