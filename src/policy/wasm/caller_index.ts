/**
 * The identity dimension of a section. Strings never reach WebAssembly: who the caller is, is worked out here once per
 * identity, as the atoms it satisfies (for evaluating a rule) and the rules it flips (for the index).
 */
import { runSteps } from "../../base/turns/time_slice.ts";
import type { Match, ServiceAccountMatch, StringMatch } from "../../mesh/authorization.ts";
import type { SpiffeId } from "../../mesh/identity.ts";
import { isPossible, type SayingClauses } from "./prepared_rule.ts";
import { DenseRuleSet } from "./rule_set.ts";
import { type Atom, mention, StringTable } from "./string_table.ts";

/** What a section has to know of a caller; both lists sorted and without repeats. */
export interface CallerProfile {
  readonly atoms: readonly number[];
  readonly flips: readonly number[];
}

export class CallerIndex {
  readonly #rules: readonly SayingClauses[];
  readonly #principals = new StringTable(() => this.#newAtom());
  readonly #namespaces = new StringTable(() => this.#newAtom());
  readonly #accounts = new Map<string, Atom>();
  #atomCount = 0;
  /** The rules that are possible for an identity that satisfies nothing but `*`. */
  readonly base: DenseRuleSet;

  private constructor(rules: readonly SayingClauses[]) {
    this.#rules = rules;
    this.base = new DenseRuleSet(rules.length, () => false);
  }

  static *inSteps(rules: readonly SayingClauses[]): Generator<void, CallerIndex> {
    const index = new CallerIndex(rules);
    for (const [rule, clauses] of rules.entries()) {
      yield;
      for (const matches of clauses) for (const match of matches) index.#mentionAll(match, rule);
      if (index.#possible(rule, anyIdentity)) index.base.add(rule);
    }
    return index;
  }

  static of(rules: readonly SayingClauses[]): CallerIndex {
    return runSteps(CallerIndex.inSteps(rules));
  }

  /** Whether no rule looks at identities. */
  get isEmpty(): boolean {
    return this.#atomCount === 0;
  }

  principalAtom(match: StringMatch): number {
    return this.#principals.atom(match).id;
  }

  namespaceAtom(match: StringMatch): number {
    return this.#namespaces.atom(match).id;
  }

  accountAtom(match: ServiceAccountMatch): number {
    return this.#account(match).id;
  }

  /** @param id null is a caller without an identity: no principal, no account, the empty namespace (`rbac.rs`, matches). */
  profile(id: SpiffeId | null): CallerProfile {
    const satisfied = new Set(this.#namespaces.satisfied(id === null ? "" : id.namespace));
    if (id !== null) {
      for (const atom of this.#principals.satisfied(id.principal)) satisfied.add(atom);
      const account = this.#accounts.get(accountKey(id));
      if (account !== undefined) satisfied.add(account);
    }
    // Only rules that mention an atom on which this caller and `anyIdentity` differ can differ from the base.
    const universal = new Set([...this.#principals.universal(), ...this.#namespaces.universal()]);
    const candidates = new Set<number>();
    for (const atom of satisfied)
      if (!universal.has(atom)) for (const rule of atom.rules) candidates.add(rule);
    for (const atom of universal)
      if (!satisfied.has(atom)) for (const rule of atom.rules) candidates.add(rule);
    const caller = callerOf(id);
    const flips = [...candidates].filter((rule) => this.#possible(rule, caller) !== this.base.has(rule));
    return { atoms: Array.from(satisfied, (atom) => atom.id).sort(ascending), flips: flips.sort(ascending) };
  }

  #possible(index: number, caller: Caller): boolean {
    const clauses = this.#rules[index];
    return clauses !== undefined && isPossible(clauses, (match) => callerHolds(match, caller));
  }

  #mentionAll(match: Match, rule: number): void {
    for (const each of [...match.principals, ...match.notPrincipals])
      mention(this.#principals.atom(each), rule);
    for (const each of [...match.namespaces, ...match.notNamespaces])
      mention(this.#namespaces.atom(each), rule);
    for (const each of [...match.serviceAccounts, ...match.notServiceAccounts])
      mention(this.#account(each), rule);
  }

  #account(match: ServiceAccountMatch): Atom {
    const key = accountKey(match);
    let atom = this.#accounts.get(key);
    if (atom === undefined) {
      atom = this.#newAtom();
      this.#accounts.set(key, atom);
    }
    return atom;
  }

  #newAtom(): Atom {
    return { id: this.#atomCount++, rules: [] };
  }
}

/** The length keeps `a` + `bc` and `ab` + `c` apart. */
function accountKey(account: { readonly namespace: string; readonly serviceAccount: string }): string {
  return `${account.namespace.length}:${account.namespace}${account.serviceAccount}`;
}

interface Caller {
  principal(match: StringMatch): boolean;
  namespace(match: StringMatch): boolean;
  account(match: ServiceAccountMatch): boolean;
}

/** An identity that no rule mentions by any value. */
const anyIdentity: Caller = {
  principal: isUniversal,
  namespace: isUniversal,
  account: () => false,
};

function isUniversal(match: StringMatch): boolean {
  return match.kind === "presence" || (match.kind !== "exact" && match.value === "");
}

function callerOf(id: SpiffeId | null): Caller {
  if (id === null) {
    return { principal: () => false, namespace: (match) => satisfies("", match), account: () => false };
  }
  const { principal, namespace, serviceAccount } = id;
  return {
    principal: (match) => satisfies(principal, match),
    namespace: (match) => satisfies(namespace, match),
    account: (match) => match.namespace === namespace && match.serviceAccount === serviceAccount,
  };
}

function satisfies(text: string, match: StringMatch): boolean {
  switch (match.kind) {
    case "exact":
      return text === match.value;
    case "prefix":
      return text.startsWith(match.value);
    case "suffix":
      return text.endsWith(match.value);
    case "presence":
      return text.length > 0;
  }
}

/** The fields of a match that look at identities; the others count as agreeing. */
function callerHolds(match: Match, caller: Caller): boolean {
  return (
    holds(match.principals, match.notPrincipals, caller.principal) &&
    holds(match.namespaces, match.notNamespaces, caller.namespace) &&
    holds(match.serviceAccounts, match.notServiceAccounts, caller.account)
  );
}

function holds<T>(values: readonly T[], notValues: readonly T[], test: (value: T) => boolean): boolean {
  return (values.length === 0 || values.some(test)) && !notValues.some(test);
}

function ascending(a: number, b: number): number {
  return a - b;
}
