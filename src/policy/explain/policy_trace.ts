/** A decision of tunnels, with what led to it: the rule that decided, and what would have to change for another outcome. */
import type { Authorization, Rule } from "../../mesh/authorization.ts";
import { authorizationKey } from "../../mesh/authorization.ts";
import { formatLocation, type Location } from "../../mesh/location.ts";
import type { Workload } from "../../mesh/workload.ts";
import type { PolicyConnection } from "../decision.ts";
import type { PolicySet } from "../policy_set.ts";
import { type Mismatch, whyNot } from "./rule_match.ts";

export interface PolicyTrace {
  readonly allowed: boolean;
  /** `namespace/name`; null where no policy applies. */
  readonly policy: string | null;
  readonly action: "ALLOW" | "DENY" | null;
  /** Null when no single rule decided. */
  readonly rule: number | null;
  /** Where that is written; null where it came without its place (from a control plane). */
  readonly location: Location | null;
  /** One line for an operator. */
  readonly because: string;
  /** What would have to change for the other outcome; empty where nothing denies. */
  readonly change: readonly string[];
  /** What the policies in dry run would have done: `would have been denied by …`. */
  readonly dryRuns: readonly string[];
}

/** As the engine decides (`policy_engine.ts`), which the agreement test holds it to. */
export function tracePolicies(
  policies: PolicySet,
  workload: Workload,
  connection: PolicyConnection,
  missingPolicy: "deny" | "skip",
): PolicyTrace {
  const missing = policies.missing(workload);
  const [first] = missing;
  if (first !== undefined && missingPolicy === "deny") return missingTrace(missing);
  const applying = policies.groups(workload).flatMap((group) => group.policies);
  const enforced = decide(
    applying.filter(({ dryRun }) => !dryRun),
    connection,
  );
  return { ...enforced, dryRuns: dryRunsOf(applying, enforced, connection) };
}

type Enforced = Omit<PolicyTrace, "dryRuns">;

function decide(applying: readonly Authorization[], connection: PolicyConnection): Enforced {
  for (const policy of applying) {
    if (policy.action !== "DENY") continue;
    const index = policy.rules.findIndex((rule) => whyNot(rule, connection) === null);
    if (index !== -1) return deniedTrace(policy, index, connection);
  }
  const allowing = applying.filter(({ action }) => action === "ALLOW");
  for (const policy of allowing) {
    const index = policy.rules.findIndex((rule) => whyNot(rule, connection) === null);
    const rule = policy.rules[index];
    if (rule === undefined) continue;
    const location = rule.location ?? policy.location;
    const because = `allowed by rule ${index} of ${authorizationKey(policy)}${where(location)}`;
    return {
      allowed: true,
      policy: authorizationKey(policy),
      action: "ALLOW",
      rule: index,
      location,
      because,
      change: [],
    };
  }
  const [first] = allowing;
  if (first !== undefined) return notAllowedTrace(allowing, first, connection);
  const because = "allowed: no policy denies it, and no ALLOW policy applies to this workload";
  return { allowed: true, policy: null, action: null, rule: null, location: null, because, change: [] };
}

function deniedTrace(policy: Authorization, index: number, connection: PolicyConnection): Enforced {
  const rule = policy.rules[index];
  const location = rule?.location ?? policy.location;
  const name = authorizationKey(policy);
  const isOfPlaintext = connection.sourceIdentity === null && rule !== undefined && needsIdentity(rule);
  const change = isOfPlaintext
    ? [
        "the caller must come through the mesh, with an identity: run a node where it runs",
        `or narrow rule ${index} of ${name}${where(location)}, which refuses plain text`,
      ]
    : [`narrow or remove rule ${index} of ${name}${where(location)}`];
  return {
    allowed: false,
    policy: name,
    action: "DENY",
    rule: index,
    location,
    because: `denied by rule ${index} of ${name}${where(location)}`,
    change,
  };
}

/** Whether the rule is one of those that STRICT becomes: it matches whoever has no principal. */
function needsIdentity(rule: Rule): boolean {
  return rule.clauses.some(({ matches }) =>
    matches.some(({ notPrincipals }) => notPrincipals.some(({ kind }) => kind === "presence")),
  );
}

function notAllowedTrace(
  allowing: readonly Authorization[],
  first: Authorization,
  connection: PolicyConnection,
): Enforced {
  const nearest = nearestRule(allowing, connection);
  const names = allowing.map(authorizationKey);
  const told = names.length === 1 ? `the ALLOW policy ${names[0]}` : `the ALLOW policies ${list(names)}`;
  const location = nearest?.policy.location ?? first.location;
  return {
    allowed: false,
    policy: authorizationKey(nearest?.policy ?? first),
    action: "ALLOW",
    rule: null,
    location,
    because: `denied: no rule of ${told} matches${where(location)}`,
    change:
      nearest === null
        ? [`add a rule that allows it to ${names[0]}${where(first.location)}`]
        : [changeOf(nearest)],
  };
}

interface Nearest {
  readonly policy: Authorization;
  readonly index: number;
  readonly rule: Rule;
  readonly mismatches: readonly Mismatch[];
}

/** The rule that the fewest fields keep from matching. */
function nearestRule(allowing: readonly Authorization[], connection: PolicyConnection): Nearest | null {
  let best: Nearest | null = null;
  for (const policy of allowing)
    for (const [index, rule] of policy.rules.entries()) {
      const mismatches = whyNot(rule, connection);
      if (mismatches === null || mismatches.length === 0) continue;
      if (best === null || mismatches.length < best.mismatches.length)
        best = { policy, index, rule, mismatches };
    }
  return best;
}

function changeOf({ policy, index, rule, mismatches }: Nearest): string {
  const name = authorizationKey(policy);
  const needed = mismatches.map(({ field, has, actual }) => {
    if (field.startsWith("not") || field.endsWith("(notValues)"))
      return `${field} did not list ${quoted(has)}`;
    if (actual === null) return `the caller had an identity (${field} ${quoted(has)})`;
    return `${field} listed ${JSON.stringify(actual)} (it has ${quoted(has)})`;
  });
  return `rule ${index} of ${name}${where(rule.location ?? policy.location)} would allow it if ${needed.join(", and ")}`;
}

function missingTrace(missing: readonly string[]): PolicyTrace {
  return {
    allowed: false,
    policy: missing[0] ?? null,
    action: null,
    rule: null,
    location: null,
    because: `denied: the workload names ${list(missing)}, which is not here`,
    change: [`${list(missing)} must reach this node, or the workload must not name it`],
    dryRuns: [],
  };
}

/** What would be otherwise if the policies in dry run were in force. */
function dryRunsOf(
  applying: readonly Authorization[],
  enforced: Enforced,
  connection: PolicyConnection,
): readonly string[] {
  const dry = applying.filter(({ dryRun }) => dryRun);
  if (enforced.allowed) {
    const denial = dryRunDenial(dry, enforced.policy !== null, connection);
    return denial === null ? [] : [denial];
  }
  if (enforced.action !== "ALLOW") return [];
  const outcome = decide(
    dry.filter(({ action }) => action === "ALLOW"),
    connection,
  );
  // Without an ALLOW policy in dry run there is none that would have let it in.
  return outcome.allowed && outcome.policy !== null
    ? [`would have been allowed by rule ${outcome.rule} of ${outcome.policy}${where(outcome.location)}`]
    : [];
}

/**
 * @param dry policies in dry run that apply. @param isAllowedByRule an ALLOW policy in force matches, so no other can leave it out.
 * @returns null when they would have let it in.
 */
export function dryRunDenial(
  dry: readonly Authorization[],
  isAllowedByRule: boolean,
  connection: PolicyConnection,
): string | null {
  const outcome = decide(
    dry.filter(({ action }) => action === "DENY" || !isAllowedByRule),
    connection,
  );
  if (outcome.allowed) return null;
  const { policy, rule, location } = outcome;
  const by = rule === null ? `no rule of ${policy} matches` : `by rule ${rule} of ${policy}`;
  return `would have been denied${rule === null ? ": " : " "}${by}${where(location)}`;
}

/** ` (mesh.yaml:12:5)` */
function where(location: Location | null): string {
  return location === null ? "" : ` (${formatLocation(location)})`;
}

const maxListed = 4;

function list(names: readonly string[]): string {
  const shown = names.slice(0, maxListed).join(", ");
  return names.length > maxListed ? `${shown} and ${names.length - maxListed} more` : shown;
}

function quoted(values: readonly string[]): string {
  return list(values.map((value) => JSON.stringify(value)));
}
