/** The loaded policies by scope, and which of them apply to a workload, in the order `policy_engine.ts` states. */
import { compareText } from "../base/steps.ts";
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

export class PolicySet {
  readonly #byKey = new Map<string, Authorization>();
  readonly #byScope = new Map<string, PolicyGroup>();

  /** Of two policies with one key the last counts. */
  constructor(policies: Iterable<Authorization>) {
    for (const policy of policies) this.#byKey.set(authorizationKey(policy), policy);
    const byScope = Map.groupBy(this.#byKey, ([, policy]) => scopeKey(policy));
    for (const [key, entries] of byScope) {
      if (key !== null) this.#byScope.set(key, { key, named: false, policies: sortByKey(entries) });
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

function sortByKey(entries: readonly (readonly [string, Authorization])[]): readonly Authorization[] {
  return entries.toSorted(([a], [b]) => compareText(a, b)).map(([, policy]) => policy);
}
