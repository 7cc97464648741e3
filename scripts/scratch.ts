/** Folders of a program for itself. They go with it whatever way it ends, unless it is killed outright. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folders = new Set<string>();

/** A new folder for as long as this program runs. */
export function scratchFolder(label: string): string {
  if (folders.size === 0) removeAtExit();
  const path = mkdtempSync(join(tmpdir(), `fairlead-${label}-`));
  folders.add(path);
  return path;
}

function removeAtExit(): void {
  process.on("exit", () => {
    for (const path of folders) rmSync(path, { recursive: true, force: true });
  });
  exitOnSignals();
}

/** By a signal a program does not come to what it does at its exit, unless it says that it exits. */
export function exitOnSignals(): void {
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const)
    process.on(signal, () => process.exit(code));
}
