/** An audit log that somebody with the disk has cut or written again, hashes and all, is found by the heads that were signed before. */
import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { chainRow } from "../../base/audit_chain.ts";
import { sha256 } from "../../base/sha256.ts";
import { loadControlPlane } from "../../config/load.ts";
import { createBunHost } from "../../host/bun/host.ts";
import { LogWriter } from "../../host/log_writer.ts";
import { type RunningControl, startControl } from "./control.ts";

const host = createBunHost();
const directory = mkdtempSync(join(tmpdir(), "fairlead-audit-"));
let control: RunningControl | null = null;

async function start(): Promise<RunningControl> {
  const flags = new Map([
    ["controlListen", ["127.0.0.1:0"]],
    ["servingNames", ["127.0.0.1"]],
    ["stateDirectory", [directory]],
  ] as const);
  const { config } = loadControlPlane({ flags, environment: {}, file: null });
  if (config === null) throw new Error("the settings are wrong");
  control = await startControl(host, config, new LogWriter(host.clock, () => true, "text", "error"));
  return control;
}

afterEach(async () => {
  await control?.stop();
  rmSync(directory, { recursive: true, force: true });
});

const entry = { atMs: 1, actor: "mallory", target: "t", outcome: "ok", before: null, after: null } as const;

/** What SQLite's owner can do: the triggers go, rows too, and others come with hashes that chain. */
function rewrite(database: Database, from: number, details: readonly string[]): void {
  for (const { name } of database
    .query<{ name: string }, []>(
      "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name LIKE 'audit%'",
    )
    .all())
    database.run(`DROP TRIGGER ${name}`);
  database.run("DELETE FROM audit WHERE id >= ?", [from]);
  let { hash } = database
    .query<{ hash: Uint8Array }, [number]>("SELECT hash FROM audit WHERE id = ?")
    .get(from - 1) ?? {
    hash: new Uint8Array(32),
  };
  // The salts are no secret from who has the disk.
  const key =
    database.query<{ salt_key: Uint8Array }, []>("SELECT salt_key FROM audit_digests").get()?.salt_key ??
    new Uint8Array();
  details.forEach((detail, index) => {
    const id = from + index;
    const row = { id, atMs: 1, actor: "nobody", action: "documents.apply", target: "t", namespace: null };
    const salt = sha256(key, new TextEncoder().encode(String(id))).subarray(0, 16);
    hash = chainRow(hash, { ...row, outcome: "ok", detail, before: null, after: null }, salt);
    database.run(
      "INSERT INTO audit (id, at_ms, actor, action, target, outcome, detail, hash) VALUES (?, 1, 'nobody', 'documents.apply', 't', 'ok', ?, ?)",
      [id, detail, hash],
    );
  });
}

test("all that a control plane keeps is for its own user alone, in a folder that was for everybody", async () => {
  chmodSync(directory, 0o755);
  const { stop } = await start();
  const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);
  const modes = Object.fromEntries(
    readdirSync(directory).map((name) => [name, modeOf(join(directory, name))]),
  );
  expect(modeOf(directory)).toBe("700");
  // What SQLite makes is kept by the folder; what we make, by itself as well: it may be copied elsewhere.
  const ours = Object.entries(modes).filter(
    ([name]) => !name.startsWith("control.db") && !name.startsWith("."),
  );
  expect(ours.map(([name]) => name).sort()).toEqual(
    expect.arrayContaining(["audit-heads.json", "control.id", "key-encryption.key"]),
  );
  for (const [name, mode] of ours) expect([name, mode]).toEqual([name, "600"]);
  await stop();
});

test("rows that are cut off, or cut and written again in a chain that holds, are found at the next start and by a question", async () => {
  const { parts, stop } = await start();
  for (let index = 0; index < 10; index++)
    parts.state.audit.append({ ...entry, action: "documents.apply", detail: `did ${index}` });
  await parts.auditHeads.sign();
  expect(await parts.auditHeads.check()).toMatchObject({ intact: true, reason: null });
  const head = parts.state.audit.head();
  expect(await parts.auditHeads.check([{ ...head, hash: "00".repeat(32) }])).toMatchObject({ intact: false });
  await stop();

  const path = join(directory, "control.db");
  let database = new Database(path);
  rewrite(database, head.id - 4, ["innocent 1", "innocent 2", "innocent 3", "innocent 4", "innocent 5", "6"]);
  database.close();
  let again = await start();
  expect(again.parts.auditHeads.last).toMatchObject({
    intact: false,
    reason: `row ${head.id} is not the one that the signed head names`,
  });
  expect(again.parts.state.check().join()).not.toContain("was changed");
  await again.stop();

  database = new Database(path);
  rewrite(database, head.id - 4, []);
  database.close();
  again = await start();
  expect(again.parts.auditHeads.last?.reason).toContain("are cut off");
  await again.stop();

  // Heads that somebody else has made are no heads.
  const file = join(directory, "audit-heads.json");
  const heads = JSON.parse(readFileSync(file, "utf8"));
  writeFileSync(file, JSON.stringify(heads.map((one: object) => ({ ...one, id: 1 }))));
  again = await start();
  expect(again.parts.auditHeads.last?.reason).toContain("is not signed by a key of this control plane");
}, 300_000);

test("what is issued is in the log", async () => {
  const { parts } = await start();
  const rows = parts.state.audit.read({ action: "certificates.issue", limit: 10 });
  const issued = parts.state.certificates.list({ limit: 10 });
  const first = issued.find(({ identity }) => identity.endsWith("/fairlead-admin"));
  expect(first).toBeDefined();
  expect(rows.some(({ detail }) => detail.includes(`${first?.serial} for ${first?.identity} to`))).toBe(true);
}, 300_000);

test("heads go on over starts and over a root that was replaced", async () => {
  for (let round = 0; round < 3; round++) {
    const { parts, stop } = await start();
    expect(parts.auditHeads.last).toMatchObject({ intact: true });
    parts.state.audit.append({ ...entry, action: "x", detail: `${round}` });
    await parts.auditHeads.sign();
    await stop();
  }
  const { parts } = await start();
  expect((await parts.auditHeads.check()).heads).toBeGreaterThanOrEqual(3);
}, 300_000);
