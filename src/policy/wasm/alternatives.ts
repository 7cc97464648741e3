/**
 * A rule as the alternatives that the index holds. The index knows rules dimension by dimension, which is exact only where
 * the matches of a clause differ in one of them: `{A on port 1} or {B on port 2}` looks, to it, as if A might use port 2.
 * Such a clause is split into groups that differ in one each, so that each alternative is exact; as many as the bound allows.
 */
import { formatPrefix } from "../../base/prefix.ts";
import type { Match } from "../../mesh/authorization.ts";
import type { SayingClauses } from "./prepared_rule.ts";

/** @returns what, OR-ed, is the rule: itself alone when nothing mixes, and never more than `most`, of which some then mix. */
export function alternatives(clauses: SayingClauses, most: number): readonly SayingClauses[] {
  const choices = withinBound(clauses.map(exactGroups), most);
  let found: SayingClauses[] = [[]];
  for (const groups of choices) found = found.flatMap((chosen) => groups.map((group) => [...chosen, group]));
  return found;
}

/** Joins groups, of the clause that has most, until there are few enough alternatives; what was joined is no longer exact, and evaluated. */
function withinBound(choices: readonly Groups[], most: number): readonly Groups[] {
  const bounded = [...choices];
  for (;;) {
    const count = bounded.reduce((product, groups) => product * groups.length, 1);
    if (count <= most) return bounded;
    const widest = bounded.reduce((a, b) => (b.length > a.length ? b : a));
    // As many as leave room for the others, and at least one fewer.
    const kept = Math.max(1, Math.min(widest.length - 1, Math.floor((most * widest.length) / count)));
    bounded[bounded.indexOf(widest)] = [...widest.slice(0, kept - 1), widest.slice(kept - 1).flat()];
  }
}

type Groups = readonly (readonly Match[])[];

/** Each group's matches agree in all dimensions but one; of the ways to group them so the one with the fewest groups. */
function exactGroups(matches: readonly Match[]): Groups {
  if (matches.length < 2) return [matches];
  const texts = new Map(matches.map((match) => [match, dimensionTexts(match)]));
  let fewest: Groups = matches.map((match) => [match]);
  for (const dimension of dimensions) {
    const groups = Map.groupBy(matches, (match) => texts.get(match)?.toSpliced(dimension, 1).join("\n"));
    if (groups.size < fewest.length) fewest = [...groups.values()];
  }
  return fewest;
}

/** The caller, the port, the source and the destination, as `dimensionTexts` has them. */
const dimensions = [0, 1, 2, 3] as const;

/** What a match says in each of `dimensions`: the same text for the same. */
function dimensionTexts(match: Match): readonly string[] {
  return [
    JSON.stringify([
      match.principals,
      match.notPrincipals,
      match.namespaces,
      match.notNamespaces,
      match.serviceAccounts,
      match.notServiceAccounts,
    ]),
    `${match.destinationPorts}!${match.notDestinationPorts}`,
    `${match.sourceIps.map(formatPrefix)}!${match.notSourceIps.map(formatPrefix)}`,
    `${match.destinationIps.map(formatPrefix)}!${match.notDestinationIps.map(formatPrefix)}`,
  ];
}
