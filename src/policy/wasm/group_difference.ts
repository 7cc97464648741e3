/** What differs between two versions of a group of policies. */
import type { Authorization } from "../../mesh/authorization.ts";
import type { PolicyGroup } from "../policy_set.ts";

/** Of two lists in one order: nearly all of them have the same beginning and the same end. */
export function differenceOf(
  before: readonly Authorization[],
  after: readonly Authorization[],
): { readonly added: readonly Authorization[]; readonly gone: readonly Authorization[] } {
  const shorter = Math.min(before.length, after.length);
  let from = 0;
  while (from < shorter && before[from] === after[from]) from++;
  let same = 0;
  while (same < shorter - from && before.at(-1 - same) === after.at(-1 - same)) same++;
  const old = before.slice(from, before.length - same);
  const now = after.slice(from, after.length - same);
  const [oldSet, nowSet] = [new Set(old), new Set(now)];
  return {
    added: now.filter((policy) => !oldSet.has(policy)),
    gone: old.filter((policy) => !nowSet.has(policy)),
  };
}

/** Whether two groups have the same policies. */
export function isSame(a: PolicyGroup, b: PolicyGroup): boolean {
  if (a === b) return true;
  return (
    a.policies.length === b.policies.length && a.policies.every((policy, at) => policy === b.policies[at])
  );
}
