/** The process, as the Bun host shows it. */
import { writeSync } from "node:fs";
import { hostLimits } from "../../base/limits/host.ts";
import type { Detached, FollowEvents, Process } from "../host.ts";
import { cannotRun, DescriptorWriter, loadModule, readBounded, sharedProcess } from "../system/process.ts";
import type { LinuxSockets } from "./linux_socket.ts";
import { giveBackMemory } from "./released_memory.ts";

export function bunProcess(linux: LinuxSockets | null): Process {
  const out = new DescriptorWriter((bytes) => writeSome(1, bytes, linux));
  const error = new DescriptorWriter((bytes) => writeSome(2, bytes, linux));
  return {
    ...sharedProcess(),
    // In a compiled binary the first two are the runtime's and the program's own names as well.
    arguments: process.argv.slice(2),
    writeOut: (text) => out.write(text),
    writeError: (text) => error.write(text),
    loadModule: (path, version) => loadModule(path, path, version),
    run: (program, args, input) => runProgram(program, args, input ?? "", hostLimits.runTimeoutMs),
    follow: followProgram,
    self: ownCommand(),
    detach: detachProgram,
    input: () => Bun.stdin.stream(),
    giveBackMemory,
  };
}

/**
 * The descriptor is shared with whoever started us, so it cannot be made non-blocking; it is asked first, and given no more than it takes
 * without waiting.
 */
function writeSome(fd: number, bytes: Uint8Array, linux: LinuxSockets | null): number {
  return linux?.isWritable(fd) === false ? 0 : writeSync(fd, bytes);
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
    throw cannotRun(program, thrown);
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
    throw cannotRun(program, thrown);
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
    throw cannotRun(program, thrown);
  }
}

async function speaks(stream: ReadableStream<Uint8Array>): Promise<boolean> {
  const reader = stream.getReader();
  const { value } = await reader.read();
  return value !== undefined && value.length > 0;
}
