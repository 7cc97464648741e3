/**
 * The terminal of a command. Its output is written whole, in order, waiting for a slow reader. A node's log never goes
 * this way: there a full pipe costs lines, not the data path (`process.ts`).
 */
import { writeSync } from "node:fs";
import { systemErrorName } from "../socket_errors.ts";

/** Returns early, and quietly, when the reader has gone (`fairlead get … | head`). */
export function print(descriptor: 1 | 2, text: string): void {
  let rest: Uint8Array = new TextEncoder().encode(text);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(descriptor, rest));
    } catch (thrown) {
      // The descriptor may have been made non-blocking by whoever shares it.
      if (systemErrorName(thrown) !== "EAGAIN") return;
      Bun.sleepSync(1);
    }
  }
}

/** Waits for one line. @returns null without a terminal, or when the input has ended. */
export function ask(question: string): string | null {
  return prompt(question.trimEnd());
}
