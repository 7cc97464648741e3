/** The refusals a policy engine can give, each built in one place so that both engines word them alike. */
import type { Authorization } from "../mesh/authorization.ts";
import { authorizationKey } from "../mesh/authorization.ts";
import type { Denial } from "./decision.ts";

/** A DENY rule matched: the rule's own place, or its policy's when the rule was not read from a file. */
export function deniedByRule(policy: Authorization, rule: number, version: number): Denial {
  const location = policy.rules[rule]?.location ?? policy.location;
  return {
    allowed: false,
    reason: "denied_by_rule",
    policy: authorizationKey(policy),
    rule,
    location,
    version,
  };
}

/** There are ALLOW policies and none matched. `names` comes from `joinNames`; `first` is the first of them in policy order. */
export function noAllowMatched(names: string, first: Authorization, version: number): Denial {
  return {
    allowed: false,
    reason: "no_allow_matched",
    policy: names,
    rule: null,
    location: first.location,
    version,
  };
}

/** The workload names policies that are not loaded. They have no place in a file: that is the trouble. */
export function policyMissing(names: string, version: number): Denial {
  return { allowed: false, reason: "policy_missing", policy: names, rule: null, location: null, version };
}

/** The policies could not be compiled, or the engine failed. `policy` is the one to blame, when it is one. */
export function engineUnavailable(policy: Authorization | null, version: number): Denial {
  return {
    allowed: false,
    reason: "engine_unavailable",
    policy: policy === null ? null : authorizationKey(policy),
    rule: null,
    location: policy?.location ?? null,
    version,
  };
}

/**
 * `a/b,c/d` and so on. Whole names only: once `maxChars` is reached the rest is counted (`a/b,c/d and 17 more`).
 *
 * @param names the first of them; no more than `maxChars + 1` are looked at
 * @param count how many there are in all
 */
export function joinNames(names: readonly string[], maxChars: number, count = names.length): string {
  let joined = names[0] ?? "";
  for (let index = 1; index < names.length; index++) {
    const next = names[index] ?? "";
    if (joined.length + 1 + next.length > maxChars) return `${joined} and ${count - index} more`;
    joined += `,${next}`;
  }
  return joined;
}
