/** A whole control plane's audit log at its receivers, over a restart, and what status and metrics say of one that is dead. */
import { afterEach, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeMetrics } from "../../base/metrics_text.ts";
import { loadControlPlane } from "../../config/load.ts";
import type { SettingName } from "../../config/settings.ts";
import { createBunHost } from "../../host/bun/host.ts";
import { LogWriter } from "../../host/log_writer.ts";
import { type RunningControl, startControl } from "./control.ts";
import { checkAudit } from "./sources.ts";

const host = createBunHost();
const directory = mkdtempSync(join(tmpdir(), "fairlead-export-"));
const path = join(directory, "audit.jsonl");
const ends: (() => unknown)[] = [];

afterEach(async () => {
  for (const end of ends.splice(0)) await end();
  rmSync(directory, { recursive: true, force: true });
});

async function start(more: readonly (readonly [SettingName, readonly string[]])[]): Promise<RunningControl> {
  const flags = new Map<SettingName, readonly string[]>([
    ["controlListen", ["127.0.0.1:0"]],
    ["servingNames", ["127.0.0.1"]],
    ["stateDirectory", [join(directory, "state")]],
    ["auditFile", [path]],
    ...more,
  ]);
  const { config, errors } = loadControlPlane({ flags, environment: {}, file: null });
  if (config === null) throw new Error(JSON.stringify(errors));
  const control = await startControl(host, config, new LogWriter(host.clock, () => true, "text", "error"));
  ends.unshift(() => control.stop());
  return control;
}

async function until(condition: () => boolean, what: string): Promise<void> {
  for (let n = 0; !condition(); n++) {
    if (n > 12_000) throw new Error(`never: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test("every row gets to every receiver; a dead one is shown, holds up no other, and has it all when it is back", async () => {
  const records: { attributes: { key: string; value: { stringValue?: string } }[] }[] = [];
  const collector = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      const body = (await request.json()) as {
        resourceLogs: [{ scopeLogs: [{ logRecords: typeof records }] }];
      };
      records.push(...body.resourceLogs[0].scopeLogs[0].logRecords);
      return Response.json({});
    },
  });
  ends.push(() => collector.stop(true));
  const dead = createServer();
  await new Promise<void>((resolve) => dead.listen(0, "127.0.0.1", resolve));
  const { port } = dead.address() as { port: number };
  await new Promise((resolve) => dead.close(resolve));
  const settings = [
    ["auditOtlp", [`http://127.0.0.1:${collector.port}`]],
    ["auditSyslog", [`tcp://127.0.0.1:${port}`]],
  ] as const;
  let control = await start(settings);
  const { state, identity } = control.parts;
  await identity.joinTokens.create({
    binding: { kind: "node", node: "vm-1" },
    createdBy: "ada",
    replace: false,
  });
  const lines = () =>
    readFileSync(path, "utf8")
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as { id: number; action: string });
  const head = () => control.parts.state.audit.head().id;
  const statusOf = (target: string) =>
    control.parts.auditExports.status.find((one) => one.target === target) ?? { waiting: -1, failing: null };
  await until(() => statusOf("file").waiting === 0 && statusOf("otlp").waiting === 0, "all rows exported");
  expect(lines().map(({ id }) => id)).toEqual(Array.from({ length: head() }, (_, n) => n + 1));
  expect(records).toHaveLength(head());
  await until(() => statusOf("syslog").failing !== null, "a dead server is seen");
  expect(statusOf("syslog")).toMatchObject({ waiting: head() });
  const metrics = writeMetrics(control.metrics, "prometheus");
  expect(metrics).toContain('fairlead_audit_export_failing{target="syslog"} 1');
  expect(metrics).toContain(`fairlead_audit_export_waiting_rows{target="syslog"} ${head()}`);
  expect(metrics).toContain(`fairlead_audit_export_rows_total{target="file"} ${head()}`);
  expect(control.pending()).toEqual([]);

  // Again, with the server there: from its first row, while the others go on from where they were.
  const before = head();
  await control.stop();
  expect(state.id).toBeDefined();
  let got = "";
  const server = createServer((socket) => {
    socket.on("data", (chunk) => {
      got += chunk.toString();
    });
  });
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  ends.push(() => server.close());
  control = await start(settings);
  await until(
    () => statusOf("file").waiting === 0 && got.includes(`"id":${head()},`),
    "all rows at the server",
  );
  for (let id = 1; id <= head(); id++) expect(got).toContain(`"id":${id},`);
  const ids = lines().map(({ id }) => id);
  expect(ids.slice(before).every((id) => id > before)).toBe(true);
  expect(new Set(ids).size).toBe(head());
}, 300_000);

test("settings that do not go together are refused, and say why", () => {
  const errorsOf = (...more: readonly (readonly [SettingName, readonly string[]])[]) =>
    loadControlPlane({ flags: new Map(more), environment: {}, file: null }).errors.map(
      ({ where, message }) => `${where} ${message}`,
    );
  expect(errorsOf(["auditSyslog", ["tls://a"]])[0]).toContain("--audit-syslog-root is missing");
  expect(errorsOf(["auditSyslog", ["tcp://a"]], ["auditSyslogRoot", ["x"]])[0]).toContain(
    "needs --audit-syslog tls",
  );
  expect(errorsOf(["auditOtlpHeaders", ["x"]])[0]).toContain("needs --audit-otlp");
  for (const bad of ["a:514", "udp://", "udp://a:0", "udp://u@a", "http://a", "unix:dev/log"])
    expect(errorsOf(["auditSyslog", [bad]])[0]).toContain("tls://HOST[:PORT]");
  expect(errorsOf(["auditOtlp", ["http://collector.example:4318"]])[0]).toContain("use https");
  expect(errorsOf(["auditOtlp", ["https://u:p@a/"]])[0]).toContain("--audit-otlp-headers");
});

test("what is removed from the state of a whole control plane is in its archive, and both prove each other", async () => {
  const archive = join(directory, "archive");
  const { parts } = await start([["auditArchive", [archive]]]);
  const { state } = parts;
  const entry = { atMs: 1, actor: "a", target: "t", outcome: "ok", before: null, after: null } as const;
  for (let n = 0; n < 50; n++) state.audit.append({ ...entry, action: "x", detail: `did ${n}` });
  await parts.auditHeads.sign();
  await until(() => parts.auditExports.hold?.afterId === state.audit.head().id, "the file has all");
  while (await parts.archive?.makeRoom({ auditRows: 5, versions: 1 }));
  const names = readdirSync(archive);
  expect(names).toHaveLength(1);
  expect(statSync(join(archive, names[0] ?? "")).mode & 0o777).toBe(0o400);
  expect(state.audit.start().id).toBeGreaterThan(40);
  const check = await checkAudit(host, parts, [], true);
  expect(check).toMatchObject({ intact: true, archive: { intact: true, segments: 1, fromId: 1 } });
  chmodSync(join(archive, names[0] ?? ""), 0o600);
  writeFileSync(join(archive, names[0] ?? ""), "x");
  expect(await checkAudit(host, parts, [], true)).toMatchObject({
    intact: false,
    reason: expect.stringContaining("was changed"),
  });
}, 300_000);
