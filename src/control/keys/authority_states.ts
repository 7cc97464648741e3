/**
 * How the states of authorities may change. Each step is a list of single durable writes in an order in which a process may
 * be killed between any two: what it finds then says what is left to do.
 *
 * A root of ours issues no leaves: an intermediate below it does, and the root is there as long as that one is (`retiring`, with
 * something below it).
 */
import type { AuthorityState } from "../records/keys.ts";
import type { LoadedAuthority } from "./authority_view.ts";

export interface StateChange {
  readonly id: string;
  readonly state: AuthorityState;
}

/** Where an authority is among the others. */
export interface AuthorityPosition {
  readonly id: string;
  readonly state: AuthorityState;
  /** Those in force that have it above them. */
  readonly below: readonly string[];
}

export function positions(
  authorities: readonly Pick<LoadedAuthority, "id" | "state" | "certificate" | "above">[],
): readonly AuthorityPosition[] {
  return authorities.map(({ id, state, certificate: { authorityKey } }) => ({
    id,
    state,
    below: authorities
      .filter((other) => other.id !== id && other.above.some((one) => one.authorityKey === authorityKey))
      .map((other) => other.id),
  }));
}

/**
 * From `active` to `next`: the old one steps back first, so that there are never two of which it is not known which one issues.
 * Between the two writes none is active, which `unfinished` recognises. The root that came with the next one follows it.
 */
export function activation(authorities: readonly AuthorityPosition[]): readonly StateChange[] {
  const next = authorities.find((one) => one.state === "next" && one.below.length === 0);
  if (next === undefined) return [];
  const stepping = authorities.filter((one) => one.state === "active");
  const above = authorities.filter((one) => one.state === "next" && one.below.includes(next.id));
  return [
    ...stepping.map((one) => change(one.id, "retiring")),
    change(next.id, "active"),
    ...above.map((one) => change(one.id, "retiring")),
  ];
}

/** What a process that was killed has left undone. */
export function unfinished(authorities: readonly AuthorityPosition[]): readonly StateChange[] {
  const active = authorities.find((one) => one.state === "active");
  // A root that issues has its intermediate: every node holds it.
  const isSteppingBack = authorities.some((one) => one.state === "next" && active?.below.includes(one.id));
  if (active === undefined || isSteppingBack) return activation(authorities);
  return authorities
    .filter((one) => one.state === "next" && one.below.includes(active.id))
    .map((one) => change(one.id, "retiring"));
}

function change(id: string, state: AuthorityState): StateChange {
  return { id, state };
}
