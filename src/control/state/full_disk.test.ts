/** A file system that is full to the last block, where one can be mounted. */
import { expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger } from "../../base/log.ts";
import { createBunHost } from "../../host/bun/host.ts";
import { SystemClock } from "../../host/system/clock.ts";
import { ControlState } from "./control_state.ts";

function whyNot(): string | null {
  if (process.platform !== "linux") return "a file system of its own needs Linux";
  if (process.getuid?.() !== 0) return "mounting needs root";
  return Bun.which("mount") === null ? "`mount` is not installed" : null;
}

class TinyDisk {
  readonly path = mkdtempSync(join(tmpdir(), "tiny-"));
  readonly mounted: boolean;

  constructor(kilobytes: number) {
    const mount = ["mount", "-t", "tmpfs", "-o", `size=${kilobytes}k`, "tmpfs", this.path];
    this.mounted = Bun.spawnSync(mount).exitCode === 0;
  }

  fill(): void {
    const { bavail, bsize } = statfsSync(this.path);
    if (bavail > 0) writeFileSync(join(this.path, "filler"), new Uint8Array(bavail * bsize));
  }

  free(): void {
    rmSync(join(this.path, "filler"), { force: true });
  }

  close(): void {
    if (this.mounted) Bun.spawnSync(["umount", "-l", this.path]);
    rmSync(this.path, { recursive: true, force: true });
  }
}

const entry = {
  atMs: 1,
  actor: "a",
  action: "x",
  target: "t",
  outcome: "ok",
  before: null,
  after: null,
} as const;

async function onTinyDisk(body: (disk: TinyDisk) => Promise<void>, kilobytes = 2048): Promise<void> {
  const disk = new TinyDisk(kilobytes);
  try {
    // A container may forbid it even to root.
    if (!disk.mounted) return console.warn("skipped: no file system can be mounted here");
    mkdirSync(join(disk.path, "state"));
    await body(disk);
  } finally {
    disk.close();
  }
}

const reason = whyNot();
const diskTest = reason === null ? test : test.skip;
const suffix = reason === null ? "" : ` (${reason})`;

diskTest(`a full disk refuses writes, answers reads, opens, and takes writes again${suffix}`, () =>
  onTinyDisk(async (disk) => {
    const host = createBunHost();
    const directory = join(disk.path, "state");
    let state = await ControlState.open(host, directory, silentLogger);
    let written = 0;
    const write = (detail: string) => {
      for (let count = 0; count < 10_000; count++) {
        state.audit.append({ ...entry, detail });
        written++;
      }
    };
    disk.fill();
    expect(() => write("x".repeat(3000))).toThrow(expect.objectContaining({ code: "disk_full" }));
    expect(() => state.settings.set("a", "x".repeat(9000))).toThrow(
      expect.objectContaining({ code: "disk_full" }),
    );
    expect(state.health.value).toMatchObject({ writable: false, code: "disk_full" });
    expect(state.audit.verify()).toMatchObject({ intact: true, rows: written });
    expect(() => state.backup(join(disk.path, "backup"))).toThrow(
      expect.objectContaining({ code: "disk_full" }),
    );
    state.close();

    state = await ControlState.open(host, directory, silentLogger);
    expect(state.audit.verify()).toMatchObject({ intact: true, rows: written });
    expect(() => write("x".repeat(3000))).toThrow(expect.objectContaining({ code: "disk_full" }));

    disk.free();
    state.audit.append({ ...entry, detail: "there is room" });
    written++;
    expect(state.health.value).toEqual({ writable: true });
    expect(state.check()).toEqual([]);
    state.close();
    state = await ControlState.open(host, directory, silentLogger);
    expect(state.audit.verify()).toMatchObject({ intact: true, rows: written });
    state.close();
  }),
);

diskTest(`on a full disk the reserve is for revocation: documents wait until it is kept again${suffix}`, () =>
  onTinyDisk(async (disk) => {
    let skewMs = 0;
    const clock = new (class extends SystemClock {
      override now(): number {
        return super.now() + skewMs;
      }
    })();
    const host = { ...createBunHost(), clock };
    const directory = join(disk.path, "state");
    const options = { reserveBytes: 8 * 1024 * 1024 };
    let state = await ControlState.open(host, directory, silentLogger, options);
    const made = { atMs: 1, actor: "a", action: "apply", detail: "" } as const;
    const fields = { key: "ServiceEntry a/b", namespace: "a", kind: "ServiceEntry", name: "b" };
    const change = { ...fields, source: "f", line: 1, createdMs: 1 };
    const apply = (): number => state.documents.apply([{ ...change, text: "x".repeat(30_000) }], made);
    const revoke = (from: number): void => {
      for (let index = from; index < from + 50; index++)
        state.revocations.add({ kind: "node", value: `n${index}`, reason: "r", byWhom: "a", atMs: 1 });
    };
    disk.fill();
    const full = expect.objectContaining({ code: "disk_full" });
    expect(() => {
      for (let count = 0; count < 100; count++) apply();
    }).toThrow(full);
    revoke(0);
    skewMs += 60_000;
    expect(apply).toThrow(full);
    state.close();
    state = await ControlState.open(host, directory, silentLogger, options);
    revoke(50);
    expect(apply).toThrow(full);
    disk.free();
    skewMs += 60_000;
    apply();
    expect(state.revocations.list().length).toBe(100);
    expect(state.check()).toEqual([]);
    state.close();
  }, 16_384),
);

diskTest(`a disk that is full at the first start is told, and leaves no half state${suffix}`, () =>
  onTinyDisk(async (disk) => {
    const host = createBunHost();
    const directory = join(disk.path, "state");
    disk.fill();
    const opening = ControlState.open(host, directory, silentLogger);
    expect(
      await opening.then(
        () => "opened",
        (error) => error.code,
      ),
    ).toMatch(/^(disk_full|io)$/);
    disk.free();
    const state = await ControlState.open(host, directory, silentLogger);
    expect(state.check()).toEqual([]);
    state.close();
  }),
);
