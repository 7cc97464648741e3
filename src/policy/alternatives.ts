/**
 * A rule as the alternatives that the index holds. The index knows rules dimension by dimension, which is exact only where
 * no clause mixes dimensions between its matches: `{A on port 1} or {B on port 2}` looks, to it, as if A might use port 2.
 * Such a clause is split, so that each alternative is exact, as long as that makes few of them.
 */
import type { Match } from "../mesh/authorization.ts";
import type { SayingClauses } from "./prepared_rule.ts";

/** @returns what, OR-ed, is the rule: itself alone when nothing mixes or when there would be more than `most`. */
export function alternatives(clauses: SayingClauses, most: number): readonly SayingClauses[] {
  const mixed = clauses.filter(isMixed);
  if (mixed.length === 0) return [clauses];
  const count = mixed.reduce((product, matches) => product * matches.length, 1);
  if (count > most) return [clauses];
  let found: SayingClauses[] = [[]];
  for (const matches of clauses) {
    const choices = isMixed(matches) ? matches.map((match) => [match]) : [matches];
    found = found.flatMap((chosen) => choices.map((choice) => [...chosen, choice]));
  }
  return found;
}

/** Whether several matches together look at more than one dimension. */
function isMixed(matches: readonly Match[]): boolean {
  if (matches.length < 2) return false;
  const looked = [looksAtIdentity, looksAtPort, looksAtSource, looksAtDestination];
  return looked.filter((looksAt) => matches.some(looksAt)).length > 1;
}

function looksAtIdentity(match: Match): boolean {
  return (
    match.principals.length + match.notPrincipals.length > 0 ||
    match.namespaces.length + match.notNamespaces.length > 0 ||
    match.serviceAccounts.length + match.notServiceAccounts.length > 0
  );
}

function looksAtPort(match: Match): boolean {
  return match.destinationPorts.length + match.notDestinationPorts.length > 0;
}

function looksAtSource(match: Match): boolean {
  return match.sourceIps.length + match.notSourceIps.length > 0;
}

function looksAtDestination(match: Match): boolean {
  return match.destinationIps.length + match.notDestinationIps.length > 0;
}
