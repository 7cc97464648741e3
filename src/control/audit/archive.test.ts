/** What leaves the state is in the archive first, whatever dies in between; and archive and state prove each other. */
import { expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { stateLimits } from "../../base/limits/control.ts";
import type { Logger } from "../../base/log.ts";
import { MetricRegistry } from "../../base/metrics.ts";
import { writeMetrics } from "../../base/metrics_text.ts";
import { outcomeOf, rejectionOf } from "../../base/testing/rejection.ts";
import type { Files } from "../../host/host.ts";
import type { ArchiveCheck, AuditHead } from "../records/audit.ts";
import type { ControlState } from "../state/control_state.ts";
import { StateWorld } from "../state/testing/simulated_state.ts";
import { Archive, archiveAction } from "./archive.ts";
import { checkArchive } from "./archive_check.ts";

class Lab {
  metrics = new MetricRegistry();
  readonly w = new StateWorld();
  readonly lines: string[] = [];
  /** The archive's disk, not the state's. */
  isFull = false;
  hangs = false;
  readonly logger: Logger = { log: (level, _target, message) => void this.lines.push(`${level} ${message}`) };
  #started: { readonly state: ControlState; readonly archive: Archive } | null = null;

  static async open(): Promise<Lab> {
    const lab = new Lab();
    await lab.start();
    return lab;
  }

  get state(): ControlState {
    if (this.#started === null) throw new Error("not started");
    return this.#started.state;
  }

  get archive(): Archive {
    if (this.#started === null) throw new Error("not started");
    return this.#started.archive;
  }

  async start(): Promise<void> {
    const state = await this.w.open({}, this.w.host, this.logger);
    const { clock, files } = this.w.host;
    this.metrics = new MetricRegistry();
    const writeAtomic: Files["writeAtomic"] = async (path, bytes, mode) => {
      if (this.hangs) await new Promise(() => {});
      if (this.isFull) throw new MeshError("io", "local", `${path}: ENOSPC`);
      await files.writeAtomic(path, bytes, mode);
    };
    const archive = new Archive({
      clock,
      logger: this.logger,
      files: { makeDirectory: (path, mode) => files.makeDirectory(path, mode), writeAtomic },
      metrics: this.metrics,
      state,
      directory: "/archive",
    });
    this.#started = { state, archive };
  }

  append(count: number, detail = "d"): void {
    const entry = {
      atMs: 1,
      actor: "a",
      action: "x",
      target: "t",
      outcome: "ok",
      before: null,
      after: null,
    } as const;
    this.state.transaction(() => {
      for (let n = 0; n < count; n++) this.state.audit.append({ ...entry, detail: `${detail} ${n}` });
    });
  }

  /** Until there is no more. */
  async makeRoom(auditRows: number, force = false): Promise<void> {
    while (await this.w.world.settle(this.archive.makeRoom({ auditRows, versions: 1, force })));
  }

  check(known: readonly AuditHead[] = [], stateId = this.state.id): Promise<ArchiveCheck> {
    const { state, archive } = this;
    return this.w.world.settle(
      checkArchive({
        files: this.w.host.files,
        clock: this.w.host.clock,
        directory: "/archive",
        stateId,
        head: archive.head,
        named: state.audit.read({ action: archiveAction, limit: 1 })[0]?.target ?? null,
        start: state.audit.start(),
        known,
      }),
    );
  }

  /** Rows that were archived, rows that were lost, and whether it fails now. */
  counted(): readonly (string | undefined)[] {
    const text = writeMetrics(this.metrics, "prometheus");
    const names = ["rows_total", "lost_rows_total", "failing"];
    return names.map((name) => new RegExp(`^fairlead_archive_${name} (.*)$`, "m").exec(text)?.[1]);
  }

  files(): readonly string[] {
    return this.w.machine.disk.list("/archive")?.map(({ path }) => path) ?? [];
  }

  text(path: string): string {
    return new TextDecoder().decode(this.w.machine.disk.read(path));
  }
}

test("all kinds of rows are in segments before they go, and the chain leads from the first row into the state", async () => {
  const lab = await Lab.open();
  const { state } = lab;
  const issued = { issuerKey: "k", identity: "spiffe://a", notBeforeMs: 0, requestedBy: "n", issuedAtMs: 0 };
  for (let n = 0; n < 1_500; n++) state.certificates.record({ ...issued, serial: `s${n}`, notAfterMs: 1 });
  state.certificates.record({ ...issued, serial: "good", notAfterMs: Number.MAX_SAFE_INTEGER });
  state.revocations.add({
    kind: "serial",
    value: "s1",
    issuerKey: "k",
    reason: "r",
    byWhom: "w",
    atMs: 0,
    expiresAtMs: 1,
  });
  state.tokens.create({
    id: "t1",
    secretHash: new Uint8Array(32).fill(0xab),
    binding: { kind: "node", node: "n" },
    expiresAtMs: 1,
    createdBy: "w",
    byNamespace: "",
    replace: false,
  });
  lab.append(2_500);
  const middle = state.audit.read({ limit: 1, beforeId: 1_200 })[0];
  const known = { id: 1_199, hash: state.audit.page(1_198, 1)[0]?.hash.toHex() ?? "" };
  expect(middle?.id).toBe(1_199);
  await lab.makeRoom(10);
  const texts = lab.files().map((path) => lab.text(path));
  expect(texts.length).toBeGreaterThanOrEqual(3);
  const rows = texts.flatMap((text) =>
    text
      .trimEnd()
      .split("\n")
      .slice(1)
      .map((line) => JSON.parse(line) as { table: string; id?: number; serial?: string }),
  );
  const of = (table: string) => rows.filter((row) => row.table === table);
  const start = state.audit.start();
  expect(of("audit").map(({ id }) => id)).toEqual(Array.from({ length: start.id }, (_, n) => n + 1));
  expect(start.id).toBeGreaterThan(2_490);
  expect(new Set(of("certificates").map(({ serial }) => serial)).size).toBe(1_500);
  expect(of("certificates")).toHaveLength(1_500);
  expect(of("revocations")).toHaveLength(1);
  expect(of("tokens")).toHaveLength(1);
  expect(texts.join("")).not.toContain("ab".repeat(8));
  expect(state.certificates.list({}).map(({ serial }) => serial)).toEqual(["good"]);
  expect(state.tokens.list()).toHaveLength(0);
  expect(state.audit.verify()).toMatchObject({ intact: true });
  expect(await lab.check([known])).toMatchObject({
    intact: true,
    segments: texts.length,
    rows: rows.length,
    fromId: 1,
  });
  expect(await lab.check([{ ...known, hash: "00".repeat(32) }])).toMatchObject({
    intact: false,
    reason: expect.stringContaining("row 1199 is not the one that the signed head names"),
  });
}, 300_000);

test("a segment that was changed, removed, or put in another's place is found, and an older archive in the place of this one", async () => {
  const lab = await Lab.open();
  lab.append(2_500);
  await lab.makeRoom(10);
  const { disk } = lab.w.machine;
  const paths = lab.files();
  const kept = paths.map((path) => lab.text(path));
  const broken = async (index: number, text: string | null): Promise<string> => {
    const path = paths[index] ?? "";
    if (text === null) disk.remove(path);
    else disk.write(path, text);
    const { intact, reason } = await lab.check();
    expect(intact).toBe(false);
    disk.write(path, kept[index] ?? "");
    expect(await lab.check()).toMatchObject({ intact: true });
    return reason ?? "";
  };
  expect(await broken(0, (kept[0] ?? "").replace("d 17", "d 71"))).toContain("was changed");
  expect(await broken(1, null)).toContain("ENOENT");
  expect(await broken(1, kept[0] ?? "")).toContain("was changed");
  expect(await broken(0, "")).toContain("was changed");
  // Whoever has the disk of the state makes it name an older segment.
  const older = lab.archive.head;
  lab.append(1_500);
  await lab.makeRoom(10);
  lab.state.settings.set("archive.head", JSON.stringify(older));
  expect((await lab.check()).reason).toContain("as the newest, and the audit log");
}, 300_000);

test("rows stay while the archive cannot be written, which is said once; what cannot stay goes without it, said and counted", async () => {
  const lab = await Lab.open();
  lab.append(500);
  lab.isFull = true;
  expect(await rejectionOf(lab.makeRoom(10))).toMatchObject({ message: expect.stringContaining("ENOSPC") });
  expect(await outcomeOf(lab.makeRoom(10))).toThrow();
  expect(lab.state.audit.start().id).toBe(0);
  expect(
    lab.lines.filter(
      (line) => line === "error the archive cannot be written; rows stay in the state, up to a bound",
    ),
  ).toHaveLength(1);
  expect(lab.archive.status).toMatchObject({
    target: "archive",
    lost: 0,
    failing: { reason: expect.stringContaining("ENOSPC") },
  });
  await lab.makeRoom(100, true);
  const lost = lab.state.audit.start().id;
  expect(lost).toBeGreaterThan(390);
  expect(lab.archive.status.lost).toBe(lost);
  expect(lab.counted()).toEqual([undefined, String(lost), "1"]);
  expect(lab.lines).toContain("error rows were removed from the state without being archived");
  lab.isFull = false;
  lab.append(100);
  await lab.makeRoom(10);
  expect(lab.archive.status.failing).toBeNull();
  const archived = lab.state.audit.start().id - lost;
  expect(lab.counted()).toEqual([String(archived), String(lost), "0"]);
  expect(await lab.check()).toMatchObject({ intact: true, fromId: lost + 1 });
  expect(await lab.check([], "another state's")).toMatchObject({
    intact: false,
    reason: expect.stringContaining("is of another archive"),
  });
  // It holds what tenants did: for the control plane's own user, who does not write it again either.
  expect(lab.w.machine.disk.modeOf("/archive")).toBe(0o700);
  for (const path of lab.files()) expect(lab.w.machine.disk.modeOf(path)).toBe(0o400);
});

test("killed after a segment was written and before its rows went, no row is lost and both still prove each other", async () => {
  const lab = await Lab.open();
  lab.append(600);
  const { state } = lab;
  const remove = state.audit.pruneTo.bind(state.audit);
  state.audit.pruneTo = () => {
    throw new Error("killed");
  };
  expect(await outcomeOf(lab.makeRoom(10))).toThrow("killed");
  state.audit.pruneTo = remove;
  expect(lab.files()).toHaveLength(1);
  expect(lab.archive.head).toBeNull();
  lab.w.restart();
  await lab.start();
  lab.append(5, "after the restart");
  await lab.makeRoom(10);
  expect(await lab.check()).toMatchObject({ intact: true, fromId: 1 });
});

test("a state that goes back to a back-up replaces no segment that was written since", async () => {
  const lab = await Lab.open();
  lab.append(600);
  lab.state.backup("/state/copy");
  await lab.makeRoom(10);
  const before = lab.files().map((path) => [path, lab.text(path)]);
  lab.w.restart();
  lab.w.machine.disk.write("/state/control.db", lab.w.machine.disk.read("/state/copy"));
  await lab.start();
  expect(lab.state.audit.start().id).toBe(0);
  lab.append(50, "another life");
  await lab.makeRoom(10);
  for (const [path = "", text] of before) expect(lab.text(path)).toBe(text ?? "");
  expect(await lab.check()).toMatchObject({ intact: true, fromId: 1 });
});

test("a few rows wait for an hour, and rows of any length are read in pieces", async () => {
  const lab = await Lab.open();
  const issued = { issuerKey: "k", identity: "spiffe://a", notBeforeMs: 0, requestedBy: "n", issuedAtMs: 0 };
  lab.state.certificates.record({ ...issued, serial: "s", notAfterMs: 1 });
  const { world } = lab.w;
  expect(await world.settle(lab.archive.prune())).toBe(false);
  expect(lab.archive.status.waiting).toBe(1);
  await world.run(world.nowMs + stateLimits.archiveIntervalMs);
  expect(await world.settle(lab.archive.prune())).toBe(false);
  expect(lab.archive.status.waiting).toBe(0);
  expect(lab.state.certificates.list({})).toHaveLength(0);
  lab.append(300, "x".repeat(30_000));
  await lab.makeRoom(1);
  for (const path of lab.files()) expect(lab.text(path).length).toBeLessThan(4 * 1024 * 1024);
  expect(await lab.check()).toMatchObject({ intact: true, fromId: 1 });
});

test("a network file system that hangs is given up in time, and asked for nothing else; pruning by force goes on", async () => {
  const lab = await Lab.open();
  lab.append(500);
  lab.hangs = true;
  const message = async (): Promise<string> => String(await rejectionOf(lab.makeRoom(10)));
  expect(await message()).toContain("has not ended for 30 s");
  expect(await message()).toContain("the write before has not ended");
  expect(lab.state.audit.start().id).toBe(0);
  await lab.makeRoom(100, true);
  expect(lab.state.audit.start().id).toBeGreaterThan(390);
  expect(lab.archive.status.lost).toBe(lab.state.audit.start().id);
});
