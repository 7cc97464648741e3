import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { silentLogger } from "../../base/log.ts";
import { sha256 } from "../../base/sha256.ts";
import { outcomeOf } from "../../base/testing/rejection.ts";
import { ControlState } from "./control_state.ts";
import { migrate } from "./migrations.ts";
import { inspectBackup, restore } from "./restore.ts";
import { migrations } from "./schema.ts";
import { applicationId } from "./state_files.ts";
import { StateWorld } from "./testing/simulated_state.ts";

async function codeOf(promise: Promise<unknown>): Promise<string> {
  const thrown = await promise.then(
    () => null,
    (error: unknown) => error,
  );
  return thrown instanceof MeshError ? thrown.code : `not a MeshError: ${String(thrown)}`;
}

const entry = {
  atMs: 1,
  actor: "a",
  action: "x",
  target: "t",
  outcome: "ok",
  detail: "",
  before: null,
  after: null,
} as const;

describe("opening", () => {
  test("a first start makes a state, the next one finds it", async () => {
    const w = new StateWorld();
    const first = await w.open();
    expect(first.id).toMatch(/^[0-9a-f]{32}$/);
    expect(first.schemaVersion).toBe(migrations.length);
    first.settings.set("a", "1");
    w.restart();
    const second = await w.open();
    expect(second.id).toBe(first.id);
    expect(second.settings.get("a")).toBe("1");
    expect(second.check()).toEqual([]);
  });

  test("a second control plane on the same state is refused, and the first goes on", async () => {
    const w = new StateWorld();
    const first = await w.open();
    expect(await codeOf(w.open({}, w.machine.start()))).toBe("database_locked");
    first.settings.set("a", "1");
    first.close();
    const second = await w.open({}, w.machine.start());
    expect(second.settings.get("a")).toBe("1");
  });

  test("a damaged database is refused and left as it is", async () => {
    const w = new StateWorld();
    (await w.open()).close();
    w.machine.disk.write("/state/control.db", "garbage ".repeat(1000));
    expect(await codeOf(w.open())).toBe("database_damaged");
    expect(new TextDecoder().decode(w.machine.disk.read("/state/control.db"))).toStartWith("garbage");
  });

  test("a database that is gone or empty is a loss, not a beginning", async () => {
    const w = new StateWorld();
    (await w.open()).close();
    w.machine.disk.write("/state/control.db", "");
    expect(await codeOf(w.open())).toBe("database_missing");
    w.machine.disk.remove("/state/control.db");
    expect(await codeOf(w.open())).toBe("database_missing");
    // Without the marker, the operator has said that a beginning is meant.
    w.machine.disk.remove("/state/control.id");
    expect((await w.open()).documents.version()).toBe(0);
  });

  test("another control plane's database under our marker is refused, as is a marker that cannot be read", async () => {
    const w = new StateWorld();
    (await w.open()).close();
    const other = new StateWorld(2);
    (await other.open()).close();
    w.machine.disk.write("/state/control.db", other.machine.disk.read("/state/control.db"));
    expect(await codeOf(w.open())).toBe("database_damaged");
    w.machine.disk.write("/state/control.id", "?");
    expect(await codeOf(w.open())).toBe("database_damaged");
  });

  test("killed before the marker was written, the next start takes what is there", async () => {
    const w = new StateWorld();
    const { id } = await w.open();
    w.restart();
    w.machine.disk.remove("/state/control.id");
    expect((await w.open()).id).toBe(id);
    expect(w.machine.disk.exists("/state/control.id")).toBe(true);
  });

  test("a full disk at the first start leaves nothing that looks like a state", async () => {
    const w = new StateWorld();
    w.machine.disk.makeFolder("/state");
    w.machine.disk.full = true;
    expect(["disk_full", "io"]).toContain(await codeOf(w.open()));
    w.machine.disk.full = false;
    expect((await w.open()).check()).toEqual([]);
  });
});

describe("migrations", () => {
  const step = { name: "more", sql: "CREATE TABLE more (x INTEGER) STRICT; INSERT INTO more VALUES (1)" };

  test("an older database is brought up to date once", async () => {
    const w = new StateWorld();
    const old = await w.open({ migrations: migrations.slice(0, 2) });
    old.settings.set("a", "1");
    w.restart();
    const now = await w.open({ migrations: [...migrations, step] });
    expect(now.schemaVersion).toBe(migrations.length + 1);
    expect(now.settings.get("a")).toBe("1");
    w.restart();
    expect((await w.open({ migrations: [...migrations, step] })).schemaVersion).toBe(migrations.length + 1);
  });

  test("documents of before have the time at which they first came, revocations are the mesh's, tokens their namespace's", async () => {
    const w = new StateWorld();
    const names = migrations.map(({ name }) => name);
    const before = migrations.slice(0, names.indexOf("creation of documents"));
    const old = await w.open({ migrations: before });
    old.close();
    const database = w.host.databases.open("/state/control.db", {
      mode: "existing",
      applicationId,
      maxBytes: 1e9,
    });
    database.transaction(() => {
      for (const [version, atMs] of [
        [1, 10],
        [2, 20],
      ] as const) {
        database.run("INSERT INTO document_versions VALUES (?, ?, 'a', 'apply', '', 1)", version, atMs);
        const hash = new Uint8Array(32).fill(version);
        database.run("INSERT INTO document_texts VALUES (?, ?)", hash, `text ${version}`);
        const insert = "INSERT INTO document_changes VALUES (?, ?, 'shop', 'K', 'x', 'f', 1, ?)";
        database.run(insert, version, "K shop/x", hash);
        if (version === 2) database.run(insert, version, "K shop/y", hash);
      }
      database.run("INSERT INTO revocations VALUES ('node', 'edge-1', '', 'lost', 'ada', 1, NULL)");
      for (const [id, kind, name] of [
        ["t1", "group", "shop/batch"],
        ["t2", "node", "edge-1"],
      ] as const)
        database.run(
          "INSERT INTO tokens (id, secret_hash, binding_kind, binding_name, created_at_ms, expires_at_ms, created_by, replace_joined) VALUES (?, ?, ?, ?, 1, 2, 'a', 0)",
          id,
          new Uint8Array(32),
          kind,
          name,
        );
    });
    database.close();
    const now = await w.open();
    expect(now.documents.current().documents.map(({ key, createdMs }) => [key, createdMs])).toEqual([
      ["K shop/x", 10],
      ["K shop/y", 20],
    ]);
    expect(now.revocations.byWhoseRight("node", "edge-1")).toBe("");
    expect([now.tokens.get("t1")?.byNamespace, now.tokens.get("t2")?.byNamespace]).toEqual(["shop", ""]);
  });

  test("a database of a later program is refused", async () => {
    const w = new StateWorld();
    (await w.open({ migrations: [...migrations, step] })).close();
    expect(await codeOf(w.open())).toBe("database_version");
    expect((await w.open({ migrations: [...migrations, step] })).schemaVersion).toBe(migrations.length + 1);
  });

  test("a step that fails leaves the ones before it, and is taken whole next time", async () => {
    const w = new StateWorld();
    const broken = {
      name: "broken",
      sql: "CREATE TABLE more (x INTEGER) STRICT; INSERT INTO nowhere VALUES (1)",
    };
    expect(await outcomeOf(w.open({ migrations: [...migrations, broken] }))).toThrow("nowhere");
    const state = await w.open({ migrations: [...migrations, step] });
    expect(state.schemaVersion).toBe(migrations.length + 1);
  });
});

describe("a full disk", () => {
  test("refuses what is new, answers what is asked, and takes writes again when there is room", async () => {
    const w = new StateWorld();
    const state = await w.open();
    const told: boolean[] = [];
    state.health.subscribe(({ writable }) => told.push(writable));
    state.audit.append(entry);
    w.machine.disk.full = true;
    expect(() => state.audit.append(entry)).toThrow("no room");
    expect(() => state.transaction(() => state.settings.set("a", "1"))).toThrow(MeshError);
    expect(state.health.value).toMatchObject({ writable: false, code: "disk_full" });
    expect(state.audit.read({ limit: 10 }).length).toBe(1);
    expect(state.transaction(() => state.documents.version())).toBe(0);
    expect(state.health.value.writable).toBe(false);
    w.machine.disk.full = false;
    expect(state.audit.append(entry)).toBe(2);
    expect(told).toEqual([false, true]);
    expect(state.check()).toEqual([]);
  });

  test("the bound of the database is such a disk", async () => {
    const w = new StateWorld();
    const state = await w.open({ maxBytes: 300 * 1024 });
    const fill = () => {
      for (let n = 0; n < 100; n++) state.audit.append({ ...entry, detail: "x".repeat(10_000) });
    };
    expect(fill).toThrow("no room");
    expect(state.audit.verify()).toMatchObject({ intact: true });
  });
});

test("a transaction over several tables is there whole or not at all", async () => {
  const w = new StateWorld();
  const state = await w.open();
  expect(() =>
    state.transaction(() => {
      state.settings.set("a", "1");
      state.audit.append(entry);
      throw new Error("on purpose");
    }),
  ).toThrow("on purpose");
  expect(state.settings.get("a")).toBeNull();
  expect(state.audit.head().id).toBe(0);
});

test("rows that the program never wrote are damage, not values", async () => {
  const w = new StateWorld();
  (await w.open()).close();
  const database = w.host.databases.open("/state/control.db", { applicationId: 0x464c4350 });
  database.run(
    "INSERT INTO registrations VALUES ('n', 'node', 'n', '{\"not\": \"a list\"}', '', '{}', 1, 1, NULL, NULL, NULL, NULL, NULL)",
  );
  database.close();
  const state = await w.open();
  expect(() => state.registrations.list()).toThrow("registrations.addresses is string, not a list of texts");
  expect(() => state.registrations.byNode("n")).toThrow(MeshError);
});

describe("back-up and restore", () => {
  async function withBackup(): Promise<{ w: StateWorld; state: ControlState }> {
    const w = new StateWorld();
    const state = await w.open();
    state.settings.set("a", "then");
    state.audit.append(entry);
    w.machine.disk.makeFolder("/backup");
    state.backup("/backup/one");
    state.settings.set("a", "later");
    return { w, state };
  }

  test("a back-up of every earlier schema is read and restored, its audit log checked by its own chain", async () => {
    // Before the third step there were no documents, and no program was given away.
    const digests = migrations.findIndex(({ name }) => name === "digests of audit rows");
    for (let version = 3; version <= digests; version++) {
      const w = new StateWorld();
      w.machine.disk.makeFolder("/old");
      const old = w.host.databases.open("/old/copy", { applicationId });
      migrate(old, migrations.slice(0, version));
      old.run("INSERT INTO settings (name, value) VALUES ('state.id', ?)", "ab".repeat(16));
      let hash = new Uint8Array(32);
      for (let id = 1; id <= 3; id++) {
        const row = [id, 1, "alice", "x", "t", null, "ok", `did ${id}`, null, null];
        hash = new Uint8Array(sha256(hash, new TextEncoder().encode(JSON.stringify(row))));
        old.run(
          "INSERT INTO audit (id, at_ms, actor, action, target, outcome, detail, hash) VALUES (?, 1, 'alice', 'x', 't', 'ok', ?, ?)",
          id,
          `did ${id}`,
          hash,
        );
      }
      old.close();
      expect(inspectBackup(w.host, "/old/copy")).toMatchObject({
        schemaVersion: version,
        auditHead: { id: 3, hash: hash.toHex() },
      });
      await w.world.settle(restore(w.host, "/old/copy", "/state"));
      const state = await w.open();
      expect(state.audit.verify({ id: 3, hash: hash.toHex() })).toMatchObject({ intact: true });
      state.close();
    }
  });

  test("a back-up is restored on a new machine", async () => {
    const { w, state } = await withBackup();
    const bytes = w.machine.disk.read("/backup/one");
    const other = new StateWorld(9);
    other.machine.disk.write("/carried/one", bytes);
    expect(inspectBackup(other.host, "/carried/one")).toMatchObject({
      stateId: state.id,
      documentVersion: 0,
      auditHead: { id: 1 },
      lastAuditMs: 1,
    });
    // A log of another database would be taken for the new one's.
    other.machine.disk.write("/state/control.db", "damaged");
    other.machine.disk.write("/state/control.db-wal", "stale");
    await other.world.settle(restore(other.host, "/carried/one", "/state", { overwrite: true }));
    const { disk } = other.machine;
    expect(disk.exists("/state/control.db-wal")).toBe(false);
    // Whose state it is stands beside it at once: a start may come at any time.
    expect(new TextDecoder().decode(disk.read("/state/control.id"))).toBe(`${state.id}\n`);
    expect(["/state", "/state/control.id"].map((path) => disk.modeOf(path))).toEqual([0o700, 0o600]);
    const restored = await other.open();
    expect(restored.id).toBe(state.id);
    expect(restored.settings.get("a")).toBe("then");
    expect(restored.check()).toEqual([]);
  });

  test("a state that is there is not written over unasked, and never while somebody runs on it", async () => {
    const { w, state } = await withBackup();
    const again = (overwrite: boolean) =>
      w.world.settle(restore(w.host, "/backup/one", "/state", { overwrite }));
    expect(await codeOf(again(false))).toBe("configuration");
    expect(await codeOf(again(true))).toBe("database_locked");
    state.close();
    expect(await codeOf(again(false))).toBe("configuration");
    await again(true);
    expect((await w.open()).settings.get("a")).toBe("then");
  });

  describe("forgets no certificate that was revoked since", () => {
    const secretHash = new Uint8Array(32).fill(7);

    async function since(): Promise<Awaited<ReturnType<typeof withBackup>>> {
      const { w, state } = await withBackup();
      const binding = { kind: "node", node: "edge-1" } as const;
      const token = {
        secretHash,
        binding,
        expiresAtMs: 1e15,
        createdBy: "op",
        byNamespace: "",
        replace: false,
      };
      state.tokens.create({ id: "t", ...token });
      state.backup("/backup/two");
      state.tokens.redeem("t", secretHash, 1, "edge-1");
      state.revocations.add({ kind: "node", value: "edge-9", reason: "stolen", byWhom: "op", atMs: 1 });
      const issued = { identity: "spiffe://td/ns/a/sa/b", issuerKey: "k", requestedBy: "edge-1" };
      state.certificates.record({ serial: "0a", notBeforeMs: 0, notAfterMs: 1e15, issuedAtMs: 1, ...issued });
      state.close();
      return { w, state };
    }

    test("what was revoked stays revoked, what was issued is known, and no join token works again", async () => {
      const { w } = await since();
      const { carriedOver } = await w.world.settle(
        restore(w.host, "/backup/two", "/state", { overwrite: true }),
      );
      expect(carriedOver).toEqual({ revocations: 1, endedTokens: 1 });
      const restored = await w.open();
      expect(restored.revocations.isRevokedNode("edge-9")).toBe(true);
      expect(restored.certificates.bySerial("0a")?.requestedBy).toBe("edge-1");
      expect(restored.tokens.check("t", secretHash, 2)).toBe("revoked");
      expect(restored.audit.read({ limit: 1 })[0]).toMatchObject({ action: "state.restore", outcome: "ok" });
      expect(restored.check()).toEqual([]);
      expect(w.machine.disk.exists("/state/control.db.restoring")).toBe(false);
    });

    test("and says so where it cannot know", async () => {
      const { w } = await since();
      w.machine.disk.write("/state/control.db", "garbage ".repeat(1000));
      const { carriedOver } = await w.world.settle(
        restore(w.host, "/backup/two", "/state", { overwrite: true }),
      );
      expect(carriedOver).toEqual({ revocations: null, endedTokens: 1 });
      expect((await w.open()).tokens.check("t", secretHash, 2)).toBe("revoked");
    });
  });

  test("a damaged state is restored over", async () => {
    const { w, state } = await withBackup();
    state.close();
    w.machine.disk.write("/state/control.db", "garbage ".repeat(1000));
    await w.world.settle(restore(w.host, "/backup/one", "/state", { overwrite: true }));
    expect((await w.open()).settings.get("a")).toBe("then");
  });

  test("a back-up that is none, or was changed, is refused before anything is touched", async () => {
    const { w, state } = await withBackup();
    state.close();
    const inspect = (path: string) => codeOf(Promise.resolve().then(() => inspectBackup(w.host, path)));
    expect(await inspect("/backup/none")).toBe("database_missing");
    w.machine.disk.write("/backup/bad", "garbage ".repeat(1000));
    expect(await inspect("/backup/bad")).toBe("database_damaged");
    const database = w.host.databases.open("/backup/one", { applicationId: 0x464c4350 });
    database.script("DROP TRIGGER audit_is_not_changed; UPDATE audit SET actor = 'somebody else'");
    database.close();
    expect(await inspect("/backup/one")).toBe("database_damaged");
    expect(await codeOf(w.world.settle(restore(w.host, "/backup/one", "/state", { overwrite: true })))).toBe(
      "database_damaged",
    );
    expect((await w.open()).settings.get("a")).toBe("later");
  });
});

test("what it opens on the real host, it opens there", async () => {
  const { createBunHost } = await import("../../host/bun/host.ts");
  const { mkdtempSync, rmSync, statSync } = await import("node:fs");
  const { tmpdir } = await import("node:os");
  const folder = mkdtempSync(`${tmpdir()}/state-`);
  try {
    const host = createBunHost();
    const state = await ControlState.open(host, `${folder}/deep/state`, silentLogger);
    state.audit.append(entry);
    state.backup(`${folder}/backup`);
    state.close();
    expect(statSync(`${folder}/deep/state`).mode & 0o777).toBe(0o700);
    for (const file of ["control.db", "control.id"])
      expect(statSync(`${folder}/deep/state/${file}`).mode & 0o777).toBe(0o600);
    await restore(host, `${folder}/backup`, `${folder}/deep/state`, { overwrite: true });
    const again = await ControlState.open(host, `${folder}/deep/state`, silentLogger);
    expect(again.id).toBe(state.id);
    expect(again.check()).toEqual([]);
    again.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
});
