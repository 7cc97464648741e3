/** What this program is; `npm run build` puts the commit in. */
import manifest from "../../package.json" with { type: "json" };

declare const fairleadCommit: string | undefined;

/** Whether this is the binary, and not its source. */
export const isBuilt = typeof fairleadCommit !== "undefined";

/** What a node of this version takes from the one before it, besides sockets (`app/node/succession.ts`): asked for by whom it replaces. */
export const takes = { counts: "counts" } as const;

/** @param runtime the Host's name. */
export function versionFields(runtime: string): Readonly<Record<string, string>> {
  return {
    version: manifest.version,
    commit: typeof fairleadCommit === "undefined" ? "unknown" : fairleadCommit,
    runtime,
    takes: takes.counts,
  };
}
