import { describe, expect, test } from "bun:test";
import { MemoryDisk } from "./files.ts";
import type { MemoryHost } from "./process.ts";
import { type MemoryMachine, MemoryWorld } from "./world.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (disk: MemoryDisk, path: string): string | null =>
  disk.exists(path) ? new TextDecoder().decode(disk.read(path)) : null;

describe("a disk without power forgets what was not flushed", () => {
  test("a file that was only written is gone; flushed, and its name not, it is gone too", () => {
    const disk = new MemoryDisk();
    disk.makeFolder("/d");
    disk.writeUnflushed("/d/a", bytes("written"));
    disk.writeUnflushed("/d/b", bytes("flushed"));
    disk.flush("/d/b");
    disk.losePower();
    expect([text(disk, "/d/a"), text(disk, "/d/b")]).toEqual([null, null]);
  });

  test("a name that is there before its content brings a torn file", () => {
    const disk = new MemoryDisk();
    disk.makeFolder("/d");
    disk.writeUnflushed("/d/a", bytes("content"));
    disk.flushNames("/d");
    disk.losePower();
    expect(text(disk, "/d/a")).toBe("con");
  });

  test("a rename without a flush of its folder has not happened", () => {
    const disk = new MemoryDisk();
    disk.write("/d/a", "old");
    disk.writeUnflushed("/d/new", bytes("new"));
    disk.flush("/d/new");
    disk.rename("/d/new", "/d/a");
    expect(text(disk, "/d/a")).toBe("new");
    disk.losePower();
    expect(text(disk, "/d/a")).toBe("old");
  });

  test("what was appended and not flushed is gone, and what was before it stays", () => {
    const disk = new MemoryDisk();
    disk.write("/d/a", "one\n");
    disk.writeUnflushed("/d/a", bytes("one\ntwo\n"));
    disk.losePower();
    expect(text(disk, "/d/a")).toBe("one\n");
  });
});

test("who may read a file is what was said when it was made, and goes with it", async () => {
  const world = new MemoryWorld(1);
  const machine = world.machine("one", { addresses: ["10.0.0.1"] });
  const { files } = machine.start();
  const done = (work: Promise<unknown>) => world.settle(work);
  await done(files.makeDirectory("/state", 0o700));
  await done(files.writeAtomic("/state/key", bytes("k"), 0o600));
  await done(files.appendLines("/state/log", bytes("{}\n"), 0o640));
  await done(files.appendLines("/state/log", bytes("{}\n"), 0o600));
  const modes = ["", "/key", "/log", "/none"].map((path) => machine.disk.modeOf(`/state${path}`));
  expect(modes).toEqual([0o700, 0o600, 0o640, null]);
  // A file that is replaced is as it is made then, and one that another program writes keeps what it has.
  await done(files.writeAtomic("/state/key", bytes("k"), 0o400));
  machine.disk.write("/state/log", "x");
  expect(["/key", "/log"].map((path) => machine.disk.modeOf(`/state${path}`))).toEqual([0o400, 0o640]);
  await done(files.remove("/state"));
  expect(machine.disk.modeOf("/state/key")).toBeNull();
});

/** Runs `work` again and again, with the power cut after one more event of it, and tells `judge` what is left, and whether the work was done. */
async function cutEverywhere(
  work: (host: MemoryHost) => Promise<unknown>,
  judge: (machine: MemoryMachine, isDone: boolean) => void,
): Promise<number> {
  for (let events = 0; ; events++) {
    const world = new MemoryWorld(1);
    const machine = world.machine("one", { addresses: ["10.0.0.1"] });
    machine.disk.write("/state/file", '{"old":1}\n');
    const host = machine.start();
    let isDone = false;
    void work(host).then(() => {
      isDone = true;
    });
    await world.runUntil(() => world.schedule.steps >= events, Number.POSITIVE_INFINITY);
    host.kill();
    machine.disk.losePower();
    judge(machine, isDone);
    if (isDone) return events;
  }
}

describe("a host's files, cut at every write", () => {
  test("writeAtomic leaves the old or the new, and the new once it has returned", async () => {
    const cuts = await cutEverywhere(
      ({ files }) => files.writeAtomic("/state/file", bytes("new"), 0o600),
      ({ disk }, isDone) =>
        expect<readonly (string | null)[]>(isDone ? ["new"] : ["new", '{"old":1}\n']).toContain(
          text(disk, "/state/file"),
        ),
    );
    // Written, flushed, renamed, its folder flushed.
    expect(cuts).toBe(4);
  });

  test("a stream is there whole or not at all", async () => {
    async function* pieces(): AsyncGenerator<Uint8Array> {
      yield bytes("ne");
      yield bytes("w");
    }
    await cutEverywhere(
      ({ files }) => files.writeStream("/state/other", pieces(), 0o600),
      ({ disk }, isDone) =>
        expect<readonly (string | null)[]>(isDone ? ["new"] : ["new", null]).toContain(
          text(disk, "/state/other"),
        ),
    );
  });

  test("lines that were appended are there once that has returned, and what was there before always is", async () => {
    await cutEverywhere(
      ({ files }) => files.appendLines("/state/file", bytes('{"new":1}\n'), 0o600),
      ({ disk }, isDone) => {
        const both = '{"old":1}\n{"new":1}\n';
        expect<readonly (string | null)[]>(isDone ? [both] : [both, '{"old":1}\n']).toContain(
          text(disk, "/state/file"),
        );
      },
    );
  });
});
