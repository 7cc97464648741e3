/**
 * The rules of some policies, by what they want: a request looks up what it has, and only the rules found there are tried. The answer is
 * that of trying all of them in order. A rule that wants nothing that can be looked up (only `not` fields or ranges) is always tried.
 *
 * A rule is filed under one of its clauses, and there under a key of each alternative. Which clause, and which test of an alternative,
 * goes by how many rules share its keys: of ten thousand rules for one path and ten thousand peers, the peers are the keys.
 */
import type { Layer7Policy, Layer7Rule } from "./layer7_policy.ts";
import { type Matcher, ruleMatcher } from "./matcher.ts";
import type { RequestFacts } from "./request_facts.ts";
import {
  type Affixed,
  AffixLengths,
  affixDimensions,
  type Dimension,
  keyText,
  type RuleKey,
  userValue,
} from "./rule_keys.ts";

export interface RuleMatch {
  readonly policy: Layer7Policy;
  readonly rule: Layer7Rule;
}

interface Entry extends RuleMatch {
  readonly matches: Matcher;
  /** In the order of policies and rules: of two that match, the lower one is told. */
  readonly ordinal: number;
}

/** Of one clause, its alternatives; of each, the tests by which it can be filed, as their keys. */
type Clause = readonly (readonly (readonly RuleKey[])[])[];

type Look = (dimension: Dimension, name: string, value: string) => void;

/** Some 2 ms. */
const rulesPerStep = 128;

export class RuleIndex {
  /** Dimension → name → value → entries in order. */
  readonly #filed = new Map<Dimension, Map<string, Map<string, Entry[]>>>();
  readonly #always: Entry[] = [];
  /** Names by which something is filed. */
  readonly #headers = new Set<string>();
  readonly #lengths: AffixLengths;
  readonly #isEmpty: boolean;

  private constructor(lengths: AffixLengths, isEmpty: boolean) {
    this.#lengths = lengths;
    this.#isEmpty = isEmpty;
  }

  /** In steps, since ten thousand rules take a while. */
  static *inSteps(policies: readonly Layer7Policy[]): Generator<void, RuleIndex> {
    const entries: Entry[] = [];
    for (const policy of policies)
      for (const rule of policy.rules) {
        if (entries.length % rulesPerStep === 0) yield;
        entries.push({ policy, rule, matches: ruleMatcher(rule), ordinal: entries.length });
      }
    const index = new RuleIndex(
      yield* AffixLengths.inSteps(entries.map(({ rule }) => rule)),
      entries.length === 0,
    );
    const options: (readonly Clause[])[] = [];
    const counts = new Map<string, number>();
    for (const [ordinal, { rule }] of entries.entries()) {
      if (ordinal % rulesPerStep === 0) yield;
      const clauses = index.#options(rule);
      options.push(clauses);
      for (const key of clauses.flat(3)) counts.set(keyText(key), (counts.get(keyText(key)) ?? 0) + 1);
    }
    for (const [ordinal, entry] of entries.entries()) {
      if (ordinal % rulesPerStep === 0) yield;
      index.#file(entry, options[ordinal] ?? [], counts);
    }
    return index;
  }

  /** @returns the first rule that matches, by the order of policies, then of rules. */
  first(facts: RequestFacts): RuleMatch | null {
    if (this.#isEmpty) return null;
    let best: Entry | null = null;
    for (const entries of this.#found(facts)) best = tryEntries(entries, facts, best);
    return best;
  }

  /** How many rules are tried at most: what a request costs. */
  candidates(facts: RequestFacts): number {
    return this.#found(facts).reduce((sum, entries) => sum + entries.length, 0);
  }

  #found(facts: RequestFacts): readonly (readonly Entry[])[] {
    const found: (readonly Entry[])[] = this.#always.length === 0 ? [] : [this.#always];
    const look: Look = (dimension, name, value) => {
      const entries = this.#filed.get(dimension)?.get(name)?.get(value);
      if (entries !== undefined) found.push(entries);
    };
    const { peer, http } = facts;
    if (peer !== null) {
      this.#lookAtText("principal", "", peer.principal, look);
      look("account", "", `${peer.namespace}/${peer.serviceAccount}`);
      look("namespace", "", peer.namespace);
    }
    look("port", "", String(facts.destinationPort));
    if (http === null) return found;
    this.#lookAtText("path", "", http.path, look);
    this.#lookAtText("host", "", http.host, look);
    look("method", "", http.method);
    for (let i = 0; this.#headers.size > 0 && i + 1 < http.fields.length; i += 2) {
      const name = http.fields[i] ?? "";
      if (this.#headers.has(name)) this.#lookAtText("header", name, http.fields[i + 1] ?? "", look);
    }
    if (http.user !== null) lookAtClaims(http.user.claims, this.#filed.get("claim"), look);
    return found;
  }

  /** As a whole, and cut at each length that a rule is filed by. */
  #lookAtText(dimension: Affixed, name: string, value: string, look: Look): void {
    look(dimension, name, value);
    const { prefix, suffix } = affixDimensions[dimension];
    for (const length of this.#lengths.of(prefix, name)) {
      if (length > value.length) break;
      look(prefix, name, value.slice(0, length));
    }
    for (const length of this.#lengths.of(suffix, name)) {
      if (length > value.length) break;
      look(suffix, name, value.slice(-length));
    }
  }

  /** For each clause and alternative: the tests by which it can be filed, each as its keys. */
  #options(rule: Layer7Rule): readonly Clause[] {
    return rule.clauses.map((groups) =>
      groups.map((tests) =>
        tests.map((test) => this.#lengths.keysOf(test)).filter((keys) => keys.length > 0),
      ),
    );
  }

  #file(entry: Entry, clauses: readonly Clause[], counts: ReadonlyMap<string, number>): void {
    const crowd = (keys: readonly RuleKey[]) =>
      keys.reduce((most, key) => Math.max(most, counts.get(keyText(key)) ?? 0), 0);
    let best: { readonly keys: readonly RuleKey[]; readonly crowd: number } | null = null;
    for (const groups of clauses) {
      // One alternative that cannot be looked up, and the clause is no use.
      if (groups.length === 0 || groups.some((options) => options.length === 0)) continue;
      const keys = groups.flatMap((options) =>
        options.reduce((least, option) => (crowd(option) < crowd(least) ? option : least)),
      );
      const found = { keys, crowd: crowd(keys) };
      if (best === null || found.crowd < best.crowd) best = found;
    }
    if (best === null) {
      this.#always.push(entry);
      return;
    }
    for (const { dimension, name, value } of best.keys) {
      if (dimension.startsWith("header")) this.#headers.add(name);
      const names = this.#filed.get(dimension) ?? new Map<string, Map<string, Entry[]>>();
      this.#filed.set(dimension, names);
      const values = names.get(name) ?? new Map<string, Entry[]>();
      names.set(name, values);
      const list = values.get(value) ?? [];
      values.set(value, list);
      if (list.at(-1) !== entry) list.push(entry);
    }
  }
}

function lookAtClaims(
  claims: Readonly<Record<string, unknown>>,
  wanted: ReadonlyMap<string, unknown> | undefined,
  look: Look,
): void {
  if (typeof claims.iss === "string" && typeof claims.sub === "string")
    look("user", "", userValue(claims.iss, claims.sub));
  if (wanted === undefined) return;
  // By what the token has, which is bounded, and not by what policies ask for.
  for (const name of Object.keys(claims)) {
    if (!wanted.has(name)) continue;
    const value = claims[name];
    for (const one of Array.isArray(value) ? value : [value])
      if (typeof one === "string") look("claim", name, one);
  }
}

function tryEntries(entries: readonly Entry[], facts: RequestFacts, best: Entry | null): Entry | null {
  for (const entry of entries) {
    if (best !== null && entry.ordinal >= best.ordinal) return best;
    if (entry.matches(facts)) return entry;
  }
  return best;
}
