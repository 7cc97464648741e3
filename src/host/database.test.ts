import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MeshError } from "../base/errors.ts";
import { stateLimits } from "../base/limits/control.ts";
import { bunDatabases } from "./bun/database.ts";
import type { Database, Databases } from "./database.ts";
import { MemoryWorld } from "./memory/world.ts";

const applicationId = 77;

interface Place {
  /** A path in an empty folder. */
  fresh(): string;
  readonly first: Databases;
  /** Another process on the same disk. */
  readonly second: Databases;
  write(path: string, bytes: Uint8Array): void;
  read(path: string): Uint8Array;
}

const folders: string[] = [];
afterAll(() => {
  for (const folder of folders) rmSync(folder, { recursive: true });
});

function bunPlace(): Place {
  return {
    fresh: () => {
      const folder = mkdtempSync(join(tmpdir(), "database-"));
      folders.push(folder);
      return join(folder, "a.db");
    },
    first: bunDatabases,
    second: bunDatabases,
    write: (path, bytes) => writeFileSync(path, bytes),
    read: (path) => new Uint8Array(readFileSync(path)),
  };
}

function memoryPlace(): Place {
  const machine = new MemoryWorld(1).machine("m", { addresses: ["10.0.0.1"] });
  let count = 0;
  return {
    fresh: () => {
      machine.disk.makeFolder(`/f${++count}`);
      return `/f${count}/a.db`;
    },
    first: machine.start().databases,
    second: machine.start().databases,
    write: (path, bytes) => machine.disk.write(path, bytes),
    read: (path) => machine.disk.read(path),
  };
}

function codeOf(act: () => unknown): string {
  try {
    act();
  } catch (thrown) {
    return thrown instanceof MeshError ? `${thrown.code} ${thrown.blame}` : String(thrown);
  }
  return "nothing was thrown";
}

function withTable(databases: Databases, path: string, maxBytes?: number): Database {
  const database = databases.open(path, { applicationId, ...(maxBytes === undefined ? {} : { maxBytes }) });
  database.script(
    "CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, v ANY) STRICT; CREATE TABLE IF NOT EXISTS u (id INTEGER REFERENCES t (id)) STRICT",
  );
  return database;
}

for (const [name, make] of [
  ["bun", bunPlace],
  ["memory", memoryPlace],
] as const) {
  describe(`databases of the ${name} host`, () => {
    const place = make();

    test("values come back as they were put in", () => {
      const database = withTable(place.first, place.fresh());
      const values = ["text", 7, -1.5, new Uint8Array([0, 255]), null, ""];
      for (const value of values)
        expect(database.run("INSERT INTO t (v) VALUES (?)", value)).toEqual({ changes: 1 });
      expect(database.all("SELECT v FROM t ORDER BY id").map((row) => row.v)).toEqual(values);
      expect(database.get("SELECT v FROM t WHERE id = ?", 99)).toBeNull();
      database.close();
    });

    test("what was written is there for the next process", () => {
      const path = place.fresh();
      const database = withTable(place.first, path);
      database.run("INSERT INTO t (v) VALUES (?)", "kept");
      database.close();
      const again = place.second.open(path, { applicationId, mode: "existing" });
      expect(again.all("SELECT v FROM t")).toEqual([{ v: "kept" }]);
      again.close();
    });

    test("a transaction is all or nothing, and one within another is undone alone", () => {
      const database = withTable(place.first, place.fresh());
      const failing = () =>
        database.transaction(() => {
          database.run("INSERT INTO t (v) VALUES ('lost')");
          throw new Error("on purpose");
        });
      expect(failing).toThrow("on purpose");
      database.transaction(() => {
        database.run("INSERT INTO t (v) VALUES ('outer')");
        expect(failing).toThrow("on purpose");
        expect(database.transaction(() => database.run("INSERT INTO t (v) VALUES ('inner')").changes)).toBe(
          1,
        );
      });
      expect(database.all("SELECT v FROM t").map((row) => row.v)).toEqual(["outer", "inner"]);
      expect(() => database.transaction(() => Promise.resolve())).toThrow("does not wait");
      database.run("INSERT INTO t (v) VALUES ('after')");
      database.close();
    });

    test("foreign keys hold, and a wrong statement is a bug, not a fault", () => {
      const database = withTable(place.first, place.fresh());
      expect(codeOf(() => database.run("INSERT INTO u (id) VALUES (5)"))).toContain("AssertionError");
      expect(codeOf(() => database.get("SELECT nothing FROM nowhere"))).toContain("AssertionError");
      database.close();
      expect(codeOf(() => database.get("SELECT 1"))).toContain("closed");
      database.close();
    });

    test("a second process is refused for as long as the first has it", () => {
      const path = place.fresh();
      const database = withTable(place.first, path);
      expect(codeOf(() => place.second.open(path, { applicationId }))).toBe("database_locked local");
      expect(codeOf(() => place.second.open(path, { applicationId, mode: "readOnly" }))).toBe(
        "database_locked local",
      );
      database.run("INSERT INTO t (v) VALUES (1)");
      database.close();
      place.second.open(path, { applicationId }).close();
    });

    test("what is no database, or somebody else's, or broken, is refused and left as it is", () => {
      const garbage = place.fresh();
      place.write(garbage, new TextEncoder().encode("not a database. ".repeat(500)));
      const before = place.read(garbage);
      expect(codeOf(() => place.first.open(garbage, { applicationId }))).toBe("database_damaged local");
      expect(place.read(garbage)).toEqual(before);

      const foreign = place.fresh();
      withTable(place.first, foreign).close();
      expect(codeOf(() => place.first.open(foreign, { applicationId: 78 }))).toBe("database_damaged local");

      const broken = place.fresh();
      const database = withTable(place.first, broken);
      for (let row = 0; row < 200; row++) database.run("INSERT INTO t (v) VALUES (?)", "x".repeat(500));
      database.close();
      const bytes = place.read(broken);
      bytes.fill(0xaa, 2 * 4096, 6 * 4096);
      place.write(broken, bytes);
      expect(codeOf(() => place.first.open(broken, { applicationId }))).toBe("database_damaged local");
    });

    test("one that has to be there is not made", () => {
      const path = place.fresh();
      for (const mode of ["existing", "readOnly"] as const)
        expect(codeOf(() => place.first.open(path, { applicationId, mode }))).toBe("database_missing local");
      place.write(path, new Uint8Array(0));
      expect(codeOf(() => place.first.open(path, { applicationId, mode: "existing" }))).toBe(
        "database_missing local",
      );
      expect(codeOf(() => place.first.open(`${path}/no/folder`, { applicationId }))).toBe("io local");
    });

    test("at its bound a write is refused, reading goes on, and with room writing does", () => {
      const database = withTable(place.first, place.fresh(), 100 * 1024);
      const insert = () => database.run("INSERT INTO t (v) VALUES (?)", new Uint8Array(20_000));
      let written = 0;
      const filling = () => {
        for (; written < 100; written++) insert();
      };
      expect(codeOf(filling)).toBe("disk_full local");
      expect(written).toBeGreaterThan(0);
      expect(codeOf(() => database.transaction(insert))).toBe("disk_full local");
      expect(database.all("SELECT id FROM t").length).toBe(written);
      database.run("DELETE FROM t WHERE id = 1");
      insert();
      expect(database.all("SELECT id FROM t").length).toBe(written);
      expect(database.check()).toEqual([]);
      database.close();
    });

    test("a back-up is whole, is read alone, and is not written over unasked", () => {
      const path = place.fresh();
      const copy = place.fresh();
      const database = withTable(place.first, path);
      database.run("INSERT INTO t (v) VALUES ('then')");
      database.script("PRAGMA user_version = 3");
      database.backup(copy);
      database.run("INSERT INTO t (v) VALUES ('later')");
      expect(codeOf(() => database.backup(copy))).toBe("io local");
      const backup = place.second.open(copy, { applicationId, mode: "readOnly" });
      expect(backup.all("SELECT v FROM t")).toEqual([{ v: "then" }]);
      expect(backup.get("PRAGMA user_version")).toEqual({ user_version: 3 });
      expect(backup.check()).toEqual([]);
      expect(codeOf(() => backup.run("DELETE FROM t"))).toBe("disk_read_only local");
      backup.close();
      database.backup(copy, { replace: true });
      const newer = place.second.open(copy, { applicationId });
      expect(newer.all("SELECT v FROM t").length).toBe(2);
      newer.close();
      expect(codeOf(() => database.backup(`${path}/no/folder`))).toBe("io local");
      database.close();
    });

    test("statements made of values are a bug that is told before they pile up", () => {
      const database = withTable(place.first, place.fresh());
      const ask = (count: number) => {
        for (let n = 0; n < count; n++) database.get(`SELECT ${n}`);
      };
      ask(stateLimits.maxStatements);
      expect(() => ask(stateLimits.maxStatements + 1)).toThrow("bind the values");
      database.close();
    });
  });
}

describe("files of databases", () => {
  test("no other user can read them, the log included, even where they could before", () => {
    const place = bunPlace();
    const path = place.fresh();
    const database = withTable(bunDatabases, path);
    database.run("INSERT INTO t (v) VALUES (1)");
    for (const file of [path, `${path}-wal`]) expect(statSync(file).mode & 0o777).toBe(0o600);
    database.backup(`${path}.copy`);
    expect(statSync(`${path}.copy`).mode & 0o777).toBe(0o600);
    database.close();
    chmodSync(path, 0o644);
    bunDatabases.open(path, { applicationId }).close();
    expect(statSync(path).mode & 0o777).toBe(0o600);
  });

  test("one that was cut short is damaged", () => {
    const path = bunPlace().fresh();
    const database = withTable(bunDatabases, path);
    for (let row = 0; row < 100; row++) database.run("INSERT INTO t (v) VALUES (?)", "x".repeat(500));
    database.close();
    truncateSync(path, 5 * 4096);
    expect(codeOf(() => bunDatabases.open(path, { applicationId }))).toBe("database_damaged local");
  });
});

test("on a simulated machine a full disk refuses writes, and a killed process lets go", () => {
  const machine = new MemoryWorld(2).machine("m", { addresses: ["10.0.0.1"] });
  machine.disk.makeFolder("/s");
  const host = machine.start();
  const database = withTable(host.databases, "/s/a.db");
  database.run("INSERT INTO t (v) VALUES ('kept')");
  machine.disk.full = true;
  expect(codeOf(() => database.run("INSERT INTO t (v) VALUES ('no')"))).toBe("disk_full local");
  expect(database.all("SELECT v FROM t")).toEqual([{ v: "kept" }]);
  machine.disk.full = false;
  database.run("INSERT INTO t (v) VALUES ('again')");
  host.kill();
  expect(codeOf(() => database.run("INSERT INTO t (v) VALUES ('dead')"))).toBe("io local");
  const next = machine.start().databases.open("/s/a.db", { applicationId, mode: "existing" });
  expect(next.all("SELECT v FROM t").map((row) => row.v)).toEqual(["kept", "again"]);
  next.close();
});
