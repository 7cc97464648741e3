/** What we read of a database and its log is what SQLite reads, wherever the log was cut off or damaged. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { imageWithLog } from "./wal_image.ts";

const dump = (database: Database): unknown => {
  try {
    return database
      .query("SELECT id, length(text) AS length, hex(substr(text, 1, 4)) AS start FROM t ORDER BY id")
      .all();
  } catch (thrown) {
    return String(thrown).includes("no such table") ? "no table" : thrown;
  }
};

test("at any length of the log, and with any byte of it changed", () => {
  const directory = mkdtempSync(join(tmpdir(), "fairlead-wal-"));
  const path = join(directory, "a.db");
  const writer = new Database(path);
  writer.run("PRAGMA journal_mode = WAL");
  writer.run("CREATE TABLE t (id INTEGER PRIMARY KEY, text TEXT)");
  writer.run("PRAGMA wal_checkpoint(TRUNCATE)");
  const seed = 12345;
  let state = seed;
  const below = (limit: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state % limit;
  };
  // Begun again once, so that frames of an earlier round are left behind those of this one.
  for (let round = 0; round < 2; round++) {
    for (let n = 0; n < 25; n++) {
      writer.run("BEGIN");
      for (let m = 0; m <= below(4); m++)
        writer.run("INSERT INTO t (text) VALUES (?)", [String(below(1_000_000)).repeat(1 + below(900))]);
      if (below(4) === 0) writer.run("DELETE FROM t WHERE id % 5 = 0");
      writer.run("COMMIT");
    }
    if (round === 0) writer.run("PRAGMA wal_checkpoint(RESTART)");
  }
  const database = new Uint8Array(readFileSync(path));
  const wal = new Uint8Array(readFileSync(`${path}-wal`));
  writer.close();
  const bySqlite = (log: Uint8Array): unknown => {
    const copy = join(directory, "copy.db");
    for (const end of ["", "-wal", "-shm"]) rmSync(`${copy}${end}`, { force: true });
    writeFileSync(copy, database);
    writeFileSync(`${copy}-wal`, log);
    const reader = new Database(copy);
    const found = dump(reader);
    reader.close();
    return found;
  };
  const byUs = (log: Uint8Array): unknown => {
    const reader = Database.deserialize(imageWithLog(database, log), true);
    const found = dump(reader);
    reader.close();
    return found;
  };
  const whole = byUs(wal);
  expect(whole).toEqual(bySqlite(wal));
  expect((whole as unknown[]).length).toBeGreaterThan(20);
  for (let n = 0; n < 60; n++) {
    const cut = wal.slice(0, below(wal.length + 1));
    expect(byUs(cut)).toEqual(bySqlite(cut));
    const damaged = wal.slice();
    const at = below(damaged.length);
    damaged[at] = (damaged[at] ?? 0) ^ (1 + below(255));
    expect(byUs(damaged)).toEqual(bySqlite(damaged));
  }
  copyFileSync(path, join(directory, "after.db"));
  expect(byUs(new Uint8Array())).toEqual(bySqlite(new Uint8Array()));
  rmSync(directory, { recursive: true });
});
