/** The audit log on its way to a receiver that dies, freezes, refuses and comes back: in order, at least once, from where it was. */
import { expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { auditExportLimits } from "../../base/limits/control.ts";
import type { LogFields, Logger } from "../../base/log.ts";
import { MetricRegistry } from "../../base/metrics.ts";
import { writeMetrics } from "../../base/metrics_text.ts";
import type { ChainedEntry } from "../records/audit.ts";
import type { ControlState } from "../state/control_state.ts";
import { StateWorld } from "../state/testing/simulated_state.ts";
import { AuditExport, type AuditSink } from "./audit_export.ts";
import { auditExportMetrics } from "./audit_export_metrics.ts";

class Receiver implements AuditSink {
  readonly target = "syslog";
  readonly where = "here";
  settleMs = 0;
  readonly got: number[] = [];
  largest = 0;
  /** What a call does once the rows are read. */
  answer: (rows: readonly ChainedEntry[]) => Promise<number> = async () => 0;

  async send(rows: readonly ChainedEntry[]): Promise<number> {
    this.largest = Math.max(this.largest, rows.length);
    const refused = await this.answer(rows);
    this.got.push(...rows.map(({ entry }) => entry.id));
    return refused;
  }

  close(): void {}
}

class Lab {
  readonly w = new StateWorld();
  readonly lines: {
    readonly level: string;
    readonly message: string;
    readonly fields?: LogFields | undefined;
  }[] = [];
  readonly logger: Logger = {
    log: (level, _target, message, fields) => void this.lines.push({ level, message, fields }),
  };
  receiver = new Receiver();
  #metrics = new MetricRegistry();
  #started: { readonly state: ControlState; readonly exporter: AuditExport } | null = null;

  static async open(): Promise<Lab> {
    const lab = new Lab();
    await lab.start();
    return lab;
  }

  get state(): ControlState {
    if (this.#started === null) throw new Error("not started");
    return this.#started.state;
  }

  get exporter(): AuditExport {
    if (this.#started === null) throw new Error("not started");
    return this.#started.exporter;
  }

  async start(): Promise<void> {
    const state = await this.w.open({}, this.w.host, this.logger);
    const { host } = this.w;
    const metrics = new MetricRegistry();
    this.#metrics = metrics;
    const exporter: AuditExport = new AuditExport({
      clock: host.clock,
      random: host.random,
      logger: this.logger,
      audit: state.audit,
      settings: state.settings,
      demandRoom: () => state.room.demand(),
      sink: this.receiver,
      counts: auditExportMetrics(metrics, () => [exporter.status])("syslog"),
    });
    this.#started = { state, exporter };
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
    for (let n = 0; n < count; n++) this.state.audit.append({ ...entry, detail });
  }

  run(ms: number): Promise<void> {
    const { world } = this.w;
    return world.run(world.nowMs + ms);
  }

  /** What is counted of this receiver since the last start, by the end of the metric's name. */
  counted(): Readonly<Record<string, number>> {
    const lines = writeMetrics(this.#metrics, "prometheus").matchAll(
      /^fairlead_audit_export_(\w+?)(?:_total)?\{target="syslog"\} (.*)$/gm,
    );
    return Object.fromEntries([...lines].map(([, name, value]) => [name, Number(value)]));
  }

  said(part: string): number {
    return this.lines.filter(({ message }) => message.includes(part)).length;
  }
}

const upTo = (last: number, first = 1): number[] =>
  Array.from({ length: last - first + 1 }, (_, n) => first + n);

test("rows come in their order, once, and go on over a restart", async () => {
  const lab = await Lab.open();
  lab.append(250);
  await lab.run(5_000);
  lab.append(3);
  await lab.run(5_000);
  expect(lab.receiver.got).toEqual(upTo(253));
  expect(lab.exporter.status).toMatchObject({ exportedId: 253, waiting: 0, failing: null, lost: 0 });
  lab.w.restart();
  await lab.start();
  lab.append(2);
  await lab.run(5_000);
  expect(lab.receiver.got).toEqual(upTo(255));
});

test("closed in good order, what was sent just before is written down, and is not sent again by the next start", async () => {
  const lab = await Lab.open();
  lab.append(5);
  await lab.run(auditExportLimits.pollMs);
  // Within the interval in which it is written down once.
  lab.append(2);
  await lab.run(auditExportLimits.pollMs);
  expect([lab.exporter.status.exportedId, lab.exporter.keptId]).toEqual([7, 5]);
  await lab.w.world.settle(lab.exporter.close());
  expect(lab.exporter.keptId).toBe(7);
  lab.w.restart();
  await lab.start();
  await lab.run(5_000);
  expect(lab.receiver.got).toEqual(upTo(7));
});

test("a process that is killed before it wrote down how far it was sends rows again, and leaves none out", async () => {
  const lab = await Lab.open();
  lab.append(10);
  lab.receiver.answer = async (rows) => {
    lab.receiver.got.push(...rows.map(({ entry }) => entry.id));
    lab.w.restart();
    return new Promise(() => {});
  };
  await lab.run(1_000);
  lab.receiver.answer = async () => 0;
  await lab.start();
  await lab.run(5_000);
  expect(lab.receiver.got).toEqual([...upTo(10), ...upTo(10)]);
});

test("a receiver that is away costs one batch of memory, is shown, and gets all of it when it is back", async () => {
  const lab = await Lab.open();
  lab.receiver.answer = () => Promise.reject(new MeshError("connect_refused", "upstream", "nothing there"));
  lab.append(2_000, "x".repeat(20_000));
  await lab.run(60_000);
  expect(lab.receiver.largest * 20_000).toBeLessThan(2 * auditExportLimits.batchChars);
  expect(lab.exporter.status).toMatchObject({ exportedId: 0, waiting: 2_000 });
  expect(lab.exporter.status.failing?.reason).toBe("nothing there");
  // Once for the whole time, not once a try.
  expect(lab.said("does not take rows")).toBe(1);
  lab.receiver.answer = async () => 0;
  await lab.run(120_000);
  expect(lab.receiver.got).toEqual(upTo(2_000));
  expect(lab.said("takes rows again")).toBe(1);
  expect(lab.exporter.status.failing).toBeNull();
});

test("a receiver that never comes back to one call is never called a second time, and rows go on being written", async () => {
  const lab = await Lab.open();
  let calls = 0;
  lab.receiver.answer = () => {
    calls++;
    return new Promise(() => {});
  };
  lab.append(10);
  await lab.run(60_000);
  lab.append(10);
  await lab.run(60_000);
  expect(calls).toBe(1);
  expect(lab.exporter.status).toMatchObject({ waiting: 20 });
  expect(lab.exporter.status.failing?.reason).toContain("has not taken");
});

test("what was sent and had no time to settle is sent again after a connection broke", async () => {
  const lab = await Lab.open();
  lab.receiver.settleMs = 10_000;
  lab.append(5);
  await lab.run(11_500);
  lab.append(5);
  await lab.run(2_000);
  expect(lab.exporter.status.exportedId).toBe(5);
  let broken = true;
  lab.receiver.answer = async () => {
    if (!broken) return 0;
    broken = false;
    throw new MeshError("connection_closed", "upstream", "gone");
  };
  lab.append(1);
  await lab.run(20_000);
  expect(lab.receiver.got).toEqual([...upTo(10), ...upTo(11, 6)]);
  expect(lab.exporter.status).toMatchObject({ exportedId: 11, waiting: 0 });
});

test("a state that cannot be written holds nothing up; a restart then sends again", async () => {
  const lab = await Lab.open();
  lab.append(5);
  const set = lab.state.settings.set.bind(lab.state.settings);
  lab.state.settings.set = () => {
    throw new MeshError("disk_full", "local", "full");
  };
  await lab.run(5_000);
  expect(lab.receiver.got).toEqual(upTo(5));
  expect(lab.exporter.keptId).toBe(0);
  lab.state.settings.set = set;
  await lab.run(5_000);
  expect(lab.exporter.keptId).toBe(5);
});

test("pruning waits for it, says so, and not for ever: what goes without it is said, and counted", async () => {
  const lab = await Lab.open();
  lab.receiver.answer = () => Promise.reject(new MeshError("connect_refused", "upstream", "nothing there"));
  lab.append(100);
  const { audit } = lab.state;
  const kept = { keepRows: 10, waitRows: 120, hold: { afterId: lab.exporter.keptId, waitsFor: "syslog" } };
  expect(audit.due(kept)).toMatchObject({ endId: 0, waitsFor: "syslog", overruled: false });
  expect(audit.prune(1, "fairlead", kept)).toBe(0);
  lab.append(50);
  expect(audit.due(kept)).toMatchObject({ endId: 30, overruled: true });
  expect(audit.prune(1, "fairlead", kept)).toBe(30);
  expect(audit.read({ limit: 1 })[0]?.detail).toContain("syslog did not have all of them");
  lab.receiver.answer = async () => 0;
  await lab.run(60_000);
  expect(lab.receiver.got).toEqual(upTo(151, 31));
  expect(lab.exporter.status).toMatchObject({ lost: 30, waiting: 0 });
  expect(lab.lines.find(({ message }) => message.includes("were removed before"))).toMatchObject({
    level: "error",
    fields: { target: "syslog", rows: "1 to 30" },
  });
  // It has them all now: nothing is held any more.
  const now = { ...kept, hold: { afterId: lab.exporter.keptId, waitsFor: "syslog" } };
  expect(audit.due(now)).toMatchObject({ waitsFor: null, overruled: false });
});

test("the state says once that rows are kept for a receiver, and an operator's prune leaves them unless it is forced", async () => {
  const lab = await Lab.open();
  lab.receiver.answer = () => Promise.reject(new MeshError("connect_refused", "upstream", "nothing there"));
  const { state } = lab;
  lab.append(100);
  state.holdAudit(() => ({ afterId: lab.exporter.keptId, waitsFor: "syslog" }));
  expect(state.makeRoom({ auditRows: 10, versions: 1 })).toBe(false);
  expect(state.makeRoom({ auditRows: 10, versions: 1 })).toBe(false);
  expect(state.audit.start().id).toBe(0);
  expect(lab.said("syslog does not have them")).toBe(1);
  while (state.makeRoom({ auditRows: 10, versions: 1, force: true }));
  expect(state.audit.start().id).toBeGreaterThan(80);
});

test("a log that was cut, or written again behind what was sent, is said", async () => {
  const lab = await Lab.open();
  lab.append(5);
  await lab.run(5_000);
  lab.state.settings.set("audit.export/syslog", JSON.stringify({ id: 5, hash: "ab".repeat(32) }));
  lab.w.restart();
  await lab.start();
  lab.append(1);
  await lab.run(5_000);
  expect(lab.said("does not go on from the last row")).toBe(1);
  lab.state.settings.set("audit.export/syslog", JSON.stringify({ id: 99, hash: "ab".repeat(32) }));
  lab.w.restart();
  await lab.start();
  await lab.run(5_000);
  expect(lab.said("ends before the last row")).toBe(1);
});

test("a receiver that says it refused more than it was given, and a disk without room for the cursor, stop nothing", async () => {
  const lab = await Lab.open();
  lab.receiver.answer = async () => 1_000_000;
  lab.append(7);
  await lab.run(5_000);
  expect(lab.exporter.status).toMatchObject({ exportedId: 7, refused: 7, failing: null });
  lab.receiver.answer = async () => 0;
  const { room } = lab.state;
  const demand = room.demand.bind(room);
  // How far a receiver is can wait: the reserve is not given up for it.
  room.demand = () => {
    throw new MeshError("disk_full", "local", "kept for revocation");
  };
  lab.append(3);
  await lab.run(5_000);
  expect([lab.exporter.status.exportedId, lab.exporter.keptId]).toEqual([10, 7]);
  room.demand = demand;
  await lab.run(5_000);
  expect(lab.exporter.keptId).toBe(10);
});

test("rows, refusals, losses, failures and what waits are counted apart, and since when it fails is the first time", async () => {
  const lab = await Lab.open();
  lab.receiver.answer = async () => 2;
  lab.append(7);
  await lab.run(5_000);
  const well = {
    rows: 5,
    refused_rows: 2,
    lost_rows: 0,
    breaks: 0,
    failures: 0,
    waiting_rows: 0,
    failing: 0,
  };
  expect(lab.counted()).toEqual(well);
  lab.receiver.answer = () => Promise.reject(new MeshError("connect_refused", "upstream", "nothing there"));
  lab.append(3);
  await lab.run(2_000);
  const since = lab.exporter.status.failing?.sinceMs;
  expect(since).toBeNumber();
  await lab.run(120_000);
  const { failures = 0, ...others } = lab.counted();
  expect(failures).toBeGreaterThan(2);
  const { failures: _, ...before } = well;
  expect(others).toEqual({ ...before, waiting_rows: 3, failing: 1 });
  expect(lab.exporter.status.failing?.sinceMs).toBe(since ?? 0);
  // A position that leads nowhere is a break; rows that went are lost, each of them.
  lab.receiver.answer = async () => 0;
  lab.state.audit.prune(1, "fairlead", { keepRows: 1, waitRows: 0, hold: null });
  const { id } = lab.state.audit.start();
  await lab.run(600_000);
  expect(lab.counted()).toMatchObject({ lost_rows: id - 7, waiting_rows: 0, failing: 0 });
  lab.state.settings.set(
    "audit.export/syslog",
    JSON.stringify({ id: lab.state.audit.head().id, hash: "ab".repeat(32) }),
  );
  lab.w.restart();
  await lab.start();
  lab.append(1);
  await lab.run(5_000);
  expect(lab.counted()).toMatchObject({ breaks: 1, rows: 1 });
});
