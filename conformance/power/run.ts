/**
 * `npm run conformance -- power`: the power goes at every write. A process writes under strace; the disk is built again up to each of its
 * calls with what was not flushed lost, and opened. What the process had been told was written must be there.
 *
 * The measure is measured: with one kind of flush taken out of the recording, or with SQLite's own left out, something has to be lost.
 */
import { existsSync, linkSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { scratchFolder } from "../../scripts/scratch.ts";
import { formatTally } from "../../scripts/tally.ts";
import { type Cut, cuts, Disk, type Image } from "./disk.ts";
import { type Judge, judgeFiles, judgeState } from "./promises.ts";
import { hasStrace, type Operation, record, reserve } from "./recording.ts";

interface Case {
  readonly name: string;
  /** For the writer. */
  readonly args: readonly string[];
  readonly judge: Judge;
  /** Flushes that are left out: something must be lost then. Null leaves out none. */
  readonly without: ((flushed: string, before: Operation | undefined) => boolean) | null;
  /** Something must be lost, whether or not flushes are left out. */
  readonly mustFail: boolean;
}

const isFolderOf =
  (...names: readonly string[]) =>
  (flushed: string, before: Operation | undefined) =>
    before?.kind === "rename" && names.includes(basename(before.to)) && flushed === dirname(before.to);
const files = { args: ["files"], judge: judgeFiles } as const;
const state = { args: ["state"], judge: judgeState } as const;

const cases: readonly Case[] = [
  { ...files, name: "files: nothing that was acknowledged is lost", without: null, mustFail: false },
  { ...state, name: "state: nothing that was acknowledged is lost", without: null, mustFail: false },
  {
    ...files,
    name: "without the flush of a file before its rename",
    without: (flushed) =>
      basename(flushed).startsWith(".atomic.") || basename(flushed).startsWith(".stream."),
    mustFail: true,
  },
  {
    ...files,
    name: "without the flush of the folder after writeAtomic's rename",
    without: isFolderOf("atomic"),
    mustFail: true,
  },
  {
    ...files,
    name: "without the flush of the folder after writeStream's rename",
    without: isFolderOf("stream"),
    mustFail: true,
  },
  {
    ...files,
    name: "without the flush of lines that were appended",
    without: (flushed) => basename(flushed) === "lines",
    mustFail: true,
  },
  {
    ...files,
    name: "without the flush of the folder of a new file of lines",
    without: (flushed, before) =>
      before?.kind === "flush" && basename(before.path) === "lines" && flushed === dirname(before.path),
    mustFail: true,
  },
  {
    ...files,
    name: "without the flush of the folders above a new one",
    without: (_, before) =>
      before?.kind === "folder" || (before?.kind === "flush" && before.path.endsWith("/made")),
    mustFail: true,
  },
  {
    ...state,
    name: "without the flush of the back-up before its rename",
    without: (flushed) => basename(flushed) === "backup.partial",
    mustFail: true,
  },
  {
    ...state,
    name: "without the flush of the folder after the back-up's rename",
    without: isFolderOf("backup"),
    mustFail: true,
  },
  {
    ...state,
    name: "without the flushes of the database's log",
    without: (flushed) => flushed.endsWith("control.db-wal"),
    mustFail: true,
  },
  {
    ...state,
    name: "with PRAGMA synchronous=OFF",
    args: ["state", "--asynchronous"],
    without: null,
    mustFail: true,
  },
];

/** Made when it is needed: other suites load this file as well. */
let made: string | null = null;

function scratch(): string {
  made ??= scratchFolder("power");
  return made;
}

const recordings = new Map<string, readonly Operation[]>();

async function recordingOf(
  args: readonly string[],
): Promise<{ readonly folder: string; readonly operations: readonly Operation[] }> {
  const name = args.join(" ");
  const folder = join(scratch(), name.replaceAll(/\W/g, ""));
  let operations = recordings.get(name);
  if (operations === undefined) {
    mkdirSync(folder);
    const [what = "", ...flags] = args;
    const command = [process.execPath, join(import.meta.dir, "writer.ts"), what, folder, ...flags];
    operations = await record(command, folder, scratch());
    recordings.set(name, operations);
  }
  return { folder, operations };
}

/** @returns what was lost, and where. */
async function tryCase({
  args,
  judge,
  without,
  mustFail,
}: Case): Promise<{ readonly lost: readonly string[]; readonly tried: number }> {
  const { folder, operations } = await recordingOf(args);
  const disk = new Disk(folder);
  const said: string[] = [];
  const lost: string[] = [];
  const seen = new Set<string>();
  let tried = 0;
  for (const [index, operation] of operations.entries()) {
    if (operation.kind === "said") said.push(...operation.text.split("\n").filter((line) => line !== ""));
    const isLeftOut =
      operation.kind === "flush" && without?.(operation.path, lastChange(operations, index)) === true;
    if (!isLeftOut) disk.apply(operation);
    for (const cut of cuts) {
      const image = disk.image(cut);
      const key = `${Bun.hash(serialise(image))} ${said.length}`;
      if (seen.has(key)) continue;
      seen.add(key);
      tried++;
      lost.push(
        ...(await judgeImage(image, folder, judge, said)).map((what) =>
          describe(what, operation, index, cut),
        ),
      );
    }
    if (lost.length > 0 && (mustFail || lost.length >= 5)) break;
  }
  return { lost, tried };
}

/** What a flush is about: the call before it that is not its own opening of a folder. */
function lastChange(operations: readonly Operation[], index: number): Operation | undefined {
  return operations[index - 1];
}

async function judgeImage(
  image: Image,
  folder: string,
  judge: Judge,
  said: readonly string[],
): Promise<readonly string[]> {
  const place = join(scratch(), "image");
  rmSync(place, { recursive: true, force: true });
  mkdirSync(place);
  const moved = (path: string): string => join(place, path.slice(folder.length));
  for (const path of image.folders) mkdirSync(moved(path), { recursive: true });
  for (const [path, content] of image.files) writeFileSync(moved(path), content);
  // So that it is not written each time.
  const kept = `state/control.db${reserve}`;
  if (existsSync(join(place, "state")) && existsSync(join(folder, kept)))
    linkSync(join(folder, kept), join(place, kept));
  return await judge(place, said);
}

function serialise({ folders, files: all }: Image): string {
  const parts = [...all]
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([path, content]) => `${path} ${Bun.hash(content)}`);
  return [...folders, ...parts].join("\n");
}

function describe(what: string, operation: Operation, index: number, cut: Cut): string {
  const at = operation.kind === "said" ? "said" : operation.kind === "rename" ? operation.to : operation.path;
  return `${what} (cut after call ${index}, ${operation.kind} ${basename(at)}: ${cut})`;
}

/** @returns the exit code. */
export async function powerConformance(args: readonly string[]): Promise<number> {
  if (!hasStrace()) {
    console.log("skipped: power: strace is not installed");
    console.log(formatTally({ passed: 0, failed: 0, skipped: cases.length }));
    return 0;
  }
  let passed = 0;
  let failed = 0;
  const only = args.find((arg) => arg.startsWith("--only="))?.slice("--only=".length) ?? "";
  for (const one of cases.filter(({ name }) => name.includes(only))) {
    const { lost, tried } = await tryCase(one);
    const isWell = one.mustFail === lost.length > 0;
    if (isWell) passed++;
    else failed++;
    const how = one.mustFail ? (lost[0] ?? "nothing is lost, and something has to be") : `${tried} cuts`;
    console.log(`${isWell ? "✓" : "✗"} ${one.name}: ${how}`);
    if (!one.mustFail) for (const what of lost.slice(0, 5)) console.log(`  ${what}`);
  }
  console.log(formatTally({ passed, failed, skipped: 0 }));
  return failed === 0 && passed > 0 ? 0 : 1;
}

if (import.meta.main) process.exit(await powerConformance(process.argv.slice(2)));
