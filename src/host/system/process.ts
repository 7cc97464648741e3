/** What the process shows alike on every runtime: its facts, its signals, its output, and what a program that it runs has said. */
import { fstatSync } from "node:fs";
import { MeshError } from "../../base/errors.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { Process } from "../host.ts";

const signals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/** POSIX PIPE_BUF on Linux: so much is written whole or not at all, and a pipe that polls writable takes it at once. */
const pipeBuf = 4096;

type Shared =
  | "environment"
  | "pid"
  | "uid"
  | "isTerminal"
  | "onSignal"
  | "onUncaught"
  | "exit"
  | "residentBytes"
  | "cpuMicros";

export function sharedProcess(): Pick<Process, Shared> {
  return {
    environment: process.env,
    pid: process.pid,
    uid: process.getuid?.() ?? 0,
    isTerminal: isTerminal(),
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
    residentBytes: () => process.memoryUsage.rss(),
    cpuMicros() {
      const { user, system } = process.cpuUsage();
      return user + system;
    },
  };
}

/** Asking the runtime loads its streams, a tenth of what a start costs: what is no device at all is no terminal. */
function isTerminal(): boolean {
  try {
    return fstatSync(1).isCharacterDevice() && process.stdout.isTTY === true;
  } catch {
    // Standard output is closed.
    return false;
  }
}

/** @param address of the file, as the runtime imports it. @throws MeshError `configuration`, blame local. */
export async function loadModule(
  path: string,
  address: string,
  version: string,
): Promise<Readonly<Record<string, unknown>>> {
  try {
    // The runtime knows modules by their whole address: another query is another module.
    return await import(`${address}?${encodeURIComponent(version)}`);
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    throw new MeshError("configuration", "local", `${path} cannot be loaded: ${reason}`, {
      cause: thrown,
    });
  }
}

/** Writes without ever waiting for the reader. */
export class DescriptorWriter {
  readonly #writeSome: (bytes: Uint8Array) => number;
  /** The last text was cut: the next one starts on a line of its own. */
  #torn = false;

  /** @param writeSome never waits, and returns how much it took. What it throws is nothing taken. */
  constructor(writeSome: (bytes: Uint8Array) => number) {
    this.#writeSome = writeSome;
  }

  /** @returns whether all of it was taken. */
  write(text: string): boolean {
    const bytes = new TextEncoder().encode(this.#torn ? `\n${text}` : text);
    let written = 0;
    while (written < bytes.length) {
      const taken = this.#take(bytes.subarray(written, wholeLines(bytes, written)));
      if (taken <= 0) {
        this.#torn = this.#torn || written > 0;
        return false;
      }
      written += taken;
    }
    this.#torn = false;
    return true;
  }

  #take(bytes: Uint8Array): number {
    try {
      return this.#writeSome(bytes);
    } catch {
      return 0;
    }
  }
}

const lineFeed = 10;

/** Where the next write ends. Other processes may write to the same reader, and what is written at a time stays together. */
function wholeLines(bytes: Uint8Array, from: number): number {
  const end = from + pipeBuf;
  if (end >= bytes.length) return bytes.length;
  const last = bytes.lastIndexOf(lineFeed, end - 1);
  return last < from ? end : last + 1;
}

export function cannotRun(program: string, thrown: unknown): MeshError {
  const reason = thrown instanceof Error ? thrown.message : String(thrown);
  return new MeshError("io", "local", `cannot run ${program}: ${reason}`, { cause: thrown });
}

/** Reads to the end, keeps the beginning. */
export async function readBounded(stream: AsyncIterable<Uint8Array> | null): Promise<string> {
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
