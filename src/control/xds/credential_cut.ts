/** Ends the streams of callers that are no longer believed. */

import type { Caller } from "../../control/identity/caller.ts";
import type { Clock } from "../../host/host.ts";
import type { ControlParts } from "./control.ts";

/** A stream is as good as the credential that opened it, whoever took that away and by whichever way. @returns a function that ends it. */
export function cutWithCredentials(
  clock: Clock,
  { xds, identity, trust, state }: Pick<ControlParts, "xds" | "identity" | "trust" | "state">,
): () => void {
  /** Nodes to look at; null is everybody. */
  let due: Set<string> | null = new Set();
  let isArmed = false;
  let isOver = false;
  const cut = (): void => {
    const nodes = due;
    due = new Set();
    isArmed = false;
    if (isOver) return;
    xds.cutStreams(
      (caller: Caller) =>
        (nodes === null || (caller.kind === "node" && nodes.has(caller.node))) &&
        identity.authenticator.recheck(caller) !== null,
    );
  };
  // Later, as a change may be of a transaction that is under way; one look for all that happens until then.
  const arm = (): void => {
    if (!isArmed) clock.defer(cut);
    isArmed = true;
  };
  const ends = [
    trust.changes.subscribe(() => {
      due = null;
      arm();
    }),
    // A thousand hosts that join are not a million looks.
    state.registrations.subscribe((node) => {
      due?.add(node);
      arm();
    }),
  ];
  return () => {
    isOver = true;
    for (const end of ends) end();
  };
}
