/**
 * The decision in plain lines: ztunnel's `rbac.rs` and `state.rs` (assert_rbac) read aloud. It is the oracle that the
 * compiled engine is tested against, so it shares no code with it but the wording of refusals, and is slow without shame.
 */

import { unreachable } from "../base/assert.ts";
import type { IpAddress } from "../base/ip.ts";
import { policyLimits } from "../base/limits/policy.ts";
import type { IpPrefix } from "../base/prefix.ts";
import { prefixContains } from "../base/prefix.ts";
import { WatchSource } from "../base/watch.ts";
import type { Authorization, Match, Rule, ServiceAccountMatch, StringMatch } from "../mesh/authorization.ts";
import { authorizationKey } from "../mesh/authorization.ts";
import type { SpiffeId } from "../mesh/identity.ts";
import type { Workload } from "../mesh/workload.ts";
import type { Decision, Permit, PolicyConnection } from "./decision.ts";
import { mintPermit } from "./decision.ts";
import { deniedByRule, joinNames, noAllowMatched, policyMissing } from "./denial.ts";
import { DryRunPolicies } from "./dry_run.ts";
import type { DryRunListener, PolicyEngine, PolicyEngineOptions } from "./policy_engine.ts";

export function createReferenceEngine(options: PolicyEngineOptions): PolicyEngine {
  return new ReferenceEngine(options);
}

class ReferenceEngine implements PolicyEngine {
  onDryRun: DryRunListener | null = null;
  version = 0;
  /** It compiles nothing. */
  readonly preparing = 0;
  readonly prepared = new WatchSource(0);
  readonly #options: PolicyEngineOptions;
  readonly #dryRuns = new DryRunPolicies();
  #policies = new Map<string, Authorization>();

  constructor(options: PolicyEngineOptions) {
    this.#options = options;
  }

  update(policies: Iterable<Authorization>): void {
    this.#policies = new Map();
    for (const policy of policies) this.#policies.set(authorizationKey(policy), policy);
    this.#dryRuns.update(this.#policies.values());
    this.version++;
  }

  wouldDeny(workload: Workload, permit: Permit): string | null {
    return this.#dryRuns.wouldDeny(workload, permit);
  }

  isPreparing(): boolean {
    return false;
  }

  missing(workload: Workload): readonly string[] {
    return [...new Set(workload.authorizationPolicies)].filter((name) => !this.#policies.has(name));
  }

  decide(workload: Workload, connection: PolicyConnection): Decision {
    const maxChars = this.#options.limits?.maxDenialNameChars ?? policyLimits.maxDenialNameChars;
    const missing = this.missing(workload);
    if (missing.length > 0 && this.#options.missingPolicy === "deny") {
      return policyMissing(joinNames(missing, maxChars), this.version);
    }
    const applicable = policiesInOrder(this.#policies, workload);
    const denying = applicable.filter((policy) => policy.action === "DENY");
    const allowing = applicable.filter((policy) => policy.action === "ALLOW");

    this.#reportDryRuns(denying, connection);
    for (const policy of denying.filter((candidate) => !candidate.dryRun)) {
      const rule = firstMatchingRule(policy, connection);
      if (rule !== null) return deniedByRule(policy, rule, this.version);
    }
    this.#reportDryRuns(allowing, connection);
    const enforced = allowing.filter((candidate) => !candidate.dryRun);
    const first = enforced[0];
    if (first === undefined) return mintPermit(connection, this.version, null);
    for (const policy of enforced) {
      if (firstMatchingRule(policy, connection) !== null) {
        return mintPermit(connection, this.version, authorizationKey(policy));
      }
    }
    return noAllowMatched(joinNames(enforced.map(authorizationKey), maxChars), first, this.version);
  }

  #reportDryRuns(policies: readonly Authorization[], connection: PolicyConnection): void {
    for (const policy of policies.filter((candidate) => candidate.dryRun)) {
      const rule = firstMatchingRule(policy, connection);
      if (rule !== null) this.onDryRun?.(authorizationKey(policy), rule, policy.action, connection);
    }
  }
}

/** The policies that apply, in the order `policy_engine.ts` states. */
function policiesInOrder(policies: ReadonlyMap<string, Authorization>, workload: Workload): Authorization[] {
  const ranked: { rank: number; key: string; policy: Authorization }[] = [];
  for (const [key, policy] of policies) {
    // ztunnel files a GLOBAL policy under the empty namespace and reads that for every workload, so a NAMESPACE policy of
    // the empty namespace reaches every workload too.
    const global = policy.scope === "GLOBAL" || (policy.scope === "NAMESPACE" && policy.namespace === "");
    if (global) ranked.push({ rank: 0, key, policy });
    else if (policy.scope === "NAMESPACE" && policy.namespace === workload.namespace) {
      ranked.push({ rank: 1, key, policy });
    } else if (workload.authorizationPolicies.includes(key)) ranked.push({ rank: 2, key, policy });
  }
  ranked.sort((a, b) => a.rank - b.rank || (a.key < b.key ? -1 : 1));
  return ranked.map((entry) => entry.policy);
}

function firstMatchingRule(policy: Authorization, connection: PolicyConnection): number | null {
  const index = policy.rules.findIndex((rule) => ruleMatches(rule, connection));
  return index === -1 ? null : index;
}

function ruleMatches(rule: Rule, connection: PolicyConnection): boolean {
  return rule.clauses.every(
    (clause) =>
      clause.matches.length === 0 || clause.matches.some((match) => matchMatches(match, connection)),
  );
}

function matchMatches(match: Match, connection: PolicyConnection): boolean {
  if (isEmpty(match)) return false;
  const { sourceIdentity: id, sourceIp, destinationIp, destinationPort } = connection;
  const principal = (value: StringMatch) => id !== null && stringMatches(value, id.principal);
  const namespace = (value: StringMatch) => stringMatches(value, id === null ? "" : id.namespace);
  const account = (value: ServiceAccountMatch) => serviceAccountMatches(value, id);
  const contains = (ip: IpAddress) => (prefix: IpPrefix) => prefixContains(prefix, ip);
  const port = (value: number) => value === destinationPort;
  return (
    fieldMatches(match.principals, match.notPrincipals, principal) &&
    fieldMatches(match.namespaces, match.notNamespaces, namespace) &&
    fieldMatches(match.serviceAccounts, match.notServiceAccounts, account) &&
    fieldMatches(match.sourceIps, match.notSourceIps, contains(sourceIp)) &&
    fieldMatches(match.destinationIps, match.notDestinationIps, contains(destinationIp)) &&
    fieldMatches(match.destinationPorts, match.notDestinationPorts, port)
  );
}

function fieldMatches<T>(
  values: readonly T[],
  notValues: readonly T[],
  test: (value: T) => boolean,
): boolean {
  return (values.length === 0 || values.some(test)) && !notValues.some(test);
}

function isEmpty(match: Match): boolean {
  return Object.values(match).every((values: readonly unknown[]) => values.length === 0);
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
    default:
      return unreachable(match);
  }
}

function serviceAccountMatches(match: ServiceAccountMatch, id: SpiffeId | null): boolean {
  return id !== null && id.namespace === match.namespace && id.serviceAccount === match.serviceAccount;
}
