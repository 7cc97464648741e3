/** Who administers a control plane on a real host, when somebody tries to be the first administrator or takes its trust away. */
import { afterAll, afterEach, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { ControlPlaneConfig } from "../../config/control/config.ts";
import { loadControlPlane } from "../../config/load.ts";
import { administratorId } from "../../control/ca/first_administrator.ts";
import { createBunHost } from "../../host/bun/host.ts";
import { LogWriter } from "../../host/log_writer.ts";
import { type RunningControl, startControl } from "./control.ts";

const host = createBunHost();
const directory = mkdtempSync(join(tmpdir(), "fairlead-administrator-"));
let control: RunningControl | null = null;

function config(): ControlPlaneConfig {
  const flags = new Map([
    ["controlListen", ["127.0.0.1:0"]],
    ["servingNames", ["127.0.0.1"]],
    ["stateDirectory", [directory]],
  ] as const);
  const { config: loaded } = loadControlPlane({ flags, environment: {}, file: null });
  if (loaded === null) throw new Error("the settings are wrong");
  return loaded;
}

async function start(): Promise<RunningControl> {
  control = await startControl(host, config(), new LogWriter(host.clock, () => true, "text", "error"));
  return control;
}

afterEach(async () => {
  await control?.stop();
  for (const name of readdirSync(directory)) rmSync(join(directory, name), { recursive: true });
});

afterAll(() => rmSync(directory, { recursive: true }));

test("a control plane whose first administrator was revoked starts again, and another one can lift it", async () => {
  const { parts, stop } = await start();
  const target = { kind: "identity", uri: administratorId("cluster.local", "istio-system").uri } as const;
  await parts.authority.revoke(target, "the file was stolen", "ada");
  await stop();
  const again = await start();
  expect(again.pending()).toEqual([]);
  expect(await again.parts.authority.lift(target)).toBe(true);
  await again.stop();
  await start();
});

test("retired, its file goes and stays away; who has the state directory brings it back, and that is written down", async () => {
  const first = await start();
  const file = join(directory, "admin.pem");
  while (!existsSync(file)) await Bun.sleep(5);
  first.parts.state.transaction(() => first.parts.firstRole.retire());
  while (existsSync(file)) await Bun.sleep(5);
  await first.stop();

  const again = await start();
  expect([again.parts.firstRole.isRetired, existsSync(file)]).toEqual([true, false]);
  expect(again.pending()).toEqual([]);
  await again.stop();

  const key = join(directory, "restore-first-administrator");
  writeFileSync(key, "");
  const back = await start();
  while (!existsSync(file)) await Bun.sleep(5);
  expect([back.parts.firstRole.isRetired, existsSync(file), existsSync(key)]).toEqual([false, true, false]);
  expect(back.parts.state.audit.read({ limit: 9 }).map(({ action }) => action)).toContain(
    "administrators.restore",
  );
});

test("a retirement that was not written leaves the first administrator as it was", async () => {
  const { parts } = await start();
  const { state, firstRole } = parts;
  const file = join(directory, "admin.pem");
  while (!existsSync(file)) await Bun.sleep(5);
  const failing = (): void =>
    state.transaction(() => {
      firstRole.retire();
      throw new Error("not written");
    });
  expect(failing).toThrow("not written");
  await new Promise<void>((resolve) => host.clock.defer(() => host.clock.defer(resolve)));
  expect([firstRole.isRetired, firstRole.retired.value, existsSync(file)]).toEqual([false, false, true]);
});
