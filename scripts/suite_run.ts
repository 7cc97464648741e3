/** A command of a suite: what it says, what it costs, and what it leaves behind. */
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { exitOnSignals } from "./scratch.ts";

/** What a suite runs in. */
export interface Surroundings {
  /** Which of those at a time; for ports that all of them look for (`conformance/control/free_port.ts`). */
  readonly lane: number;
  /** The only temporary folder that its programs know. */
  readonly folder: string;
  /** Where a suite says what it does: at once, or in one piece at its end, when another one runs beside it. */
  write(text: string): void;
  /** Seconds of all its processors that a command of it had, with what that command started and waited for. */
  used(seconds: number): void;
}

export interface Ended {
  readonly exitCode: number;
  readonly text: string;
}

/** Short, since paths of Unix sockets have to be. */
const prefix = "flt-";
const folders = new Set<string>();
const children = new Set<Bun.Subprocess>();
process.on("exit", () => {
  for (const child of children) child.kill();
  for (const path of folders) if (mountsIn(path).length === 0) rmSync(path, { recursive: true, force: true });
});
exitOnSignals();

export async function runCommand(
  command: readonly string[],
  limitMs: number,
  { lane, folder, write, used }: Surroundings,
): Promise<Ended> {
  let text = "";
  const say = (piece: string) => {
    text += piece;
    write(piece);
  };
  const child = Bun.spawn([...command], {
    cwd: join(import.meta.dir, ".."),
    env: { ...process.env, FAIRLEAD_TEST_LANE: String(lane), TMPDIR: folder },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  children.add(child);
  const timer = setTimeout(() => {
    say(`stopped after ${limitMs / 1000} s\n`);
    child.kill("SIGKILL");
  }, limitMs);
  const follow = async (from: ReadableStream<Uint8Array>): Promise<void> => {
    const decoder = new TextDecoder();
    for await (const chunk of from) say(decoder.decode(chunk, { stream: true }));
  };
  const both = Promise.all([follow(child.stdout), follow(child.stderr)]);
  // A process that it left behind may hold its output open for ever.
  await Promise.race([both, child.exited.then(() => Bun.sleep(10_000))]);
  const exitCode = await child.exited;
  clearTimeout(timer);
  children.delete(child);
  used(Number(child.resourceUsage()?.cpuTime.total ?? 0) / 1e6);
  return { exitCode, text };
}

/** A temporary folder for one suite. What is in it at the end was left behind. */
export function suiteFolder(): string {
  const path = mkdtempSync(join(tmpdir(), prefix));
  // As the folder that it is in: some tests run programs as a user who may do nothing, and lead them to a file in here.
  chmodSync(path, 0o755);
  folders.add(path);
  return path;
}

/** A process that was told to end may be a moment from having cleaned up. */
const lastMomentMs = 3_000;

/** Removes the folder, unless something is mounted in it. @returns what was in it, by beginnings of names. */
export async function removeFolder(path: string, lastMs = lastMomentMs): Promise<readonly string[]> {
  const end = performance.now() + lastMs;
  let left = readdirSync(path);
  while (left.length > 0 && performance.now() < end) {
    await Bun.sleep(50);
    left = readdirSync(path);
  }
  const mounts = mountsIn(path);
  folders.delete(path);
  // Of what is mounted somewhere nothing is removed: it may be this machine's own.
  if (mounts.length > 0) return mounts.map((at) => `${at}, which is mounted`);
  rmSync(path, { recursive: true, force: true });
  return beginnings(left);
}

/** @param listed as Linux lists what is mounted; a system without that list says nothing. */
export function mountsIn(path: string, listed = mountList()): readonly string[] {
  const places = listed.split("\n").map((line) => line.split(" ")[1] ?? "");
  return places.filter((at) => at.startsWith(`${path}/`));
}

function mountList(): string {
  return existsSync("/proc/self/mounts") ? readFileSync("/proc/self/mounts", "utf8") : "";
}

/** `fairlead-demo-x8K2pq` and another one: `fairlead-demo-* (2)`. */
export function beginnings(names: readonly string[]): readonly string[] {
  const counts = new Map<string, number>();
  for (const name of names) {
    const short = name.replace(/[-_.]?(?:[A-Za-z0-9]{6}|\d+)$/, (end) => `${/^[-_.]/.exec(end)?.[0] ?? ""}*`);
    counts.set(short, (counts.get(short) ?? 0) + 1);
  }
  return [...counts].map(([short, count]) => (count === 1 ? short : `${short} (${count})`));
}
