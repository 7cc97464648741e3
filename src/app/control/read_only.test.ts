/** A control plane whose disk cannot be written, at its start or from then on: nodes are served, changes are refused in words, and it comes back. */
import { afterEach, expect, test } from "bun:test";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ControlMembership } from "../../agent/join/membership.ts";
import { silentLogger } from "../../base/log.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { loadControlClient } from "../../config/control/client.ts";
import { loadConfig, loadControlPlane } from "../../config/load.ts";
import type { SettingName } from "../../config/settings.ts";
import { createBunHost } from "../../host/bun/host.ts";
import { LogWriter } from "../../host/log_writer.ts";
import { MeshStore } from "../../mesh/store/store.ts";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { connectControl } from "../command/control_client.ts";
import { type RunningControl, startControl } from "./control.ts";

const host = createBunHost();
const ends: (() => unknown)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0)) await end();
});

const reasons = [
  process.platform === "linux" ? null : "a file system of its own needs Linux",
  process.getuid?.() === 0 ? null : "mounting needs root",
  Bun.which("mount") === null ? "`mount` is not installed" : null,
].filter((reason) => reason !== null);

class Disk {
  readonly path = mkdtempSync(join(tmpdir(), "fairlead-frozen-"));

  /** @returns null where none can be mounted, even by root. */
  static open(): Disk | null {
    const disk = new Disk();
    const mounted =
      Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", disk.path]).exitCode === 0;
    ends.push(() => {
      if (mounted) Bun.spawnSync(["umount", "-l", disk.path]);
      rmSync(disk.path, { recursive: true, force: true });
    });
    return mounted ? disk : null;
  }

  remount(mode: "ro" | "rw"): void {
    expect(Bun.spawnSync(["mount", "-o", `remount,${mode}`, this.path]).exitCode).toBe(0);
  }
}

function withDisk(name: string, body: (disk: Disk) => Promise<void>): void {
  test.skipIf(reasons.length > 0)(
    `${name}${reasons.length > 0 ? ` (skipped: ${reasons.join(", ")})` : ""}`,
    async () => {
      const disk = Disk.open();
      if (disk === null) return console.warn("skipped: no file system can be mounted here");
      await body(disk);
    },
    60_000,
  );
}

async function start(stateDirectory: string, port = 0): Promise<RunningControl> {
  const flags = new Map<SettingName, readonly string[]>([
    ["controlListen", [`127.0.0.1:${port}`]],
    ["servingNames", ["127.0.0.1"]],
    ["stateDirectory", [stateDirectory]],
  ]);
  const { config } = loadControlPlane({ flags, environment: {}, file: null });
  if (config === null) throw new Error("the settings are wrong");
  const control = await startControl(host, config, new LogWriter(host.clock, () => true, "text", "error"));
  ends.unshift(() => control.stop());
  return control;
}

async function follow(
  control: RunningControl,
  directory: string,
  line: string | null,
): Promise<{ readonly plane: ControlMembership; readonly store: MeshStore }> {
  const words = line?.split(" ") ?? [];
  const after = (flag: string): string[] => [words[words.indexOf(flag) + 1] ?? ""];
  const flags = new Map<SettingName, readonly string[]>([
    ["control", [`https://127.0.0.1:${control.address.port}`]],
    ["joinAddresses", ["10.0.0.1"]],
    ["stateDirectory", [directory]],
    ...(line === null
      ? []
      : ([
          ["joinToken", after("--join-token")],
          ["caPin", after("--ca-pin")],
        ] as const)),
  ]);
  const { config, errors } = loadConfig({ flags, environment: {}, file: null });
  if (config?.control == null) throw new Error(JSON.stringify(errors));
  const { nodeName, network, clusterId, trustDomain, rootNamespace } = config;
  const plane = await ControlMembership.join({
    host,
    logger: silentLogger,
    provider: runtimeProvider(),
    settings: config.control,
    facts: { nodeName, network, clusterId, trustDomain, rootNamespace },
    version: "test",
  });
  ends.unshift(() => plane.close());
  const store = new MeshStore();
  const followed = plane.follow({
    store,
    refusedPolicies: "deny",
    setRoots: () => {},
    setCrls: async () => [],
    onConnected: () => {},
  });
  // Whoever is refused never has a mesh to follow: that is said by its status.
  await Promise.race([followed, refusedFor(plane)]);
  return { plane, store };
}

async function refusedFor(plane: ControlMembership): Promise<void> {
  while (!/UNAUTHENTICATED/.test(plane.status().xds?.error ?? "")) await Bun.sleep(10);
}

const entryOf = (name: string, address: string): string => `
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: ${name}, namespace: shop }
spec: { address: ${address}, serviceAccount: ${name} }
`;

async function ask(
  control: RunningControl,
  stateDirectory: string,
  method: "GET" | "POST",
  path: string,
  body?: unknown,
) {
  const identity = join(stateDirectory, "admin.pem");
  const { config } = loadControlClient(
    { control: `https://127.0.0.1:${control.address.port}`, identity },
    {},
  );
  if (config === null) throw new Error("the settings are wrong");
  const connection = await connectControl(host, config);
  try {
    const text = body === undefined ? null : JSON.stringify(body);
    const answer = await connection.request({ method, path, body: text, maxBytes: 1024 * 1024 });
    return { status: answer.status, text: new TextDecoder().decode(answer.body) };
  } finally {
    connection.close();
  }
}

const apply = (control: RunningControl, stateDirectory: string, name: string, address: string) =>
  ask(control, stateDirectory, "POST", "/v1/apply", {
    documents: [{ path: "p.yaml", text: entryOf(name, address) }],
  });

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let n = 0; !condition(); n++) {
    if (n > 6_000) throw new Error(`never: ${what}`);
    await Bun.sleep(10);
  }
}

withDisk(
  "a start after a crash on a disk that is mounted read-only serves what was committed last, and is whole again when it can be written",
  async (disk) => {
    const [first, second] = ["first", "second"].map((name) => join(disk.path, name)) as [string, string];
    // Nodes keep their own state elsewhere.
    const nodeDirectory = mkdtempSync(join(tmpdir(), "fairlead-frozen-node-"));
    ends.push(() => rmSync(nodeDirectory, { recursive: true, force: true }));
    let control = await start(first);
    await until(() => readdirSync(first).includes("admin.pem"), "the administrator's file");
    const token = (node: string) =>
      control.parts.identity.joinTokens.create({
        binding: { kind: "node", node },
        createdBy: "ada",
        replace: false,
      });
    for (const node of ["vm-1", "vm-2"]) {
      const { plane } = await follow(control, join(nodeDirectory, node), (await token(node)).line);
      await plane.close();
    }
    expect((await apply(control, first, "cart", "10.1.0.1")).status).toBe(200);
    // What is last: in the log of the database alone.
    const revoked = await ask(control, first, "POST", "/v1/revocations", {
      kind: "node",
      value: "vm-2",
      reason: "stolen",
    });
    expect(revoked.status).toBeLessThan(300);
    await Bun.sleep(300);
    // As a crash leaves it.
    mkdirSync(second, { mode: 0o700 });
    for (const name of readdirSync(first))
      if (!name.endsWith(".reserve") && !name.startsWith("."))
        copyFileSync(join(first, name), join(second, name));
    expect(statSync(join(second, "control.db-wal")).size).toBeGreaterThan(0);
    await control.stop();
    disk.remount("ro");

    control = await start(second);
    const { state } = control.parts;
    const health = state.health.value;
    expect(health.writable ? "" : health.reason).toContain("read-only");
    expect(control.pending()).toEqual([]);
    const good = await follow(control, join(nodeDirectory, "vm-1"), null);
    expect(good.plane.status().xds?.connected).toBe(true);
    expect([...good.store.workloads()].map(({ name }) => name)).toContain("cart");
    const bad = await follow(control, join(nodeDirectory, "vm-2"), null);
    expect(bad.plane.status().xds?.connected).not.toBe(true);
    const refused = await apply(control, second, "pay", "10.1.0.2");
    expect([refused.status, refused.text]).toEqual([503, expect.stringContaining("read-only")]);
    expect((await ask(control, second, "GET", "/v1/status")).text).toContain(
      "read-only: nodes are served, and changes are refused",
    );
    expect((await ask(control, second, "GET", "/v1/documents")).text).toContain("cart");
    const withheld = await rejectionOf(
      control.parts.identity.joinTokens.create({
        binding: { kind: "node", node: "x" },
        createdBy: "ada",
        replace: false,
      }),
    );
    expect(withheld).toMatchObject({ code: "disk_read_only" });

    disk.remount("rw");
    await until(() => state.health.value.writable, "the state is writable again");
    expect((await apply(control, second, "pay", "10.1.0.2")).status).toBe(200);
    await until(
      () => [...good.store.workloads()].some(({ name }) => name === "pay"),
      "the new workload at the node",
    );
    expect(good.plane.status().xds?.attempts).toBe(1);
    expect(state.audit.verify()).toMatchObject({ intact: true });
    await control.stop();
    // Nothing was lost of what came before and after.
    control = await start(second);
    expect(control.parts.state.registrations.byNode("vm-2")?.revokedAtMs).not.toBeNull();
    expect(control.parts.state.documents.current().documents).toHaveLength(2);
  },
);

withDisk(
  "a disk that fills up under it holds up what can wait alone, and that goes on when there is room",
  async (disk) => {
    const stateDirectory = join(disk.path, "state");
    const nodeDirectory = mkdtempSync(join(tmpdir(), "fairlead-frozen-node-"));
    ends.push(() => rmSync(nodeDirectory, { recursive: true, force: true }));
    const control = await start(stateDirectory);
    await until(() => readdirSync(stateDirectory).includes("admin.pem"), "the administrator's file");
    const { line } = await control.parts.identity.joinTokens.create({
      binding: { kind: "node", node: "vm-1" },
      createdBy: "ada",
      replace: false,
    });
    const { plane, store } = await follow(control, nodeDirectory, line);
    expect((await apply(control, stateDirectory, "cart", "10.1.0.1")).status).toBe(200);
    await until(() => [...store.workloads()].length > 0, "the workload");
    const { bavail, bsize } = statfsSync(disk.path);
    writeFileSync(join(disk.path, "filler"), new Uint8Array(bavail * bsize));
    const refusals = [];
    for (let n = 0; n < 20; n++)
      refusals.push((await apply(control, stateDirectory, `pay-${n}`, `10.1.0.${n + 2}`)).status);
    expect(refusals.slice(-5)).toEqual([507, 507, 507, 507, 507]);
    const revoked = await ask(control, stateDirectory, "POST", "/v1/revocations", {
      kind: "identity",
      value: "spiffe://cluster.local/ns/shop/sa/cart",
      reason: "stolen",
    });
    expect(revoked.status).toBeLessThan(300);
    expect(plane.status().xds?.connected).toBe(true);
    rmSync(join(disk.path, "filler"));
    let last = 0;
    for (let n = 0; n < 200 && last !== 200; n++) {
      last = (await apply(control, stateDirectory, "later", "10.1.1.1")).status;
      if (last !== 200) await Bun.sleep(500);
    }
    expect(last).toBe(200);
    await until(() => [...store.workloads()].some(({ name }) => name === "later"), "it at the node");
    expect(plane.status().xds?.attempts).toBe(1);
  },
);

withDisk(
  "another control plane that takes the state first makes this one unready, until it is gone",
  async (disk) => {
    const stateDirectory = join(disk.path, "state");
    let control = await start(stateDirectory);
    await until(() => readdirSync(stateDirectory).includes("admin.pem"), "the administrator's file");
    await control.stop();
    disk.remount("ro");
    control = await start(stateDirectory);
    expect(control.pending()).toEqual([]);
    disk.remount("rw");
    const other = Bun.spawn(
      [
        process.execPath,
        "-e",
        `const { Database } = require("bun:sqlite");
       const database = new Database(${JSON.stringify(join(stateDirectory, "control.db"))});
       database.run("PRAGMA locking_mode = EXCLUSIVE");
       database.run("PRAGMA journal_mode = WAL");
       database.run("BEGIN IMMEDIATE"); database.run("COMMIT");
       console.log("held");
       setInterval(() => {}, 1_000);`,
      ],
      { stdout: "pipe", stderr: "inherit" },
    );
    ends.unshift(() => other.kill());
    const { value } = await other.stdout.getReader().read();
    expect(new TextDecoder().decode(value)).toContain("held");
    await until(() => control.pending().length > 0, "it is unready");
    expect(control.pending()[0]).toContain("another process has it open");
    expect((await apply(control, stateDirectory, "cart", "10.1.0.1")).status).toBe(503);
    other.kill("SIGKILL");
    await other.exited;
    await until(() => control.pending().length === 0, "it is ready again");
    expect(control.parts.state.health.value.writable).toBe(true);
    expect((await apply(control, stateDirectory, "cart", "10.1.0.1")).status).toBe(200);
  },
);
