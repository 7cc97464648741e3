/**
 * Which rule a request meets first. Each match is in one index, by what is rarest about it, and is then looked at whole; so the order of
 * the document is kept exactly, and five hundred routes cost what ten do.
 */
import { Pattern } from "../../base/pattern/pattern.ts";
import type { HttpMatch, HttpRule, PathMatch } from "../../mesh/traffic/route_plan.ts";
import type { RequestHead } from "../exchange.ts";
import { HeadView } from "./head_view.ts";
import { PrefixTree } from "./prefix_tree.ts";
import { pathMatcher, type TextMatcher, textMatcher, withoutLastSlash } from "./text_matcher.ts";

export interface Matched {
  readonly rule: HttpRule;
  /** Null when the rule takes every request. */
  readonly match: HttpMatch | null;
}

interface Entry extends Matched {
  readonly order: number;
  readonly fits: (view: HeadView) => boolean;
}

/** In order. */
type Entries = Entry[];

export class RouteIndex {
  readonly #exact = new Map<string, Entries>();
  readonly #prefixes = new PrefixTree<Entries>();
  /** Lower case, of matches that ignore it. */
  readonly #exactIgnoringCase = new Map<string, Entries>();
  readonly #prefixesIgnoringCase = new PrefixTree<Entries>();
  /** By name and value, of matches without a path of their own. */
  readonly #headers = new Map<string, Map<string, Entries>>();
  readonly #rest: Entries = [];
  #ignoresCase = false;

  constructor(rules: readonly HttpRule[]) {
    let order = 0;
    for (const rule of rules) {
      if (rule.matches.length === 0) this.#rest.push({ rule, match: null, order: order++, fits: () => true });
      for (const match of rule.matches) this.#add(rule, match, order++);
    }
  }

  /** @returns null when no rule takes it. */
  find(head: RequestHead): Matched | null {
    const view = new HeadView(head);
    let best = firstOf(this.#rest, view, null);
    const consider = (entries: Entries | undefined): void => {
      if (entries !== undefined) best = firstOf(entries, view, best);
    };
    consider(this.#exact.get(view.path));
    this.#prefixes.walk(view.path, consider);
    for (const [name, byValue] of this.#headers) {
      const value = view.header(name);
      if (value !== null) consider(byValue.get(value));
    }
    if (this.#ignoresCase) {
      const lower = view.path.toLowerCase();
      consider(this.#exactIgnoringCase.get(lower));
      this.#prefixesIgnoringCase.walk(lower, consider);
    }
    return best;
  }

  #add(rule: HttpRule, match: HttpMatch, order: number): void {
    const pattern = match.path?.kind === "regex" ? new Pattern(match.path.value) : null;
    this.#place(match, pattern).push({ rule, match, order, fits: matcherOf(match, pattern) });
  }

  #place(match: HttpMatch, pattern: Pattern | null): Entries {
    const { path } = match;
    if (path?.kind === "exact") return this.#exactly(path.value, match.ignorePathCase);
    if (pattern?.literal?.kind === "exact") return this.#exactly(pattern.literal.text, false);
    const prefix = pattern === null ? indexedPrefix(path) : pattern.requiredPrefix;
    // `/` tells nothing apart.
    if (prefix.length > 1) return this.#beginning(prefix, match.ignorePathCase && pattern === null);
    return this.#byHeader(match) ?? this.#rest;
  }

  #exactly(path: string, ignoreCase: boolean): Entries {
    this.#ignoresCase ||= ignoreCase;
    const map = ignoreCase ? this.#exactIgnoringCase : this.#exact;
    return entriesAt(map, ignoreCase ? path.toLowerCase() : path);
  }

  #beginning(prefix: string, ignoreCase: boolean): Entries {
    this.#ignoresCase ||= ignoreCase;
    const tree = ignoreCase ? this.#prefixesIgnoringCase : this.#prefixes;
    return tree.at(ignoreCase ? prefix.toLowerCase() : prefix, () => []);
  }

  #byHeader(match: HttpMatch): Entries | null {
    const { authority } = match;
    const exact =
      match.headers.find((header) => header.match.kind === "exact") ??
      (authority?.kind === "exact" ? { name: ":authority", match: authority } : undefined);
    if (exact?.match.kind !== "exact") return null;
    const byValue = this.#headers.get(exact.name) ?? new Map<string, Entries>();
    this.#headers.set(exact.name, byValue);
    return entriesAt(byValue, exact.match.value);
  }
}

/** A prefix by segments is one by characters too, as far as the index goes; its last slash does not count. */
function indexedPrefix(path: PathMatch | null): string {
  if (path === null) return "";
  return path.kind === "segments" ? withoutLastSlash(path.value) : path.value;
}

function entriesAt(map: Map<string, Entries>, key: string): Entries {
  const known = map.get(key);
  if (known !== undefined) return known;
  const entries: Entries = [];
  map.set(key, entries);
  return entries;
}

function firstOf(entries: Entries, view: HeadView, best: Entry | null): Entry | null {
  for (const entry of entries) {
    if (best !== null && entry.order > best.order) return best;
    if (entry.fits(view)) return entry;
  }
  return best;
}

function matcherOf(match: HttpMatch, pattern: Pattern | null): (view: HeadView) => boolean {
  const checks: ((view: HeadView) => boolean)[] = [];
  const { path } = match;
  if (path !== null) {
    const fits = pathMatcher(path, match.ignorePathCase, pattern);
    checks.push((view) => fits(view.path));
  }
  const whole: readonly [TextMatcher | null, (view: HeadView) => string][] = [
    [match.method && textMatcher(match.method), (view) => view.head.method],
    [match.scheme && textMatcher(match.scheme), (view) => view.head.scheme],
    [match.authority && textMatcher(match.authority), (view) => view.head.authority],
  ];
  for (const [fits, valueIn] of whole) if (fits !== null) checks.push((view) => fits(valueIn(view)));
  for (const { name, match: wanted } of match.headers) {
    const fits = textMatcher(wanted);
    checks.push((view) => {
      const value = view.header(name);
      return value !== null && fits(value);
    });
  }
  for (const { name, match: unwanted } of match.withoutHeaders) {
    const fits = textMatcher(unwanted);
    // An absent header is an empty one, unless presence itself is asked for (Istio `TranslateRouteMatch`).
    const absent = unwanted.kind === "present" ? null : "";
    checks.push((view) => {
      const value = view.header(name) ?? absent;
      return value === null || !fits(value);
    });
  }
  for (const { name, match: wanted } of match.query) {
    const fits = textMatcher(wanted);
    checks.push((view) => {
      const value = view.query(name);
      return value !== null && fits(value);
    });
  }
  return (view) => {
    for (const check of checks) if (!check(view)) return false;
    return true;
  };
}

/** Whether a request fits any of them; with none it never does. */
export function requestMatcher(
  matches: readonly HttpMatch[],
): (exchange: { readonly request: RequestHead }) => boolean {
  const fits = matches.map((match) =>
    matcherOf(match, match.path?.kind === "regex" ? new Pattern(match.path.value) : null),
  );
  return ({ request }) => {
    const view = new HeadView(request);
    return fits.some((each) => each(view));
  };
}
