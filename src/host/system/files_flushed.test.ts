/** Which files and folders are flushed, and whom what is written is for; conformance/power cuts the power of a real file system. */
import { afterAll, beforeEach, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { type FileHandle, open } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { SystemClock } from "./clock.ts";
import { SystemFiles } from "./files.ts";

const folder = mkdtempSync(join(tmpdir(), "fairlead-flushed-"));
const files = new SystemFiles(new SystemClock());
const bytes = (text: string) => new TextEncoder().encode(text);
const modeOf = (path: string): string => (statSync(path).mode & 0o777).toString(8);

/** Names of what was flushed, in order; a temporary file without its random end. */
const flushed: string[] = [];
const probe = await open(folder, "r");
const prototype = Object.getPrototypeOf(probe) as FileHandle;
await probe.close();
const { sync } = prototype;
/** The next flush finds that the disk did not take it. */
let isFull = false;
prototype.sync = function (this: FileHandle): Promise<void> {
  if (isFull) return Promise.reject(Object.assign(new Error("no space left"), { code: "ENOSPC" }));
  const name = basename(readlinkSync(`/proc/self/fd/${this.fd}`));
  flushed.push(name.replace(/\.[0-9a-f]{12}$/, ""));
  return sync.call(this);
};
const umask = process.umask(0o027);
const top = basename(folder);

beforeEach(() => void flushed.splice(0));
afterAll(() => {
  prototype.sync = sync;
  process.umask(umask);
  rmSync(folder, { recursive: true });
});

test("a file that is replaced is flushed before it has the name, and its folder after", async () => {
  await files.writeAtomic(join(folder, "whole"), bytes("one"), 0o666);
  expect(flushed).toEqual([".whole", top]);
  async function* pieces() {
    yield bytes("a");
    yield bytes("bc");
  }
  flushed.splice(0);
  expect(await files.writeStream(join(folder, "stream"), pieces(), 0o606)).toBe(3);
  expect(flushed).toEqual([".stream", top]);
  // As it was said, whatever the umask takes away.
  expect(["whole", "stream"].map((name) => modeOf(join(folder, name)))).toEqual(["666", "606"]);
});

test("lines are flushed each time, and the folder with the first of them", async () => {
  const path = join(folder, "lines");
  await files.appendLines(path, bytes("{}\n"), 0o640);
  expect(flushed).toEqual(["lines", top]);
  await files.appendLines(path, bytes("{}\n"), 0o640);
  expect(flushed).toEqual(["lines", top, "lines"]);
  expect(modeOf(path)).toBe("640");
});

test("lines that the disk did not take are no part of the file: neither half of them nor all", async () => {
  const path = join(folder, "full");
  await files.appendLines(path, bytes('{"id":1}\n'), 0o600);
  isFull = true;
  try {
    expect(await rejectionOf(files.appendLines(path, bytes('{"id":2}\n'), 0o600))).toMatchObject({
      code: "io",
      message: expect.stringContaining("the disk is full"),
    });
  } finally {
    isFull = false;
  }
  expect(readFileSync(path, "utf8")).toBe('{"id":1}\n');
  await files.appendLines(path, bytes('{"id":2}\n'), 0o600);
  expect(readFileSync(path, "utf8")).toBe('{"id":1}\n{"id":2}\n');
});

test("each new folder is flushed into the one above it, and is for whom it was said", async () => {
  await files.makeDirectory(join(folder, "a", "b", "c"), 0o757);
  expect(flushed).toEqual(["b", "a", top]);
  expect(modeOf(join(folder, "a", "b", "c"))).toBe("757");
  flushed.splice(0);
  await files.makeDirectory(join(folder, "a", "b", "c"), 0o700);
  expect([flushed, modeOf(join(folder, "a", "b", "c"))]).toEqual([[], "700"]);
});

test("what could not be written leaves nothing beside, and what was there stays", async () => {
  const path = join(folder, "taken");
  await files.makeDirectory(path, 0o700);
  const before = readdirSync(folder).sort();
  expect(await rejectionOf(files.writeAtomic(path, bytes("x"), 0o600))).toMatchObject({ code: "io" });
  async function* broken() {
    yield bytes("half");
    throw new Error("no more");
  }
  const kept = join(folder, "kept");
  await files.writeAtomic(kept, bytes("whole"), 0o600);
  expect(await rejectionOf(files.writeStream(kept, broken(), 0o600))).toMatchObject({ code: "io" });
  expect(readFileSync(kept, "utf8")).toBe("whole");
  expect(readdirSync(folder).sort()).toEqual([...before, "kept"].sort());
});
