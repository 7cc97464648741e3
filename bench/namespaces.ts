/** What every benchmark between two network namespaces begins with. */
import { join } from "node:path";
import { cleanUpOnExit, scratchDirectory } from "../conformance/peer/lab/cleanup.ts";
import { namespacesUnavailable } from "../conformance/peer/lab/place.ts";
import { buildGo } from "../conformance/peer/lab/tools.ts";

/** The flags that all of them have; how many rounds there are without one is each's own. */
export const commonFlags = {
  quick: { type: "boolean", default: false },
  only: { type: "string" },
  anyway: { type: "boolean", default: false },
  keep: { type: "boolean", default: false },
  help: { type: "boolean", default: false },
} as const;

export interface Prepared {
  /** The meter, `bench/load`. */
  readonly loadPath: string;
  /** Removed at the end of the process. */
  readonly scratch: string;
}

/** @returns null where it cannot run, which is said then. */
export function prepareNamespaces(name: string): Prepared | null {
  const unavailable = namespacesUnavailable();
  const load = buildGo("bench/load", "fairlead-load");
  if (unavailable !== null || "missing" in load) {
    console.error(`bench ${name} cannot run: ${unavailable ?? ("missing" in load ? load.missing : "")}`);
    return null;
  }
  cleanUpOnExit();
  return { loadPath: load.path, scratch: scratchDirectory(`bench_${name}`) };
}

/** A folder of one round of one subject. */
export function roundDirectory({ scratch }: Prepared, subject: string, round: number): string {
  return join(scratch, `${subject.replace(/\W+/g, "_")}_${round}`);
}
