/** Ends the streams of callers that are no longer believed. */
import type { Clock } from "../../host/host.ts";
import type { Caller } from "../identity/caller.ts";

export interface CredentialCutOptions {
  readonly clock: Clock;
  readonly xds: { cutStreams(isUnbelieved: (caller: Caller) => boolean): void };
  /** Null for a caller that is still believed. */
  readonly recheck: (caller: Caller) => unknown;
  /** Whom to trust has changed: roots or revocation lists. */
  readonly trust: { subscribe(listener: () => void): () => void };
  /** A node's registration has changed. */
  readonly registrations: { subscribe(listener: (node: string) => void): () => void };
}

/**
 * A stream is as good as the credential that opened it, whoever took that away and by whichever way.
 *
 * @returns a function that ends it.
 */
export function cutWithCredentials(options: CredentialCutOptions): () => void {
  const { clock, xds, recheck, trust, registrations } = options;
  /** Nodes to look at; null is all. */
  let due: Set<string> | null = new Set();
  let isArmed = false;
  let isOver = false;
  const cut = (): void => {
    const nodes = due;
    due = new Set();
    isArmed = false;
    if (isOver) return;
    xds.cutStreams(
      (caller) =>
        (nodes === null || (caller.kind === "node" && nodes.has(caller.node))) && recheck(caller) !== null,
    );
  };
  // Later, as a change may be of a transaction that is under way; one look for all that happens until then.
  const arm = (): void => {
    if (!isArmed) clock.defer(cut);
    isArmed = true;
  };
  const ends = [
    trust.subscribe(() => {
      due = null;
      arm();
    }),
    // A thousand hosts that join are not a million looks.
    registrations.subscribe((node) => {
      due?.add(node);
      arm();
    }),
  ];
  return () => {
    isOver = true;
    for (const end of ends) end();
  };
}
