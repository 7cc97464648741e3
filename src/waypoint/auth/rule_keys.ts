/**
 * Under what a rule of a waypoint can be filed: of a test, the keys of which a request must have one for the test to hold. Exact texts are
 * themselves; beginnings and ends are cut at the lengths that occur most, so that a request is cut at few places and looked up.
 */
import { inSteps } from "../../base/turns/steps.ts";
import type { Layer7Rule, Test } from "./layer7_policy.ts";
import { requestPrincipalParts } from "./matcher.ts";
import { PathTemplate, textMatch } from "./text_match.ts";

/** `dimension` of the kind of thing, `name` for those that have one of their own (headers, claims), and the value that is wanted. */
export interface RuleKey {
  readonly dimension: Dimension;
  readonly name: string;
  readonly value: string;
}

/** What has beginnings and ends in policies. */
export type Affixed = "path" | "host" | "principal" | "header";

type AffixDimension = `${Affixed}_${"prefix" | "suffix"}`;

export type Dimension =
  | Affixed
  | AffixDimension
  | "account"
  | "namespace"
  | "user"
  | "method"
  | "port"
  | "claim";

/** What each is filed under by its beginning and by its end. */
export const affixDimensions: Readonly<
  Record<Affixed, { readonly prefix: AffixDimension; readonly suffix: AffixDimension }>
> = {
  path: { prefix: "path_prefix", suffix: "path_suffix" },
  host: { prefix: "host_prefix", suffix: "host_suffix" },
  principal: { prefix: "principal_prefix", suffix: "principal_suffix" },
  header: { prefix: "header_prefix", suffix: "header_suffix" },
};

/** More lengths than this, and the rarer ones are filed under a shorter part: each costs a look-up. */
const maxLengths = 24;

/** A text of a policy that can be filed: `side` says of what `text` is. */
interface Affix {
  readonly side: "exact" | "prefix" | "suffix";
  readonly text: string;
}

/** Dimension → name → something for each length. */
type ByName<T> = Map<AffixDimension, Map<string, T>>;

/** The lengths at which a request's texts are cut, in ascending order, by dimension and name. */
export class AffixLengths {
  readonly #lengths: ByName<readonly number[]> = new Map();

  /** In steps: of all policies together there are more rules than a turn may look at. */
  static *inSteps(rules: readonly Layer7Rule[]): Generator<void, AffixLengths> {
    const counts: ByName<Map<number, number>> = new Map();
    yield* inSteps(rules, (rule) => {
      for (const test of rule.clauses.flat(2)) countAffixes(test, counts);
    });
    const result = new AffixLengths();
    for (const [dimension, names] of counts) {
      const lengths = new Map<string, readonly number[]>();
      result.#lengths.set(dimension, lengths);
      yield* inSteps([...names], ([name, found]) => void lengths.set(name, commonest(found)));
    }
    return result;
  }

  of(dimension: AffixDimension, name: string): readonly number[] {
    return this.#lengths.get(dimension)?.get(name) ?? none;
  }

  /** @returns the keys of which one must be found for the test to hold; none when that cannot be said. */
  keysOf(test: Test): readonly RuleKey[] {
    if (test.negated) return [];
    switch (test.about) {
      case "port":
        return test.ports.map((port) => key("port", String(port)));
      case "service_account":
        return test.texts.map((text) => key("account", text));
      case "method":
        return exactKeys("method", test.texts);
      case "namespace":
        return test.texts.some((text) => text.includes("*"))
          ? []
          : test.texts.map((text) => key("namespace", text));
      case "audience":
        return exactKeys("claim", test.texts, "aud");
      case "presenter":
        return exactKeys("claim", test.texts, "azp");
      case "claim":
        return test.path.length === 1 ? exactKeys("claim", test.texts, test.path[0]) : [];
      case "request_principal":
        return userKeys(test.texts);
      default: {
        const subject = affixedOf(test);
        return subject === null ? [] : this.#affixKeys(subject);
      }
    }
  }

  #affixKeys({ dimension, name, affixes }: AffixedTest): readonly RuleKey[] {
    const keys: RuleKey[] = [];
    for (const affix of affixes) {
      if (affix === null) return [];
      const { side, text } = affix;
      if (side === "exact") {
        keys.push(key(dimension, text, name));
        continue;
      }
      const lengths = this.of(affixDimensions[dimension][side], name);
      const length = lengths.findLast((candidate) => candidate <= text.length);
      if (length === undefined) return [];
      const value = side === "prefix" ? text.slice(0, length) : text.slice(-length);
      keys.push(key(affixDimensions[dimension][side], value, name));
    }
    return keys;
  }
}

const none: readonly number[] = [];

/** A test on a text with beginnings and ends. Null is a text that any request may fit. */
interface AffixedTest {
  readonly dimension: Affixed;
  readonly name: string;
  readonly affixes: readonly (Affix | null)[];
}

function affixedOf(test: Test): AffixedTest | null {
  switch (test.about) {
    case "path":
      return { dimension: "path", name: "", affixes: test.texts.map(pathAffix) };
    case "principal":
      return { dimension: "principal", name: "", affixes: test.texts.map(textAffix) };
    case "header":
      return { dimension: "header", name: test.name, affixes: test.texts.map(textAffix) };
    case "host":
      return {
        dimension: "host",
        name: "",
        affixes: test.texts.map((text) => textAffix(text.toLowerCase())),
      };
    default:
      return null;
  }
}

function pathAffix(text: string): Affix | null {
  if (!PathTemplate.is(text)) return textAffix(text);
  const { prefix } = new PathTemplate(text);
  return prefix === "" ? null : { side: "prefix", text: prefix };
}

function textAffix(text: string): Affix | null {
  const match = textMatch(text);
  return match.kind === "present" ? null : { side: match.kind, text: match.text };
}

function countAffixes(test: Test, counts: ByName<Map<number, number>>): void {
  const subject = test.negated ? null : affixedOf(test);
  if (subject === null) return;
  for (const affix of subject.affixes) {
    if (affix === null || affix.side === "exact") continue;
    const dimension = affixDimensions[subject.dimension][affix.side];
    const names = counts.get(dimension) ?? new Map<string, Map<number, number>>();
    counts.set(dimension, names);
    const lengths = names.get(subject.name) ?? new Map<number, number>();
    names.set(subject.name, lengths);
    lengths.set(affix.text.length, (lengths.get(affix.text.length) ?? 0) + 1);
  }
}

function commonest(counts: ReadonlyMap<number, number>): readonly number[] {
  const byCount = [...counts].sort(([, a], [, b]) => b - a).slice(0, maxLengths);
  return byCount.map(([length]) => length).sort((a, b) => a - b);
}

function userKeys(texts: readonly string[]): readonly RuleKey[] {
  const keys: RuleKey[] = [];
  for (const text of texts) {
    const { issuer, subject } = requestPrincipalParts(text);
    if (issuer.kind !== "exact" || subject.kind !== "exact") return [];
    keys.push(key("user", userValue(issuer.text, subject.text)));
  }
  return keys;
}

export function userValue(issuer: string, subject: string): string {
  return `${issuer}\n${subject}`;
}

function exactKeys(dimension: Dimension, texts: readonly string[], name = ""): readonly RuleKey[] {
  const keys: RuleKey[] = [];
  for (const text of texts) {
    const match = textMatch(text);
    if (match.kind !== "exact") return [];
    keys.push(key(dimension, match.text, name));
  }
  return keys;
}

function key(dimension: Dimension, value: string, name = ""): RuleKey {
  return { dimension, name, value };
}

export function keyText({ dimension, name, value }: RuleKey): string {
  return `${dimension}\n${name}\n${value}`;
}
