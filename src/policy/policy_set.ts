/** The loaded policies by scope, and which of them apply to a workload, in the order `policy_engine.ts` states. */
import { compareText } from "../base/turns/steps.ts";
import type { Authorization } from "../mesh/authorization.ts";
import { authorizationKey } from "../mesh/authorization.ts";
import type { Workload } from "../mesh/workload.ts";

/** Policies that always apply together, sorted by key. They are compiled together too. */
export interface PolicyGroup {
  /** Of one scope and place, or of one list of names; tells groups apart from version to version. */
  readonly key: string;
  /** Whether it stands for names that a workload's document lists, rather than for a scope. */
  readonly named: boolean;
  readonly policies: readonly Authorization[];
}

const globalKey = "global";
/** Of more that has changed, all is gathered again. */
const maxAmendedShare = 1 / 8;

export class PolicySet {
  #byKey = new Map<string, Authorization>();
  #byScope = new Map<string, PolicyGroup>();
  /** Those of `#byKey`. */
  #members = new Set<Authorization>();

  /** Of two policies with one key the last counts. */
  constructor(policies: Iterable<Authorization>) {
    this.#fill(policies);
  }

  /** As if it were made of these. A group without a change stays the same object, and a change of a few costs next to nothing. */
  update(policies: readonly Authorization[]): void {
    const now = new Set(policies);
    const added = policies.filter((policy) => !this.#members.has(policy));
    const gone = now.size === this.#members.size && added.length === 0 ? [] : this.#goneFrom(now);
    if (added.length + gone.length > policies.length * maxAmendedShare) {
      this.#fill(policies);
      return;
    }
    for (const policy of added) {
      this.#byKey.set(authorizationKey(policy), policy);
      this.#members.add(policy);
    }
    for (const policy of gone) {
      const key = authorizationKey(policy);
      if (this.#byKey.get(key) === policy) this.#byKey.delete(key);
      this.#members.delete(policy);
    }
    // Two have one key.
    if (this.#byKey.size !== policies.length) this.#fill(policies);
    else this.#regroup(added, gone);
  }

  #goneFrom(now: ReadonlySet<Authorization>): Authorization[] {
    const gone: Authorization[] = [];
    for (const policy of this.#members) if (!now.has(policy)) gone.push(policy);
    return gone;
  }

  #fill(policies: Iterable<Authorization>): void {
    this.#byKey = new Map();
    for (const policy of policies) this.#byKey.set(authorizationKey(policy), policy);
    this.#members = new Set(this.#byKey.values());
    this.#byScope = new Map();
    const byScope = Map.groupBy(this.#byKey, ([, policy]) => scopeKey(policy));
    for (const [key, entries] of byScope) {
      if (key !== null) this.#byScope.set(key, { key, named: false, policies: sortByKey(entries) });
    }
  }

  #regroup(added: readonly Authorization[], gone: readonly Authorization[]): void {
    const leaving = new Set(gone);
    const keys = new Set([...added, ...gone].map(scopeKey).filter((key) => key !== null));
    for (const key of keys) {
      const policies = (this.#byScope.get(key)?.policies ?? []).filter((policy) => !leaving.has(policy));
      for (const policy of added) if (scopeKey(policy) === key) insert(policies, policy);
      if (policies.length === 0) this.#byScope.delete(key);
      else this.#byScope.set(key, { key, named: false, policies });
    }
  }

  policy(key: string): Authorization | null {
    return this.#byKey.get(key) ?? null;
  }

  scopeGroup(key: string): PolicyGroup | null {
    return this.#byScope.get(key) ?? null;
  }

  missing(workload: Workload): readonly string[] {
    const missing = workload.authorizationPolicies.filter((name) => !this.#byKey.has(name));
    return missing.length < 2 ? missing : [...new Set(missing)];
  }

  /** Global, of the workload's namespace, named by its document; groups without policies are left out. */
  groups(workload: Workload): readonly PolicyGroup[] {
    const groups = [
      this.#byScope.get(globalKey),
      this.#byScope.get(namespaceKey(workload.namespace)),
      this.#named(workload),
    ];
    return groups.filter((group) => group !== undefined && group !== null);
  }

  /** The policies that the workload names and that do not reach it anyway. */
  #named(workload: Workload): PolicyGroup | null {
    const entries = new Map<string, Authorization>();
    for (const name of workload.authorizationPolicies) {
      const policy = this.#byKey.get(name);
      if (policy === undefined) continue;
      const scope = scopeKey(policy);
      if (scope !== globalKey && scope !== namespaceKey(workload.namespace)) entries.set(name, policy);
    }
    if (entries.size === 0) return null;
    const policies = sortByKey([...entries]);
    return { key: `named ${JSON.stringify(policies.map(authorizationKey))}`, named: true, policies };
  }
}

/**
 * ztunnel files a GLOBAL policy under the empty namespace, which it reads for every workload, so that is where a NAMESPACE
 * policy of the empty namespace is found as well (`state/policy.rs`). @returns null for a policy that is found by name alone.
 */
function scopeKey(policy: Authorization): string | null {
  switch (policy.scope) {
    case "GLOBAL":
      return globalKey;
    case "NAMESPACE":
      return policy.namespace === "" ? globalKey : namespaceKey(policy.namespace);
    case "WORKLOAD_SELECTOR":
      return null;
  }
}

function namespaceKey(namespace: string): string {
  return `namespace ${namespace}`;
}

/** Into what is sorted by key. */
function insert(policies: Authorization[], policy: Authorization): void {
  const key = authorizationKey(policy);
  let from = 0;
  let to = policies.length;
  while (from < to) {
    const middle = (from + to) >> 1;
    if (compareText(authorizationKey(policies[middle] as Authorization), key) < 0) from = middle + 1;
    else to = middle;
  }
  policies.splice(from, 0, policy);
}

function sortByKey(entries: readonly (readonly [string, Authorization])[]): readonly Authorization[] {
  return entries.toSorted(([a], [b]) => compareText(a, b)).map(([, policy]) => policy);
}
