import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { joinLimits } from "../../base/limits/agent.ts";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { MemoryFiles } from "../../pki/testing/memory_files.ts";
import { addressType, authorizationType } from "../../wire/ads/delta.ts";
import { readSnapshot, type Snapshot, SnapshotWriter, snapshotFileName } from "./snapshot_file.ts";

const path = `/state/${snapshotFileName}`;
const types: Snapshot["types"] = [
  { typeUrl: authorizationType, resources: [] },
  {
    typeUrl: addressType,
    resources: [
      { name: "a", version: "7", resource: { typeUrl: addressType, value: new Uint8Array([1, 2]) } },
    ],
  },
];

function bench(mesh = "control:15012 cluster.local") {
  const files = new MemoryFiles();
  const clock = new FakeClock(1_000_000);
  const lines: string[] = [];
  const logger = {
    log: (level: string, _target: string, message: string, fields = {}) =>
      void lines.push(`${level} ${message} ${JSON.stringify(fields)}`),
  };
  const options = { clock, files, provider: runtimeProvider(), logger, directory: "/state", mesh };
  return { files, clock, lines, options };
}

async function written() {
  const made = bench();
  const writer = new SnapshotWriter(made.options, () => types);
  writer.changed();
  await writer.flush();
  return made;
}

describe("the mesh on disk", () => {
  test("comes back as it was, and no other user may read it", async () => {
    const { files, options, lines } = await written();
    expect(files.modes.get(path)).toBe(0o600);
    const snapshot = await readSnapshot(options);
    expect(snapshot?.savedAtMs).toBe(1_000_000);
    expect(snapshot?.types.map(({ typeUrl }) => typeUrl)).toEqual([authorizationType, addressType]);
    expect(snapshot?.types[1]?.resources[0]).toMatchObject({ name: "a", version: "7" });
    expect([...(snapshot?.types[1]?.resources[0]?.resource?.value ?? [])]).toEqual([1, 2]);
    expect(lines).toEqual([]);
  });

  test("without one there is nothing to say", async () => {
    const { options, lines } = bench();
    expect([await readSnapshot(options), lines]).toEqual([null, []]);
  });

  test("every damage of one byte, and every cut, is found and nothing of it is used", async () => {
    const { files, options, lines } = await written();
    const good = files.contents.get(path) ?? new Uint8Array();
    for (let index = 0; index < good.length; index++) {
      const bad = good.slice();
      bad[index] = (bad[index] ?? 0) ^ 0x11;
      files.put(path, bad);
      const snapshot = await readSnapshot(options);
      // The time it was kept at is told to people; a digit that flips there makes no other mesh.
      if (snapshot !== null) expect(snapshot.types).toHaveLength(2);
      files.put(path, good.slice(0, index));
      expect(await readSnapshot(options)).toBeNull();
    }
    expect(lines.every((line) => line.includes("is not used"))).toBe(true);
  });

  test("another mesh's is left alone", async () => {
    const { files } = await written();
    const other = bench("other:15012 cluster.local");
    other.files.put(path, files.contents.get(path) ?? "");
    expect(await readSnapshot(other.options)).toBeNull();
    expect(other.lines[0]).toContain("it is of control:15012 cluster.local");
  });

  test("a mesh that is larger than the bound is not written, and the one before stays; one of the bound is", async () => {
    const { files, options, lines } = await written();
    const { length } = files.contents.get(path) ?? new Uint8Array();
    expect(joinLimits.maxSnapshotBytes).toBeGreaterThan(length);
    for (const [maxBytes, said] of [
      [length, []],
      [
        length - 1,
        ['error the mesh could not be kept on disk {"reason":"the mesh is too large to be kept on disk"}'],
      ],
    ] as const) {
      files.contents.delete(path);
      const writer = new SnapshotWriter({ ...options, maxBytes }, () => types);
      writer.changed();
      await writer.flush();
      expect([files.contents.has(path), lines]).toEqual([maxBytes === length, [...said]]);
    }
  });

  test("what changes while it is written is written after it, and never beside it", async () => {
    const { clock, options } = bench();
    const slow = new SlowDisk();
    const writer = new SnapshotWriter({ ...options, files: slow }, () => types);
    writer.changed();
    await clock.advance(joinLimits.snapshotDelayMs);
    await until(() => slow.underWay === 1);
    writer.changed();
    await clock.advance(10 * joinLimits.snapshotDelayMs);
    expect([slow.underWay, slow.most, slow.done]).toEqual([1, 1, 0]);
    slow.finish();
    await until(() => slow.done === 1);
    await clock.advance(joinLimits.snapshotDelayMs - 1);
    expect(slow.underWay).toBe(0);
    await clock.advance(1);
    await until(() => slow.underWay === 1);
    expect(slow.most).toBe(1);
    slow.finish();
    await writer.flush();
    expect(slow.done).toBe(2);
  });

  test("many changes are written once; a disk that is full is told once, and tried again with the next change", async () => {
    const { clock, lines, options } = bench();
    const disk = new FullDisk();
    const writer = new SnapshotWriter({ ...options, files: disk }, () => types);
    for (let change = 0; change < 50; change++) writer.changed();
    await clock.advance(joinLimits.snapshotDelayMs);
    await writer.flush();
    writer.changed();
    await writer.flush();
    expect([disk.writes, lines.length]).toEqual([2, 1]);
    disk.isFull = false;
    writer.changed();
    await writer.flush();
    expect((await readSnapshot({ ...options, files: disk }))?.types).toHaveLength(2);
  });
});

/** Digests are made on other threads. */
async function until(holds: () => boolean): Promise<void> {
  for (let turn = 0; turn < 10_000 && !holds(); turn++)
    await new Promise<void>((resolve) => setImmediate(resolve));
  expect(holds()).toBe(true);
}

class SlowDisk extends MemoryFiles {
  underWay = 0;
  most = 0;
  done = 0;
  #gate = Promise.withResolvers<void>();

  finish(): void {
    this.#gate.resolve();
    this.#gate = Promise.withResolvers<void>();
  }

  override async writeAtomic(path: string, bytes: Uint8Array, mode: number): Promise<void> {
    this.underWay++;
    this.most = Math.max(this.most, this.underWay);
    await this.#gate.promise;
    await super.writeAtomic(path, bytes, mode);
    this.underWay--;
    this.done++;
  }
}

class FullDisk extends MemoryFiles {
  isFull = true;
  writes = 0;

  override async writeAtomic(path: string, bytes: Uint8Array, mode: number): Promise<void> {
    this.writes++;
    if (this.isFull) throw new MeshError("io", "local", "no space left");
    await super.writeAtomic(path, bytes, mode);
  }
}

describe("a file that is not of this mesh as this version writes it", () => {
  const body = (...bytes: number[]) => Uint8Array.from(bytes);

  /** A file with a good digest, and what is said of it. */
  async function said(content: Uint8Array, version = "1", head?: string): Promise<string> {
    const { files, options, lines } = bench();
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content.slice())).toHex();
    const first = head ?? `fairlead mesh ${version} 7 ${digest} ${encodeURIComponent(options.mesh)}`;
    files.put(path, Uint8Array.from([...new TextEncoder().encode(`${first}\n`), ...content]));
    const snapshot = await readSnapshot(options);
    return snapshot === null
      ? (/"reason":"(.*)"/.exec(lines[0] ?? "")?.[1] ?? "")
      : `${snapshot.types.length} types`;
  }

  test("is told for what it is", async () => {
    expect(await said(body())).toBe("0 types");
    expect(await said(body(), "2")).toBe("it is of format 2");
    expect(await said(body(), "1", "something else")).toBe("it is damaged: it is not a kept mesh");
    for (const cut of [body(0), body(0, 0, 0), body(0, 0, 0, 1), body(0, 0, 0, 2, 0)])
      expect([cut, await said(cut)]).toEqual([cut, "it is damaged: it is cut short"]);
    expect(await said(body(0, 0, 0, 0))).toBe("1 types");
    expect(await said(body(0, 0, 0, 0, 0, 0, 0, 0))).toBe("2 types");
  });

  test("has a head of a bounded length", async () => {
    const mesh = (length: number) => "m".repeat(length);
    for (const [length, expected] of [
      [4_096, "it is of m"],
      [4_097, "it is damaged: it is not a kept mesh"],
    ] as const) {
      const head = `fairlead mesh 1 7 ${"0".repeat(64)} `;
      expect(await said(body(), "1", `${head}${mesh(length - head.length)}`)).toStartWith(expected);
    }
  });
});

test("once another process writes it, this one does not, whatever changes", async () => {
  const { files, clock, options } = bench();
  const writer = new SnapshotWriter(options, () => types);
  writer.changed();
  writer.stop();
  writer.changed();
  await writer.flush();
  await clock.advance(10 * joinLimits.snapshotDelayMs);
  expect([[...files.contents.keys()], clock.timers]).toEqual([[], 0]);
});
