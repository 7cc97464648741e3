/** The process, as this host shows it. */
import { type ChildProcess, spawn } from "node:child_process";
import { constants, fstatSync, openSync, writeSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { hostLimits } from "../../base/limits/host.ts";
import type { Detached, FollowEvents, Process } from "../host.ts";
import { cannotRun, DescriptorWriter, loadModule, readBounded, sharedProcess } from "../system/process.ts";

export function nodeProcess(): Process {
  const out = new DescriptorWriter(unblocking(1));
  const error = new DescriptorWriter(unblocking(2));
  return {
    ...sharedProcess(),
    arguments: process.argv.slice(2),
    writeOut: (text) => out.write(text),
    writeError: (text) => error.write(text),
    loadModule: (path, version) => loadModule(path, pathToFileURL(path).href, version),
    run: (program, args, input) => runProgram(program, args, input ?? "", hostLimits.runTimeoutMs),
    follow: followProgram,
    self: ownCommand(),
    detach: detachProgram,
    input: () => process.stdin,
    // The runtime has no call for it.
    giveBackMemory() {},
  };
}

/**
 * The descriptor is shared with whoever started us, so it cannot be made non-blocking: of a pipe or a terminal a second one is opened that is.
 * What is neither takes what it is given.
 */
function unblocking(fd: number): (bytes: Uint8Array) => number {
  let opened: number | null = null;
  return (bytes) => {
    opened ??= openUnblocking(fd);
    return writeSync(opened, bytes);
  };
}

function openUnblocking(fd: number): number {
  const status = fstatSync(fd);
  // A socket (the journal's, or a parent's of this runtime) cannot be opened again. The runtime's own stream makes it non-blocking.
  if (status.isSocket()) void (fd === 1 ? process.stdout : process.stderr).writable;
  if (!status.isFIFO() && !status.isCharacterDevice()) return fd;
  try {
    return openSync(`/proc/self/fd/${fd}`, constants.O_WRONLY | constants.O_NONBLOCK);
  } catch {
    return fd;
  }
}

/** @throws MeshError `io`, blame local. A program that is killed for its time has the exit code of the signal, 143. */
async function runProgram(
  program: string,
  args: readonly string[],
  input: string,
  timeoutMs: number,
): Promise<{ readonly exitCode: number; readonly output: string }> {
  const child = await started(program, () => spawn(program, args, { stdio: "pipe", timeout: timeoutMs }));
  // A program that reads none of it.
  child.stdin?.on("error", () => {});
  child.stdin?.end(input);
  const ended = new Promise<number>((resolve) => {
    child.on("close", (code, signal) => resolve(code ?? 128 + (signal === "SIGTERM" ? 15 : 9)));
  });
  const [out, error, exitCode] = await Promise.all([
    readBounded(child.stdout),
    readBounded(child.stderr),
    ended,
  ]);
  return { exitCode, output: out + error };
}

function started(program: string, start: () => ChildProcess): Promise<ChildProcess> {
  return new Promise((resolve, reject) => {
    const refuse = (thrown: unknown): void => reject(cannotRun(program, thrown));
    try {
      const child = start();
      child.on("error", refuse);
      child.on("spawn", () => resolve(child));
    } catch (thrown) {
      refuse(thrown);
    }
  });
}

/** One that cannot be started has ended at once: this runtime tells of it later. @throws MeshError `io`, blame local. */
function followProgram(program: string, args: readonly string[], events: FollowEvents): { stop(): void } {
  let isOver = false;
  const end = (): void => {
    if (!isOver) events.onEnd();
    isOver = true;
  };
  let child: ChildProcess;
  try {
    child = spawn(program, args, { stdio: ["pipe", "pipe", "ignore"] });
  } catch (thrown) {
    throw cannotRun(program, thrown);
  }
  child.stdin?.on("error", () => {});
  child.stdout?.on("data", () => {
    if (!isOver) events.onOutput();
  });
  child.on("error", end);
  child.on("close", end);
  return {
    stop: () => {
      isOver = true;
      child.stdin?.end();
      child.kill();
    },
  };
}

/** Deno does not tell the flags that it was started with. */
function ownCommand(): readonly string[] {
  const flags = "Deno" in globalThis ? ["run", "-A"] : process.execArgv;
  return [process.execPath, ...flags, process.argv[1] ?? ""];
}

/** One that cannot be started has not spoken: this runtime tells of it later. @throws MeshError `io`, blame local. */
function detachProgram(program: string, args: readonly string[]): Detached {
  let child: ChildProcess;
  try {
    child = spawn(program, args, { stdio: ["pipe", "pipe", "ignore"], detached: true });
  } catch (thrown) {
    throw cannotRun(program, thrown);
  }
  // This process may end before it.
  child.unref();
  const { stdin, stdout } = child;
  stdin?.on("error", () => {});
  const { promise: spoke, resolve } = Promise.withResolvers<boolean>();
  stdout?.on("data", () => resolve(true));
  child.on("error", () => resolve(false));
  child.on("close", () => resolve(false));
  return { spoke, tell: (text) => void stdin?.write(text) };
}
