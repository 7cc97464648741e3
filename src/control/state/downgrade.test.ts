import { expect, test } from "bun:test";
import { silentLogger } from "../../base/log.ts";
import { ControlState } from "./control_state.ts";
import { restore } from "./restore.ts";
import { migrations } from "./schema.ts";
import { StateWorld } from "./testing/simulated_state.ts";

const later = [...migrations, { name: "of a later program", sql: "CREATE TABLE later (a TEXT) STRICT;" }];

test("a later program copies the state before it changes it, and the one before goes back to the copy", async () => {
  const w = new StateWorld();
  let state = await w.open();
  state.settings.set("kept", "yes");
  state.close();

  const copy = `/state/control.db.schema-${migrations.length}`;
  state = await w.open({ migrations: later });
  expect(state.schemaVersion).toBe(later.length);
  expect(await w.world.settle(w.host.files.exists(copy))).toBe(true);
  state.settings.set("since", "then");
  state.close();

  // The earlier program again: it says what it found, and the way back, and changes nothing.
  const refused = await w.open().then(
    () => null,
    (thrown) => thrown,
  );
  expect(refused).toMatchObject({ code: "database_version", blame: "local" });
  expect(refused.message).toContain(`schema ${later.length}`);
  expect(refused.message).toContain(`fairlead restore ${copy} --state-directory /state --overwrite`);
  state = await w.open({ migrations: later });
  expect(state.settings.get("since")).toBe("then");
  state.close();

  const restored = await w.world.settle(restore(w.host, copy, "/state", { overwrite: true }));
  expect(restored.schemaVersion).toBe(migrations.length);
  // What the later program has revoked since cannot be read by this one, and that is told.
  expect(restored.carriedOver.revocations).toBeNull();
  state = await w.open();
  expect([state.settings.get("kept"), state.settings.get("since")]).toEqual(["yes", null]);
  expect(state.check()).toEqual([]);
});

test("without room for the copy nothing is changed", async () => {
  const w = new StateWorld();
  (await w.open()).close();
  w.machine.disk.full = true;
  const opening = w.world.settle(ControlState.open(w.host, "/state", silentLogger, { migrations: later }));
  expect(
    await opening.then(
      () => "opened",
      ({ code }) => code,
    ),
  ).toMatch(/^(disk_full|io)$/);
  w.machine.disk.full = false;
  const state = await w.open();
  expect(state.schemaVersion).toBe(migrations.length);
});
