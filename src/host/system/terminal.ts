/**
 * The terminal of a command. Its output is written whole, in order, waiting for a slow reader. A node's log never goes
 * this way: there a full pipe costs lines, not the data path (`process.ts`).
 */
import { readSync, writeSync } from "node:fs";
import { systemErrorName } from "../socket_errors.ts";

/** Returns early, and quietly, when the reader has gone (`fairlead get … | head`). @returns false then. */
export function print(descriptor: 1 | 2, text: string): boolean {
  let rest: Uint8Array = new TextEncoder().encode(text);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(descriptor, rest));
    } catch (thrown) {
      // The descriptor may have been made non-blocking by whoever shares it.
      if (systemErrorName(thrown) !== "EAGAIN") return false;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
  return true;
}

/** Null where the output is no terminal, or one that does not say. */
export function screenSize(): { readonly columns: number; readonly rows: number } | null {
  const { isTTY, columns, rows } = process.stdout;
  return isTTY === true && columns > 0 && rows > 0 ? { columns, rows } : null;
}

/** Each key at once and unseen. @returns a function that gives the terminal back as it was. */
export function onKey(listener: (pressed: string) => void): () => void {
  const { stdin } = process;
  if (stdin.isTTY !== true) return () => {};
  const take = (bytes: Uint8Array): void => listener(new TextDecoder().decode(bytes));
  stdin.setRawMode(true);
  stdin.on("data", take);
  stdin.resume();
  return () => {
    stdin.off("data", take);
    stdin.pause();
    stdin.setRawMode(false);
  };
}

/** Waits for one line. @returns null without a terminal, or when the input has ended. */
export function ask(question: string): string | null {
  // Node has no `prompt`.
  return typeof prompt === "function" ? prompt(question.trimEnd()) : askByDescriptor(question.trimEnd());
}

function askByDescriptor(question: string): string | null {
  if (process.stdin.isTTY !== true) return null;
  print(1, `${question} `);
  const line: number[] = [];
  const byte = new Uint8Array(1);
  for (;;) {
    try {
      if (readSync(0, byte) === 0) return line.length === 0 ? null : decoded(line);
    } catch (thrown) {
      if (systemErrorName(thrown) !== "EAGAIN") return null;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10);
      continue;
    }
    if (byte[0] === lineFeed) return decoded(line);
    line.push(byte[0] ?? 0);
  }
}

const lineFeed = 0x0a;

function decoded(line: readonly number[]): string {
  return new TextDecoder().decode(Uint8Array.from(line));
}
