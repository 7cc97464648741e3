import { describe, expect, test } from "bun:test";
import { WatchSource } from "../../base/watch.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { MemoryFiles } from "../../pki/testing/memory_files.ts";
import type { AuditEntry } from "../records/audit.ts";
import { FirstRole, type FirstRoleOptions, restoreFileName } from "./first_role.ts";

const path = `/state/${restoreFileName}`;

function bench() {
  const clock = new FakeClock(7_000);
  const files = new MemoryFiles();
  const rows = new Map<string, string>();
  const audit: AuditEntry[] = [];
  const health = new WatchSource({ writable: true });
  const lines: string[] = [];
  const options: FirstRoleOptions = {
    clock,
    files,
    logger: {
      log: (level, _target, message, fields) =>
        void lines.push(`${level} ${message} ${JSON.stringify(fields)}`),
    },
    state: {
      settings: {
        get: (name: string) => rows.get(name) ?? null,
        set: (name: string, value: string) => void rows.set(name, value),
        remove: (name: string) => rows.delete(name),
      } as FirstRoleOptions["state"]["settings"],
      audit: { append: (entry) => void audit.push(entry) },
      health,
      transaction: (work) => work(),
    },
    stateDirectory: "/state",
  };
  return { clock, files, rows, audit, health, lines, open: () => FirstRole.open(options) };
}

describe("the first administrator's role", () => {
  test("is there until it is retired, which is told once the transaction is over, and stays so", async () => {
    const { clock, open } = bench();
    const role = await open();
    const told: boolean[] = [];
    role.retired.subscribe((value) => void told.push(value));
    expect([role.isRetired, role.retired.value]).toEqual([false, false]);
    role.retire();
    expect([role.isRetired, role.retired.value, told]).toEqual([true, false, []]);
    await clock.advance(0);
    expect([role.retired.value, told]).toEqual([true, [true]]);
    expect((await open()).retired.value).toBe(true);
  });

  test("that was retired in a transaction that came to nothing is not told", async () => {
    const { clock, rows, open } = bench();
    const role = await open();
    role.retire();
    rows.clear();
    await clock.advance(0);
    expect([role.isRetired, role.retired.value]).toEqual([false, false]);
  });

  test("comes back by a file in the state directory, which goes, with a row in the audit log", async () => {
    const { files, rows, audit, lines, open } = bench();
    (await open()).retire();
    files.put(path, "");
    const role = await open();
    expect([role.isRetired, role.retired.value, rows.size, await files.exists(path)]).toEqual([
      false,
      false,
      0,
      false,
    ]);
    expect(audit).toEqual([
      {
        atMs: 7_000,
        actor: "fairlead",
        action: "administrators.restore",
        target: "Administrator first",
        outcome: "ok",
        detail: "restore-first-administrator was in the state directory",
        before: null,
        after: null,
      },
    ]);
    expect(lines).toEqual([`warn the first administrator has its role again {"file":"${path}"}`]);
  });

  test("does not come back in a start that can only read, and the file stays for the next", async () => {
    const { files, audit, health, open } = bench();
    (await open()).retire();
    files.put(path, "");
    health.set({ writable: false });
    expect([(await open()).isRetired, audit, await files.exists(path)]).toEqual([true, [], true]);
    health.set({ writable: true });
    expect((await open()).isRetired).toBe(false);
  });
});
