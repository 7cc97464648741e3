/** Why a rule matches a connection or does not, field by field, in the words of the document that it was written in. */
import type { IpPrefix } from "../../base/prefix.ts";
import { formatPrefix, prefixContains } from "../../base/prefix.ts";
import type { Match, Rule, ServiceAccountMatch, StringMatch } from "../../mesh/authorization.ts";
import type { PolicyConnection } from "../decision.ts";

/** One field of a rule that keeps it from matching. */
export interface Mismatch {
  /** As the document calls it: `principals`, `notPorts`. */
  readonly field: string;
  /** What the rule lists. */
  readonly has: readonly string[];
  /** What the connection has; null where it has nothing of the kind (plaintext has no principal). */
  readonly actual: string | null;
}

/** @returns null when the rule matches; else what is nearest to a match. `[]`: it can never match, whatever the connection. */
export function whyNot(rule: Rule, connection: PolicyConnection): readonly Mismatch[] | null {
  const found: Mismatch[] = [];
  let isMatch = true;
  for (const { matches } of rule.clauses) {
    if (matches.length === 0) continue;
    const nearest = nearestOf(matches.map((match) => mismatches(match, connection)));
    if (nearest === "never") return [];
    if (nearest.length > 0) isMatch = false;
    found.push(...nearest);
  }
  return isMatch ? null : found;
}

type Outcome = readonly Mismatch[] | "never";

function nearestOf(outcomes: readonly Outcome[]): Outcome {
  let best: Outcome = "never";
  for (const outcome of outcomes)
    if (outcome !== "never" && (best === "never" || outcome.length < best.length)) best = outcome;
  return best;
}

/** Empty: it matches. A match whose every field is empty never does (ztunnel `rbac.rs`). */
function mismatches(match: Match, connection: PolicyConnection): Outcome {
  if (Object.values(match).every((values: readonly unknown[]) => values.length === 0)) return "never";
  const { sourceIdentity: id, sourceIp, destinationIp, destinationPort } = connection;
  const found: Mismatch[] = [];
  const check = <T>(
    field: string,
    [values, notValues]: readonly [readonly T[], readonly T[]],
    actual: string | null,
    test: (value: T) => boolean,
    format: (value: T) => string,
  ): void => {
    if (values.length > 0 && !values.some(test)) found.push({ field, has: values.map(format), actual });
    if (notValues.some(test))
      found.push({ field: negated(field), has: notValues.filter(test).map(format), actual });
  };
  const namespace = id === null ? "" : id.namespace;
  check(
    "principals",
    [match.principals, match.notPrincipals],
    id?.principal ?? null,
    (value) => id !== null && stringMatches(value, id.principal),
    formatString,
  );
  check(
    "namespaces",
    [match.namespaces, match.notNamespaces],
    id?.namespace ?? null,
    (value) => stringMatches(value, namespace),
    formatString,
  );
  check(
    "serviceAccounts",
    [match.serviceAccounts, match.notServiceAccounts],
    id === null ? null : `${id.namespace}/${id.serviceAccount}`,
    (value) => id !== null && id.namespace === value.namespace && id.serviceAccount === value.serviceAccount,
    formatAccount,
  );
  check(
    "ipBlocks",
    [match.sourceIps, match.notSourceIps],
    sourceIp.text,
    (prefix) => prefixContains(prefix, sourceIp),
    formatPrefix,
  );
  check(
    "destination.ip",
    [match.destinationIps, match.notDestinationIps],
    destinationIp.text,
    (prefix: IpPrefix) => prefixContains(prefix, destinationIp),
    formatPrefix,
  );
  check(
    "ports",
    [match.destinationPorts, match.notDestinationPorts],
    String(destinationPort),
    (port) => port === destinationPort,
    String,
  );
  return found;
}

function negated(field: string): string {
  if (field === "destination.ip") return "destination.ip (notValues)";
  return `not${field.charAt(0).toUpperCase()}${field.slice(1)}`;
}

function stringMatches(match: StringMatch, text: string): boolean {
  switch (match.kind) {
    case "exact":
      return text === match.value;
    case "prefix":
      return text.startsWith(match.value);
    case "suffix":
      return text.endsWith(match.value);
    case "presence":
      return text !== "";
  }
}

function formatString(match: StringMatch): string {
  switch (match.kind) {
    case "exact":
      return match.value;
    case "prefix":
      return `${match.value}*`;
    case "suffix":
      return `*${match.value}`;
    case "presence":
      return "*";
  }
}

function formatAccount({ namespace, serviceAccount }: ServiceAccountMatch): string {
  return `${namespace}/${serviceAccount}`;
}
