/**
 * How one authority takes the place of another, as a function of what is in state and of what is known about nodes. There
 * is no other memory: whoever comes after a crash goes on from the same place.
 *
 *     idle → preparing (the new one is announced) → reissuing (it issues; the old one is still believed) → idle
 */
import { type AuthorityPosition, activation, type StateChange } from "../keys/authority_states.ts";

/** What matters of one authority. It stays for as long as one that is below it does. */
export interface RotatingAuthority extends AuthorityPosition {
  /** Keys of the roots that are believed for its sake. */
  readonly roots: readonly string[];
  /**
   * Replaced in time and by no operator's word: it stays until its own certificate ends, for its revocation list, and so that nothing that
   * rests on it is cut.
   */
  readonly lingers: boolean;
  /** Who still has a leaf of it that has no successor. */
  readonly holders: readonly string[];
}

export interface RotationFacts {
  readonly authorities: readonly RotatingAuthority[];
  /** Who is not known to hold the root of the one that is next, or without one of the one that is active. */
  readonly lackingRoot: readonly string[];
}

export type RotationPhase = "idle" | "preparing" | "reissuing";

export interface Waiting {
  /** `root`: nodes that do not hold the new root. `leaf`: holders of leaves of the old one. `finish`: the operator's word. */
  readonly what: "root" | "leaf" | "finish";
  readonly names: readonly string[];
}

export type RotationStep =
  | { readonly kind: "change"; readonly changes: readonly StateChange[] }
  | { readonly kind: "wait"; readonly waiting: Waiting }
  | { readonly kind: "nothing" };

export function phaseOf(facts: RotationFacts): RotationPhase {
  if (facts.authorities.some(isAnnounced)) return "preparing";
  return leaving(facts).length > 0 ? "reissuing" : "idle";
}

/** What may be done without anybody's word. */
export function automaticStep(facts: RotationFacts): RotationStep {
  if (phaseOf(facts) === "preparing") return activateStep(facts);
  const gone = leaving(facts);
  const kept = new Set(facts.authorities.filter((one) => !gone.includes(one)).flatMap((one) => one.roots));
  // A root that leaves the bundle takes along whoever has only leaves of it.
  const quiet = gone.filter((one) => one.holders.length === 0 && one.roots.every((root) => kept.has(root)));
  if (quiet.length > 0) return retire(quiet);
  return phaseOf(facts) === "idle" ? { kind: "nothing" } : { kind: "wait", waiting: waitingToLeave(facts) };
}

/**
 * What the operator's word brings about: an old root leaves when it is needed no more, and not before, unless those that need it are
 * abandoned. They join again.
 */
export function finishStep(facts: RotationFacts, abandon = false): RotationStep {
  const phase = phaseOf(facts);
  if (phase === "idle") return { kind: "nothing" };
  if (abandon)
    return phase === "preparing"
      ? { kind: "change", changes: activation(facts.authorities) }
      : retire(leaving(facts));
  if (phase === "preparing") return { kind: "wait", waiting: { what: "root", names: facts.lackingRoot } };
  const waiting = waitingToLeave(facts);
  return waiting.what === "finish" ? retire(leaving(facts)) : { kind: "wait", waiting };
}

/** Before the new one issues it is taken back. After that there is only the way forward, or another rotation. */
export function abortStep(facts: RotationFacts): RotationStep {
  const next = facts.authorities.filter((one) => one.state === "next");
  return next.length === 0 ? { kind: "nothing" } : retire(next);
}

function activateStep(facts: RotationFacts): RotationStep {
  if (facts.lackingRoot.length > 0)
    return { kind: "wait", waiting: { what: "root", names: facts.lackingRoot } };
  return { kind: "change", changes: activation(facts.authorities) };
}

function waitingToLeave(facts: RotationFacts): Waiting {
  const holders = [...new Set(leaving(facts).flatMap((one) => one.holders))];
  if (holders.length > 0) return { what: "leaf", names: holders };
  // A node that joined or came back since; it would be left with nothing to believe.
  if (facts.lackingRoot.length > 0) return { what: "root", names: facts.lackingRoot };
  return { what: "finish", names: [] };
}

/** Those that are on their way out. */
export function leaving({ authorities }: Pick<RotationFacts, "authorities">): readonly RotatingAuthority[] {
  const stays = (one: RotatingAuthority): boolean =>
    one.state !== "retiring" ||
    one.lingers ||
    authorities.some((other) => one.below.includes(other.id) && stays(other));
  return authorities.filter((one) => !stays(one));
}

/** A root that has come with it is not what is waited for. */
export function isAnnounced({ state, below }: AuthorityPosition): boolean {
  return state === "next" && below.length === 0;
}

/** What is below goes first: an intermediate is never there without the list above it. */
function retire(authorities: readonly RotatingAuthority[]): RotationStep {
  const ordered = [...authorities].sort((a, b) => a.below.length - b.below.length);
  return { kind: "change", changes: ordered.map(({ id }) => ({ id, state: "retired" })) };
}
