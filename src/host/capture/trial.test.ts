import { expect, test } from "bun:test";
import { captureLimits } from "../../base/limits/capture.ts";
import { silentLogger } from "../../base/log.ts";
import { parseIpPrefix } from "../../base/prefix.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import type { MemoryHost } from "../memory/process.ts";
import { MemoryWorld } from "../memory/world.ts";
import { runGuard } from "./guard.ts";
import type { CaptureOptions } from "./options.ts";
import { describeCapture, Trial, type TrialSettings } from "./trial.ts";

const afterMs = captureLimits.minConfirmMs;
const settings: TrialSettings = {
  afterMs,
  path: "/var/lib/fairlead/capture-confirmed",
  subject: "what is on trial\n",
  guardWords: ["capture", "guard", "5500ms"],
};

/** @param speaks whether the guard comes up. */
function lab(speaks = true) {
  const world = new MemoryWorld(1);
  const machine = world.machine("vm", { addresses: ["10.0.0.1"] });
  const started: string[][] = [];
  const told: string[] = [];
  const guard = {
    fairlead: (args: readonly string[]) => {
      started.push([...args]);
      return { spoke: Promise.resolve(speaks), tell: (text: string) => void told.push(text) };
    },
  };
  const { disk } = machine;
  const host = machine.start({ detached: guard });
  const reverted: number[] = [];
  const begin = async (changes: Partial<TrialSettings> = {}): Promise<Trial | null> => {
    const begun = Trial.begin(host, { ...settings, ...changes }, silentLogger);
    await world.run(world.nowMs + 100);
    const trial = await begun;
    trial?.onDeadline(async () => void reverted.push(world.nowMs));
    return trial;
  };
  const confirm = async (trial: Trial | null): Promise<boolean | undefined> => {
    const done = trial?.confirm("uid=0,gid=0");
    await world.run(world.nowMs + 1_000);
    return done;
  };
  return { world, disk, host, started, told, reverted, begin, confirm };
}

test("without a confirmation everything is put back at the deadline, once, and the guard need not", async () => {
  const { world, begin, started, told, reverted, confirm } = lab();
  const trial = await begin();
  expect(started).toEqual([["capture", "guard", "5500ms"]]);
  await world.run(world.nowMs + afterMs - 200);
  expect([trial?.state, reverted.length]).toEqual(["waiting", 0]);
  await world.run(world.nowMs + 200);
  expect([trial?.state, reverted.length, told]).toEqual(["reverted", 1, ["release\n"]]);
  expect(await confirm(trial)).toBe(false);
  trial?.close();
  expect([trial?.state, reverted.length]).toEqual(["reverted", 1]);
});

test("what was confirmed stays, and is not asked for again until it is something else", async () => {
  const { world, disk, begin, started, told, reverted, confirm } = lab();
  const trial = await begin();
  expect(await confirm(trial)).toBe(true);
  // Whoever could write there would have capture confirmed that was never tried.
  expect(disk.modeOf(settings.path)).toBe(0o600);
  expect([trial?.state, told]).toEqual(["confirmed", ["release\n"]]);
  await world.run(world.nowMs + 10 * afterMs);
  expect(reverted).toEqual([]);
  expect(await confirm(trial)).toBe(false);
  expect(await begin()).toBeNull();
  expect(started.length).toBe(1);
  expect((await begin({ subject: "another\n" }))?.state).toBe("waiting");
  expect(started.length).toBe(2);
});

test("a node that stops has removed its rules, and releases its guard", async () => {
  const { world, begin, told, reverted } = lab();
  const trial = await begin();
  trial?.close();
  expect([trial?.state, told]).toEqual(["ended", ["release\n"]]);
  await world.run(world.nowMs + 2 * afterMs);
  expect(reverted).toEqual([]);
});

test("without a guard nothing is tried", async () => {
  const { world, host } = lab(false);
  const refused = rejectionOf(Trial.begin(host, settings, silentLogger));
  await world.run(world.nowMs + 100);
  expect(await refused).toMatchObject({ code: "io", blame: "local" });
});

test("the settings are one text: prefixes as they are written, and any change is another text", () => {
  const prefix = parseIpPrefix("10.1.2.3/8");
  const options = {
    backend: "auto",
    excludeCidrs: prefix === null ? [] : [prefix],
    excludePorts: [9],
  } as unknown as CaptureOptions;
  expect(describeCapture(options)).toBe(
    '{"backend":"auto","excludeCidrs":["10.0.0.0/8"],"excludePorts":[9]}\n',
  );
  expect(describeCapture({ ...options, excludePorts: [] })).not.toBe(describeCapture(options));
});

/** The guard's own process. */
function guarding(input: readonly string[], end: "stays open" | "ends") {
  const world = new MemoryWorld(1);
  const said: string[] = [];
  const pieces = async function* (): AsyncGenerator<Uint8Array> {
    for (const text of input) yield new TextEncoder().encode(text);
    if (end === "stays open") await new Promise(() => {});
  };
  const host: MemoryHost = world.host("vm", {
    addresses: ["10.0.0.1"],
    input: pieces(),
    onOutput: (_, text) => void said.push(text),
  });
  let putBack = 0;
  const done = runGuard(host, 10_000, async () => void putBack++);
  let outcome: boolean | null = null;
  void done.then((value) => {
    outcome = value;
  });
  return { world, host, said, seen: () => [outcome, putBack] };
}

test("the guard outlives the node: the end of its input changes nothing before the time is over", async () => {
  const { world, said, seen } = guarding([], "ends");
  await world.run(9_900);
  expect([said, seen()]).toEqual([["ready\n"], [null, 0]]);
  await world.run(10_100);
  expect(seen()).toEqual([true, 1]);
});

test("a guard that is released puts nothing back, also when the word comes in pieces", async () => {
  const { world, seen } = guarding(["some ", "noise\nrel", "ease\n"], "stays open");
  await world.run(100);
  expect(seen()).toEqual([false, 0]);
  await world.run(20_000);
  expect(seen()).toEqual([false, 0]);
});

test("a guard that is told to end puts everything back at once; a closed terminal is no such word", async () => {
  const { world, host, seen } = guarding([], "stays open");
  await world.run(100);
  host.signal("SIGHUP");
  await world.run(200);
  expect(seen()).toEqual([null, 0]);
  host.signal("SIGTERM");
  await world.run(300);
  expect(seen()).toEqual([true, 1]);
});
