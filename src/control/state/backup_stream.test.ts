/** A back-up of a large state while it is written: read in pieces, whole, and never in the way. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stateLimits } from "../../base/limits/control.ts";
import { silentLogger } from "../../base/log.ts";
import { createBunHost } from "../../host/bun/host.ts";
import type { DatabaseSnapshot } from "../../host/database.ts";
import { ControlState } from "./control_state.ts";
import { inspectBackup, restore } from "./restore.ts";

const host = createBunHost();
const directory = mkdtempSync(join(tmpdir(), "fairlead-backup-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const options = { reserveBytes: 0 };
const entry = { atMs: 1, actor: "a", action: "x", target: "t", outcome: "ok", before: null } as const;

function write(state: ControlState, rows: number): void {
  state.transaction(() => {
    for (let row = 0; row < rows; row++)
      state.audit.append({ ...entry, detail: `${row}`, after: "x".repeat(10_000) });
  });
}

async function* pieces(snapshot: DatabaseSnapshot, between: () => void): AsyncGenerator<Uint8Array> {
  for (let offset = 0; offset < snapshot.bytes; offset += stateLimits.snapshotChunkBytes) {
    yield await snapshot.read(offset, stateLimits.snapshotChunkBytes);
    between();
  }
  snapshot.release();
}

test("is whole as of its beginning, whatever is written meanwhile, and nothing waits for it", async () => {
  const state = await ControlState.open(host, join(directory, "one"), silentLogger, options);
  for (let count = 0; count < 20; count++) write(state, 100);
  state.settings.set("round", "before");
  const head = state.audit.head();
  const snapshot = state.snapshot();
  expect(snapshot.bytes).toBeGreaterThan(15 * 1024 * 1024);
  expect(() => state.snapshot()).toThrow(expect.objectContaining({ code: "limit_reached" }));
  let count = 0;
  const path = join(directory, "copy");
  const whole = pieces(snapshot, () => {
    write(state, 1);
    state.settings.set("round", `${count++}`);
  });
  const written = await host.files.writeStream(path, whole, 0o600);
  expect([written, statSync(path).size]).toEqual([snapshot.bytes, snapshot.bytes]);
  expect(count).toBeGreaterThan(50);
  const summary = inspectBackup(host, path);
  expect(summary.auditHead).toEqual(head);

  // The log is folded in again: it does not grow for ever.
  for (let round = 0; round < 30; round++) write(state, 100);
  expect(statSync(join(directory, "one", "control.db-wal")).size).toBeLessThan(20 * 1024 * 1024);
  state.snapshot().release();
  expect(state.check()).toEqual([]);
  state.close();

  await restore(host, path, join(directory, "two"));
  const restored = await ControlState.open(host, join(directory, "two"), silentLogger, options);
  expect(restored.settings.get("round")).toBe("before");
  expect(restored.check()).toEqual([]);
  restored.close();
}, 300_000);

test("a state that is closed while it is copied fails the copy, and is whole", async () => {
  const state = await ControlState.open(host, join(directory, "three"), silentLogger, options);
  write(state, 100);
  const snapshot = state.snapshot();
  await snapshot.read(0, 100);
  write(state, 10);
  state.close();
  expect(await snapshot.read(0, 100).catch((thrown) => thrown)).toMatchObject({ code: "io" });
  const path = join(directory, "broken");
  expect(
    await host.files
      .writeStream(
        path,
        pieces(snapshot, () => {}),
        0o600,
      )
      .catch((thrown) => thrown),
  ).toMatchObject({
    code: "io",
  });
  expect(await host.files.exists(path)).toBe(false);
  const again = await ControlState.open(host, join(directory, "three"), silentLogger, options);
  expect(again.audit.verify()).toMatchObject({ intact: true, rows: 110 });
  again.close();
});
