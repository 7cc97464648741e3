/** Where the state is kept, and the marker that says so: a state that was there and is gone is never replaced by a new one in silence. */
import { MeshError } from "../../base/errors.ts";
import type { Host } from "../../host/host.ts";

/** "FLCP", so that `file` and we can tell the database from others'. */
export const applicationId = 0x464c4350;

export interface StatePaths {
  readonly directory: string;
  readonly database: string;
  /** Holds the identity of the state. Written after the database, so it never speaks of one that was not finished. */
  readonly marker: string;
}

export function statePaths(directory: string): StatePaths {
  const base = directory.endsWith("/") ? directory.slice(0, -1) : directory;
  return { directory, database: `${base}/control.db`, marker: `${base}/control.id` };
}

/** @returns null when there never was a state here. @throws MeshError `database_damaged`, `io`. */
export async function readMarker(files: Host["files"], path: string): Promise<string | null> {
  if (!(await files.exists(path))) return null;
  const id = (await files.readText(path)).trim();
  if (stateId.test(id)) return id;
  throw new MeshError("database_damaged", "local", `${path}: it does not have the identity of a state`);
}

export async function writeMarker(files: Host["files"], path: string, id: string): Promise<void> {
  await files.writeAtomic(path, new TextEncoder().encode(`${id}\n`), 0o600);
}

export function newStateId(random: Host["random"]): string {
  const bytes = new Uint8Array(16);
  random.fill(bytes);
  return bytes.toHex();
}

const stateId = /^[0-9a-f]{32}$/;
