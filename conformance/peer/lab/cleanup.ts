/** Whatever way the program ends, its processes, namespaces and files go with it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { closeAllPlaces } from "./place.ts";
import { killAllSubprocesses } from "./subprocess.ts";

const directories = new Set<string>();

/** A new directory of this run, removed at the end unless `KEEP_LOGS` is set. */
export function scratchDirectory(label: string): string {
  const path = mkdtempSync(join(tmpdir(), `fairlead-${label}-`));
  directories.add(path);
  return path;
}

export function cleanUp(): void {
  killAllSubprocesses();
  closeAllPlaces();
  for (const path of directories) {
    if (process.env.KEEP_LOGS === undefined) rmSync(path, { recursive: true, force: true });
    else console.error(`logs kept in ${path}`);
  }
  directories.clear();
}

export function cleanUpOnExit(): void {
  process.on("exit", cleanUp);
  for (const [signal, code] of [
    ["SIGINT", 130],
    ["SIGTERM", 143],
    ["SIGHUP", 129],
  ] as const) {
    process.on(signal, () => process.exit(code));
  }
}
