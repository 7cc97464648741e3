/** Databases that are read where they lie, on a file system that cannot be written: nothing is made beside them, and nothing is changed. */
import { afterEach, expect, test } from "bun:test";
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MeshError } from "../../base/errors.ts";
import { stateLimits } from "../../base/limits/control.ts";
import { bunDatabases } from "./database.ts";

const directory = mkdtempSync(join(tmpdir(), "fairlead-frozen-"));
const applicationId = 7;
let count = 0;

afterEach(() => rmSync(directory, { recursive: true, force: true }));

function made(name = `${count++}.db`): string {
  mkdirSync(directory, { recursive: true });
  const path = join(directory, name);
  const database = bunDatabases.open(path, { applicationId });
  database.script("CREATE TABLE t (v TEXT)");
  database.run("INSERT INTO t (v) VALUES ('kept')");
  database.close();
  return path;
}

function codeOf(act: () => unknown): string {
  try {
    act();
    return "none";
  } catch (thrown) {
    return thrown instanceof MeshError ? thrown.code : String(thrown);
  }
}

test("after an orderly end it is read where it is, whatever its name; every write is disk_read_only", () => {
  for (const name of ["a.db", "a b.db", "a?b#c%20.db", "ä.db"]) {
    const path = made(name);
    const before = [readdirSync(directory), readFileSync(path)];
    const database = bunDatabases.open(path, { applicationId, mode: "frozen" });
    expect(database.all("SELECT v FROM t")).toEqual([{ v: "kept" }]);
    expect(database.check()).toEqual([]);
    for (const act of [
      () => database.run("DELETE FROM t"),
      () => database.script("DROP TABLE t"),
      () => database.transaction(() => 1),
      () => database.backup(join(directory, "copy")),
      () => database.snapshot(),
    ])
      expect(codeOf(act)).toBe("disk_read_only");
    expect([database.keepReserve(), database.giveUpReserve()]).toEqual([false, false]);
    database.close();
    expect([readdirSync(directory), readFileSync(path)]).toEqual(before);
    rmSync(directory, { recursive: true });
  }
});

test("another program's file, and one that is damaged, are refused", () => {
  const path = made();
  expect(codeOf(() => bunDatabases.open(path, { applicationId: 8, mode: "frozen" }))).toBe(
    "database_damaged",
  );
  writeFileSync(path, "no database");
  expect(codeOf(() => bunDatabases.open(path, { applicationId, mode: "frozen" }))).toBe("database_damaged");
});

test("one with a log is read into memory up to a bound, and refused beyond it", () => {
  const path = made();
  writeFileSync(`${path}-wal`, new Uint8Array(100));
  const database = bunDatabases.open(path, { applicationId, mode: "frozen" });
  expect(database.all("SELECT v FROM t")).toEqual([{ v: "kept" }]);
  database.close();
  // Of holes alone: it is not read.
  truncateSync(`${path}-wal`, stateLimits.maxFrozenBytes);
  expect(codeOf(() => bunDatabases.open(path, { applicationId, mode: "frozen" }))).toBe("limit_reached");
});
