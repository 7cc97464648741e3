/**
 * The rules of some policies, by what they want: a request looks up what it has, and only the rules found there are tried. The answer is
 * that of trying all of them in order. A rule that wants nothing that can be looked up (only `not` fields, suffixes, ranges) is always tried.
 *
 * A rule is filed under one of its clauses, and there under a key of each alternative. Which clause, and which test of an alternative,
 * goes by how many rules share its keys: of ten thousand rules for one path and ten thousand peers, the peers are the keys.
 */
import type { Layer7Policy, Layer7Rule, Test } from "./layer7_policy.ts";
import { type Matcher, requestPrincipalParts, ruleMatcher } from "./matcher.ts";
import type { RequestFacts } from "./request_facts.ts";
import { PathTemplate, textMatch } from "./text_match.ts";

export interface RuleMatch {
  readonly policy: Layer7Policy;
  readonly rule: Layer7Rule;
}

interface Entry extends RuleMatch {
  readonly matches: Matcher;
  /** In the order of policies and rules: of two that match, the lower one is told. */
  readonly ordinal: number;
}

/** `dimension` of the kind of thing, `name` for those that have one of their own (headers, claims), and the value that is wanted. */
interface Key {
  readonly dimension: Dimension;
  readonly name: string;
  readonly value: string;
}

/** Of one clause, its alternatives; of each, the tests by which it can be filed, as their keys. */
type Clause = readonly (readonly (readonly Key[])[])[];

type Dimension =
  | "path"
  | "path_prefix"
  | "principal"
  | "account"
  | "namespace"
  | "user"
  | "host"
  | "method"
  | "port"
  | "header"
  | "claim";

/** More lengths of prefixes than this, and the rarer ones are filed under a shorter beginning: each costs a look-up. */
const maxPrefixLengths = 24;
/** Some 2 ms. */
const rulesPerStep = 128;

export class RuleIndex {
  /** Dimension → name → value → entries in order. */
  readonly #filed = new Map<Dimension, Map<string, Map<string, Entry[]>>>();
  readonly #always: Entry[] = [];
  readonly #prefixLengths: readonly number[];

  readonly #isEmpty: boolean;

  private constructor(prefixLengths: readonly number[], isEmpty: boolean) {
    this.#prefixLengths = prefixLengths;
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
    const index = new RuleIndex(commonPrefixLengths(entries), entries.length === 0);
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
    const look = (dimension: Dimension, name: string, value: string): void => {
      const entries = this.#filed.get(dimension)?.get(name)?.get(value);
      if (entries !== undefined) found.push(entries);
    };
    const { peer, http } = facts;
    if (peer !== null) {
      look("principal", "", peer.principal);
      look("account", "", `${peer.namespace}/${peer.serviceAccount}`);
      look("namespace", "", peer.namespace);
    }
    look("port", "", String(facts.destinationPort));
    if (http === null) return found;
    look("path", "", http.path);
    look("host", "", http.host);
    look("method", "", http.method);
    for (const length of this.#prefixLengths) {
      if (length > http.path.length) break;
      look("path_prefix", "", http.path.slice(0, length));
    }
    const headers = this.#filed.get("header");
    for (let i = 0; headers !== undefined && i + 1 < http.fields.length; i += 2) {
      const name = http.fields[i] ?? "";
      if (headers.has(name)) look("header", name, http.fields[i + 1] ?? "");
    }
    if (http.user !== null) lookAtClaims(http.user.claims, this.#filed.get("claim"), look);
    return found;
  }

  /** For each clause and alternative: the tests by which it can be filed, each as its keys. */
  #options(rule: Layer7Rule): readonly Clause[] {
    return rule.clauses.map((groups) =>
      groups.map((tests) => tests.map((test) => this.#keysOf(test)).filter((keys) => keys.length > 0)),
    );
  }

  #file(entry: Entry, clauses: readonly Clause[], counts: ReadonlyMap<string, number>): void {
    const crowd = (keys: readonly Key[]) =>
      keys.reduce((most, key) => Math.max(most, counts.get(keyText(key)) ?? 0), 0);
    let best: { readonly keys: readonly Key[]; readonly crowd: number } | null = null;
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
      const names = this.#filed.get(dimension) ?? new Map<string, Map<string, Entry[]>>();
      this.#filed.set(dimension, names);
      const values = names.get(name) ?? new Map<string, Entry[]>();
      names.set(name, values);
      const list = values.get(value) ?? [];
      values.set(value, list);
      if (list.at(-1) !== entry) list.push(entry);
    }
  }

  /** Of which one must be found for the test to hold; none when that cannot be said. */
  #keysOf(test: Test): readonly Key[] {
    if (test.negated) return [];
    switch (test.about) {
      case "port":
        return test.ports.map((port) => key("port", String(port)));
      case "service_account":
        return test.texts.map((text) => key("account", text));
      case "principal":
        return exactKeys("principal", test.texts);
      case "method":
        return exactKeys("method", test.texts);
      case "host":
        return exactKeys(
          "host",
          test.texts.map((text) => text.toLowerCase()),
        );
      case "namespace":
        return test.texts.some((text) => text.includes("*"))
          ? []
          : test.texts.map((text) => key("namespace", text));
      case "header":
        return exactKeys("header", test.texts, test.name);
      case "audience":
        return exactKeys("claim", test.texts, "aud");
      case "presenter":
        return exactKeys("claim", test.texts, "azp");
      case "claim":
        return test.path.length === 1 ? exactKeys("claim", test.texts, test.path[0]) : [];
      case "request_principal":
        return userKeys(test.texts);
      case "path":
        return this.#pathKeys(test.texts);
      default:
        return [];
    }
  }

  #pathKeys(texts: readonly string[]): readonly Key[] {
    const keys: Key[] = [];
    for (const text of texts) {
      const match = textMatch(text);
      if (!PathTemplate.is(text) && match.kind === "exact") {
        keys.push(key("path", match.text));
        continue;
      }
      const begin = pathBegin(text);
      const length = this.#prefixLengths.findLast((candidate) => candidate <= begin.length);
      if (length === undefined) return [];
      keys.push(key("path_prefix", begin.slice(0, length)));
    }
    return keys;
  }
}

/** What every path that fits begins with; "" when that cannot be said. */
function pathBegin(text: string): string {
  if (PathTemplate.is(text)) return new PathTemplate(text).prefix;
  const match = textMatch(text);
  return match.kind === "prefix" ? match.text : "";
}

function lookAtClaims(
  claims: Readonly<Record<string, unknown>>,
  wanted: ReadonlyMap<string, unknown> | undefined,
  look: (dimension: Dimension, name: string, value: string) => void,
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

/** In ascending order. */
function commonPrefixLengths(entries: readonly Entry[]): readonly number[] {
  const counts = new Map<number, number>();
  for (const { rule } of entries)
    for (const test of rule.clauses.flat(2)) {
      if (test.about !== "path" || test.negated) continue;
      for (const text of test.texts) {
        const { length } = pathBegin(text);
        if (length > 0) counts.set(length, (counts.get(length) ?? 0) + 1);
      }
    }
  const byCount = [...counts].sort(([, a], [, b]) => b - a).slice(0, maxPrefixLengths);
  return byCount.map(([length]) => length).sort((a, b) => a - b);
}

function userKeys(texts: readonly string[]): readonly Key[] {
  const keys: Key[] = [];
  for (const text of texts) {
    const { issuer, subject } = requestPrincipalParts(text);
    if (issuer.kind !== "exact" || subject.kind !== "exact") return [];
    keys.push(key("user", userValue(issuer.text, subject.text)));
  }
  return keys;
}

function userValue(issuer: string, subject: string): string {
  return `${issuer}\n${subject}`;
}

function exactKeys(dimension: Dimension, texts: readonly string[], name = ""): readonly Key[] {
  const keys: Key[] = [];
  for (const text of texts) {
    const match = textMatch(text);
    if (match.kind !== "exact") return [];
    keys.push(key(dimension, match.text, name));
  }
  return keys;
}

function key(dimension: Dimension, value: string, name = ""): Key {
  return { dimension, name, value };
}

function keyText({ dimension, name, value }: Key): string {
  return `${dimension}\n${name}\n${value}`;
}
