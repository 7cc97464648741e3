/** Any host that has joined finds a control plane whose audit log was cut off, written again or replaced; honest ones raise no alarm. */
import { Database } from "bun:sqlite";
import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ControlMembership } from "../../agent/join/membership.ts";
import { chainRow } from "../../base/audit_chain.ts";
import type { Logger } from "../../base/log.ts";
import { sha256 } from "../../base/sha256.ts";
import { loadConfig, loadControlPlane } from "../../config/load.ts";
import type { SettingName } from "../../config/settings.ts";
import { createBunHost } from "../../host/bun/host.ts";
import { LogWriter } from "../../host/log_writer.ts";
import { MeshStore } from "../../mesh/store/store.ts";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { type RunningControl, startControl } from "./control.ts";

const host = createBunHost();
let directory = "";
let control: RunningControl;
let port = 0;
const nodes: ControlMembership[] = [];
const said: string[] = [];
const logger: Logger = {
  log: (level, _target, message) => {
    if (level === "error") said.push(message);
  },
};

async function start(): Promise<void> {
  const flags = new Map<SettingName, readonly string[]>([
    ["controlListen", [`127.0.0.1:${port}`]],
    ["servingNames", ["127.0.0.1"]],
    ["stateDirectory", [join(directory, "control")]],
  ]);
  const { config } = loadControlPlane({ flags, environment: {}, file: null });
  if (config === null) throw new Error("the settings are wrong");
  control = await startControl(host, config, new LogWriter(host.clock, () => true, "text", "error"));
  port = control.address.port;
}

async function open(): Promise<void> {
  directory = mkdtempSync(join(tmpdir(), "fairlead-witness-"));
  port = 0;
  said.length = 0;
  await start();
}

afterEach(async () => {
  for (const node of nodes.splice(0)) await node.close();
  await control.stop();
  rmSync(directory, { recursive: true, force: true });
});

async function follow(name: string, joinLine: string | null): Promise<ControlMembership> {
  const words = joinLine?.split(" ") ?? [];
  const after = (flag: string): string[] => [words[words.indexOf(flag) + 1] ?? ""];
  const flags = new Map<SettingName, readonly string[]>([
    ["control", [`https://127.0.0.1:${port}`]],
    ["joinAddresses", ["10.0.0.1"]],
    ["stateDirectory", [join(directory, name)]],
    ...(joinLine === null
      ? []
      : ([
          ["joinToken", after("--join-token")],
          ["caPin", after("--ca-pin")],
        ] as const)),
  ]);
  const { config, errors } = loadConfig({ flags, environment: {}, file: null });
  if (config?.control == null) throw new Error(JSON.stringify(errors));
  const { nodeName, network, clusterId, trustDomain, rootNamespace } = config;
  const node = await ControlMembership.join({
    host,
    logger,
    provider: runtimeProvider(),
    settings: config.control,
    facts: { nodeName, network, clusterId, trustDomain, rootNamespace },
    version: "test",
  });
  nodes.push(node);
  await node.follow({
    store: new MeshStore(),
    refusedPolicies: "deny",
    setRoots: () => {},
    setCrls: async () => [],
    onConnected: () => {},
  });
  return node;
}

async function join1(name: string): Promise<ControlMembership> {
  const { line } = await control.parts.identity.joinTokens.create({
    binding: { kind: "node", node: name },
    createdBy: "ada",
    replace: true,
  });
  return follow(name, line);
}

const entry = { atMs: 1, actor: "mallory", target: "t", outcome: "ok", before: null, after: null } as const;
function act(count: number): void {
  for (let n = 0; n < count; n++)
    control.parts.state.audit.append({ ...entry, action: "documents.apply", detail: `did ${n}` });
}

async function push(): Promise<string> {
  await control.parts.auditHeads.sign();
  await control.parts.auditHeads.publish();
  const head = control.parts.auditHeads.published.value;
  return `${head?.id}:${head?.hash}`;
}

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let n = 0; !condition(); n++) {
    if (n > 12_000) throw new Error(`never: ${what}`);
    await Bun.sleep(10);
  }
}

const headOf = (node: ControlMembership) => node.status().audit?.head ?? null;
const conflictsOf = (node: ControlMembership) =>
  node.status().audit?.conflicts.map(({ reason }) => reason) ?? [];

/** Who has the disk: triggers go, rows from there on too, others come with hashes that chain, and no head stays to tell of it. */
async function rewrite(from: number, details: readonly string[]): Promise<void> {
  await control.stop();
  const database = new Database(join(directory, "control/control.db"));
  for (const { name } of database
    .query<{ name: string }, []>(
      "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND tbl_name LIKE 'audit%'",
    )
    .all())
    database.run(`DROP TRIGGER ${name}`);
  database.run("DELETE FROM audit WHERE id >= ?", [from]);
  const key =
    database.query<{ salt_key: Uint8Array }, []>("SELECT salt_key FROM audit_digests").get()?.salt_key ??
    new Uint8Array();
  let hash =
    database.query<{ hash: Uint8Array }, [number]>("SELECT hash FROM audit WHERE id = ?").get(from - 1)
      ?.hash ?? new Uint8Array(32);
  details.forEach((detail, index) => {
    const id = from + index;
    const row = { id, atMs: 1, actor: "a", action: "x", target: "t", namespace: null, outcome: "ok" };
    const salt = sha256(key, new TextEncoder().encode(String(id))).subarray(0, 16);
    hash = chainRow(hash, { ...row, detail, before: null, after: null }, salt);
    database.run(
      "INSERT INTO audit (id, at_ms, actor, action, target, outcome, detail, hash) VALUES (?, 1, 'a', 'x', 't', 'ok', ?, ?)",
      [id, detail, hash],
    );
  });
  database.close();
  rmSync(join(directory, "control/audit-heads.json"));
  await start();
}

test("heads go on over rows, restarts of both, and a new root: every step is proven, and nothing is said", async () => {
  await open();
  const node = await join1("vm-1");
  await until(() => headOf(node) !== null, "a first head");
  act(300);
  const second = await push();
  await until(() => headOf(node) === second, "the second head");
  await control.stop();
  await start();
  act(5);
  const third = await push();
  await until(() => headOf(node) === third, "a head of the next run");

  const { rotation, authority } = control.parts;
  if (rotation === null) throw new Error("a CA of its own");
  await rotation.start("root");
  await until(() => rotation.progress().waiting?.what === "finish", "the rotation");
  expect(rotation.finish().done).toBe(true);
  await until(() => rotation.progress().phase === "idle", "its end");
  await until(() => authority.bundle.value.rootsPem.match(/BEGIN/g)?.length === 1, "one root");
  act(5);
  await until(() => control.parts.auditHeads.published.value !== null, "a head");
  const fourth = await push();
  await until(() => headOf(node) === fourth, "a head by the new root");
  expect(await control.parts.auditHeads.check()).toMatchObject({ intact: true });

  await node.close();
  const again = await follow("vm-1", null);
  await until(() => headOf(again) === fourth, "what was kept");
  act(3);
  const fifth = await push();
  await until(() => headOf(again) === fifth, "a head after the host's restart");
  expect(conflictsOf(again)).toEqual([]);
  expect(said.filter((message) => message.includes("audit log"))).toEqual([]);
}, 300_000);

test("a log that was cut off is found, whatever else is gone with it", async () => {
  await open();
  const node = await join1("vm-1");
  act(20);
  const head = await push();
  await until(() => headOf(node) === head, "the head");
  const last = control.parts.state.audit.head().id;
  await rewrite(last - 15, []);
  await until(() => conflictsOf(node).length > 0, "the conflict");
  expect(conflictsOf(node)[0]).toContain(`and had row ${last}`);
  expect(said.some((message) => message.includes("is not the one that this host knew"))).toBe(true);
  // The control plane's own operators see it as a refusal of the host.
  await until(
    () =>
      control.parts.xds
        .status()
        .some(({ types }) =>
          types.some(({ lastRefusal }) => lastRefusal?.message.includes("and had row") === true),
        ),
    "a refusal",
  );
}, 300_000);

test("a log that was written again, and has grown beyond what it was, is found; and is so after the host's restart", async () => {
  await open();
  const node = await join1("vm-1");
  act(20);
  const head = await push();
  await until(() => headOf(node) === head, "the head");
  const last = control.parts.state.audit.head().id;
  await rewrite(
    last - 15,
    Array.from({ length: 40 }, (_, n) => `innocent ${n}`),
  );
  await until(() => conflictsOf(node).length > 0, "the conflict");
  expect(conflictsOf(node)[0]).toContain(`row ${last} is another one than it was`);
  await node.close();
  const again = await follow("vm-1", null);
  expect(conflictsOf(again)).toHaveLength(1);
}, 300_000);

test("another state in the place of the one that was is found", async () => {
  await open();
  const node = await join1("vm-1");
  const head = await push();
  await until(() => headOf(node) === head, "the head");
  const { published } = control.parts.auditHeads;
  expect(published.value?.stateId).toBe(control.parts.state.id);
  // The CA stays, the log is of somebody else.
  await control.stop();
  const database = new Database(join(directory, "control/control.db"));
  const other = "f".repeat(32);
  database.run("UPDATE settings SET value = ? WHERE name = 'state.id'", [other]);
  database.close();
  await Bun.write(join(directory, "control/control.id"), `${other}\n`);
  rmSync(join(directory, "control/audit-heads.json"));
  await start();
  await until(() => conflictsOf(node).length > 0, "the conflict");
  expect(conflictsOf(node)[0]).toContain(`the log is of state ${other}`);
}, 300_000);
