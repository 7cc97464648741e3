/** A rule as compiling wants it: clauses that say nothing gone, values turned into ranges. */
import type { Match, Rule } from "../../mesh/authorization.ts";
import { type FieldRanges, ipv4Fields, ipv6Fields, type Key, portFields, rangesContain } from "./ranges.ts";

export interface PreparedMatch {
  readonly match: Match;
  readonly ports: FieldRanges<number>;
  readonly source4: FieldRanges<number>;
  readonly source6: FieldRanges<bigint>;
  readonly destination4: FieldRanges<number>;
  readonly destination6: FieldRanges<bigint>;
}

/** Clauses AND, matches OR. */
export interface PreparedRule {
  readonly clauses: readonly (readonly PreparedMatch[])[];
}

/** What `sayingClauses` leaves of a rule. */
export type SayingClauses = readonly (readonly Match[])[];

export function prepareRule(clauses: SayingClauses): PreparedRule {
  return { clauses: clauses.map((matches) => matches.map(prepareMatch)) };
}

/**
 * The clauses that can refuse. A clause written without matches always holds, so it is left out; an empty match never
 * holds, so it is left out of its clause (ztunnel `rbac.rs`, matches). A clause that has no match left never holds.
 */
export function sayingClauses(rule: Rule): SayingClauses {
  return rule.clauses
    .filter((clause) => clause.matches.length > 0)
    .map((clause) => clause.matches.filter((match) => !isEmptyMatch(match)));
}

function prepareMatch(match: Match): PreparedMatch {
  return {
    match,
    ports: portFields(match.destinationPorts, match.notDestinationPorts),
    source4: ipv4Fields(match.sourceIps, match.notSourceIps),
    source6: ipv6Fields(match.sourceIps, match.notSourceIps),
    destination4: ipv4Fields(match.destinationIps, match.notDestinationIps),
    destination6: ipv6Fields(match.destinationIps, match.notDestinationIps),
  };
}

/**
 * Whether the rule can still match when one dimension alone is known, `holds` saying which matches agree with it. For a
 * rule whose clauses have one match each this is exact, dimension by dimension; in general it is never too strict.
 */
export function isPossible<M>(clauses: readonly (readonly M[])[], holds: (match: M) => boolean): boolean {
  return clauses.every((matches) => matches.some(holds));
}

/** ztunnel `rbac.rs`, matches_internal: one of the values, and none of the not-values. */
export function fieldHolds<K extends Key>(field: FieldRanges<K>, value: K): boolean {
  return (
    (field.positive === null || rangesContain(field.positive, value)) && !rangesContain(field.negative, value)
  );
}

function isEmptyMatch(match: Match): boolean {
  return (
    match.namespaces.length === 0 &&
    match.notNamespaces.length === 0 &&
    match.principals.length === 0 &&
    match.notPrincipals.length === 0 &&
    match.serviceAccounts.length === 0 &&
    match.notServiceAccounts.length === 0 &&
    match.sourceIps.length === 0 &&
    match.notSourceIps.length === 0 &&
    match.destinationIps.length === 0 &&
    match.notDestinationIps.length === 0 &&
    match.destinationPorts.length === 0 &&
    match.notDestinationPorts.length === 0
  );
}
