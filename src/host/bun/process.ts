/** The process, as the Bun host shows it. */
import { writeSync } from "node:fs";
import { MeshError } from "../../base/errors.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { Detached, FollowEvents, Process } from "../host.ts";
import type { LinuxSockets } from "./linux_socket.ts";
import { giveBackMemory } from "./released_memory.ts";

const signals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/** POSIX PIPE_BUF on Linux: a pipe that polls writable takes so much at once without waiting. */
const pipeBuf = 4096;

export function bunProcess(linux: LinuxSockets | null): Process {
  const out = new DescriptorWriter(1, linux);
  const error = new DescriptorWriter(2, linux);
  return {
    // In a compiled binary the first two are the runtime's and the program's own names as well.
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
        return await import(`${path}?${encodeURIComponent(version)}`);
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
    input: () => Bun.stdin.stream(),
    residentBytes: () => process.memoryUsage.rss(),
    giveBackMemory,
    cpuMicros() {
      const { user, system } = process.cpuUsage();
      return user + system;
    },
  };
}

/**
 * Writes without ever waiting for the reader. The descriptor is shared with whoever started us, so it cannot be made
 * non-blocking; it is asked first, and given no more than it takes without waiting.
 */
class DescriptorWriter {
  readonly #fd: number;
  readonly #linux: LinuxSockets | null;
  /** The last text was cut: the next one starts on a line of its own. */
  #torn = false;

  constructor(fd: number, linux: LinuxSockets | null) {
    this.#fd = fd;
    this.#linux = linux;
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
    if (this.#linux?.isWritable(this.#fd) === false) return 0;
    try {
      return writeSync(this.#fd, bytes);
    } catch {
      return 0;
    }
  }
}

// Each start below names the environment: without it Bun gives what this process was started with, also what was deleted since.

/** @throws MeshError `io`, blame local. A program that is killed for its time has the exit code of the signal, 143. */
export async function runProgram(
  program: string,
  args: readonly string[],
  input: string,
  timeoutMs: number,
): Promise<{ readonly exitCode: number; readonly output: string }> {
  try {
    const child = Bun.spawn([program, ...args], {
      env: process.env,
      stdin: new TextEncoder().encode(input),
      stdout: "pipe",
      stderr: "pipe",
      timeout: timeoutMs,
    });
    const [out, error, exitCode] = await Promise.all([
      readBounded(child.stdout),
      readBounded(child.stderr),
      child.exited,
    ]);
    return { exitCode, output: out + error };
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    throw new MeshError("io", "local", `cannot run ${program}: ${reason}`, { cause: thrown });
  }
}

/** @throws MeshError `io`, blame local. */
export function followProgram(
  program: string,
  args: readonly string[],
  events: FollowEvents,
): { stop(): void } {
  let isStopped = false;
  try {
    const child = Bun.spawn([program, ...args], {
      env: process.env,
      stdin: "pipe",
      stdout: "pipe",
      stderr: "ignore",
    });
    const read = async (): Promise<void> => {
      for await (const chunk of child.stdout) if (chunk.length > 0 && !isStopped) events.onOutput();
      await child.exited;
    };
    const ended = (): void => {
      void child.stdin.end();
      if (!isStopped) events.onEnd();
    };
    void read().then(ended, ended);
    return {
      stop: () => {
        isStopped = true;
        void child.stdin.end();
        child.kill();
      },
    };
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    throw new MeshError("io", "local", `cannot run ${program}: ${reason}`, { cause: thrown });
  }
}

/** A compiled binary has its own files below this path, and is run by its name alone. */
const bundledFiles = "/$bunfs/";

function ownCommand(): readonly string[] {
  const [, script = ""] = process.argv;
  return script === "" || script.startsWith(bundledFiles) ? [process.execPath] : [process.execPath, script];
}

/** @throws MeshError `io`, blame local. */
export function detachProgram(program: string, args: readonly string[]): Detached {
  try {
    const child = Bun.spawn([program, ...args], {
      env: process.env,
      stdin: "pipe",
      stdout: "pipe",
      stderr: "ignore",
      detached: true,
    });
    // This process may end before it.
    child.unref();
    const { stdin, stdout } = child;
    return {
      spoke: speaks(stdout),
      tell: (text) => {
        try {
          stdin.write(text);
          void Promise.resolve(stdin.flush()).catch(() => {});
        } catch {
          // It is gone.
        }
      },
    };
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    throw new MeshError("io", "local", `cannot run ${program}: ${reason}`, { cause: thrown });
  }
}

async function speaks(stream: ReadableStream<Uint8Array>): Promise<boolean> {
  const reader = stream.getReader();
  const { value } = await reader.read();
  return value !== undefined && value.length > 0;
}

/** Reads to the end, keeps the beginning. */
async function readBounded(stream: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  let kept = 0;
  for await (const chunk of stream) {
    const room = Math.max(0, hostLimits.maxRunOutputBytes - kept);
    text += decoder.decode(chunk.subarray(0, room), { stream: true });
    kept += Math.min(room, chunk.length);
  }
  return text + decoder.decode();
}
