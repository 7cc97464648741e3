/** Forward only: each step once, in its own transaction, counted in the file. */
import { MeshError } from "../../base/errors.ts";
import type { Database } from "../../host/database.ts";
import { RowReader } from "./row_reader.ts";

export interface Migration {
  readonly name: string;
  readonly sql: string;
}

export function schemaVersion(database: Database): number {
  const row = database.get("PRAGMA user_version");
  return row === null ? 0 : new RowReader("pragma", row).integer("user_version");
}

/**
 * Killed in between, the next start goes on where this one ended.
 *
 * @returns the steps taken.
 * @throws MeshError `database_version` for a file of a later program: what it means is not known here.
 */
export function migrate(database: Database, migrations: readonly Migration[]): readonly Migration[] {
  const from = schemaVersion(database);
  if (from > migrations.length) {
    throw new MeshError(
      "database_version",
      "local",
      `the control plane's state is of version ${from}, written by a later fairlead; this one knows up to ${migrations.length}`,
    );
  }
  const taken = migrations.slice(from);
  taken.forEach((migration, index) => {
    database.transaction(() => {
      database.script(migration.sql);
      database.script(`PRAGMA user_version = ${from + index + 1}`);
    });
  });
  return taken;
}
