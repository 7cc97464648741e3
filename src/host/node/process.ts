/** The process, as this host shows it. */
import { type ChildProcess, spawn } from "node:child_process";
import { constants, fstatSync, openSync, writeSync } from "node:fs";
import { pathToFileURL } from "node:url";
import { MeshError } from "../../base/errors.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { Detached, FollowEvents, Process } from "../host.ts";

const signals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/** POSIX PIPE_BUF on Linux: so much is written whole or not at all. */
const pipeBuf = 4096;

export function nodeProcess(): Process {
  const out = new DescriptorWriter(1);
  const error = new DescriptorWriter(2);
  return {
    arguments: process.argv.slice(2),
    environment: process.env,
    pid: process.pid,
    uid: process.getuid?.() ?? 0,
    isTerminal: process.stdout.isTTY === true,
    writeOut: (text) => out.write(text),
    writeError: (text) => error.write(text),
    onSignal(listener) {
      const heard = signals.map((signal) => ({ signal, handle: () => listener(signal) }));
      for (const { signal, handle } of heard) process.on(signal, handle);
      return () => {
        for (const { signal, handle } of heard) process.off(signal, handle);
      };
    },
    onUncaught(listener) {
      process.on("uncaughtException", listener);
      process.on("unhandledRejection", listener);
      return () => {
        process.off("uncaughtException", listener);
        process.off("unhandledRejection", listener);
      };
    },
    exit: (code) => process.exit(code),
    async loadModule(path, version) {
      try {
        // The runtime knows modules by their whole address: another query is another module.
        return await import(`${pathToFileURL(path).href}?${encodeURIComponent(version)}`);
      } catch (thrown) {
        const reason = thrown instanceof Error ? thrown.message : String(thrown);
        throw new MeshError("configuration", "local", `${path} cannot be loaded: ${reason}`, {
          cause: thrown,
        });
      }
    },
    run: (program, args, input) => runProgram(program, args, input ?? "", hostLimits.runTimeoutMs),
    follow: followProgram,
    self: ownCommand(),
    detach: detachProgram,
    input: () => process.stdin,
    residentBytes: () => process.memoryUsage.rss(),
    // The runtime has no call for it.
    giveBackMemory() {},
    cpuMicros() {
      const { user, system } = process.cpuUsage();
      return user + system;
    },
  };
}

/**
 * Writes without ever waiting for the reader. The descriptor is shared with whoever started us, so it cannot be made non-blocking: of a
 * pipe or a terminal a second one is opened that is. What is neither takes what it is given.
 */
class DescriptorWriter {
  readonly #fd: number;
  #opened: number | null = null;
  /** The last text was cut: the next one starts on a line of its own. */
  #torn = false;

  constructor(fd: number) {
    this.#fd = fd;
  }

  write(text: string): boolean {
    const bytes = new TextEncoder().encode(this.#torn ? `\n${text}` : text);
    let written = 0;
    while (written < bytes.length) {
      const taken = this.#writeSome(bytes.subarray(written, written + pipeBuf));
      if (taken <= 0) {
        this.#torn = this.#torn || written > 0;
        return false;
      }
      written += taken;
    }
    this.#torn = false;
    return true;
  }

  #writeSome(bytes: Uint8Array): number {
    try {
      this.#opened ??= openUnblocking(this.#fd);
      return writeSync(this.#opened, bytes);
    } catch {
      return 0;
    }
  }
}

function openUnblocking(fd: number): number {
  const status = fstatSync(fd);
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

function cannotRun(program: string, thrown: unknown): MeshError {
  const reason = thrown instanceof Error ? thrown.message : String(thrown);
  return new MeshError("io", "local", `cannot run ${program}: ${reason}`, { cause: thrown });
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

/** Reads to the end, keeps the beginning. */
async function readBounded(stream: AsyncIterable<Uint8Array> | null): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let kept = 0;
  for await (const chunk of stream ?? []) {
    const room = Math.max(0, hostLimits.maxRunOutputBytes - kept);
    text += decoder.decode(chunk.subarray(0, room), { stream: true });
    kept += Math.min(room, chunk.length);
  }
  return text + decoder.decode();
}
