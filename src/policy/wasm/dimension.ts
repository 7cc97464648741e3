/**
 * One dimension of the index over a section's rules (a port, or an address of one family). The base is the set of rules
 * that are possible for a value that is not mentioned; for each range of values that is mentioned, the flips are the
 * rules that differ from the base there. Memory grows with what rules mention, not with rules times values.
 */
import { flatMapInSteps, inSteps, sortInSteps } from "../../base/turns/steps.ts";
import { fieldHolds, isPossible, type PreparedMatch, type PreparedRule } from "./prepared_rule.ts";
import { absentField, compareKeys, type FieldRanges, type Key, type Range } from "./ranges.ts";
import { DenseRuleSet } from "./rule_set.ts";

export interface DimensionClass<K extends Key> {
  readonly range: Range<K>;
  /** Sorted. */
  readonly flips: readonly number[];
}

export interface Dimension<K extends Key> {
  readonly base: DenseRuleSet;
  /** Sorted and disjoint. */
  readonly classes: readonly DimensionClass<K>[];
}

/** What a rule that looks at a dimension does there. */
interface RuleProfile<K extends Key> {
  readonly rule: number;
  readonly base: boolean;
  readonly flips: readonly Range<K>[];
}

/**
 * @param full every value of the dimension
 * @param maxEntries most flips in all classes together; rules that would exceed it are left out of the index, widest
 *   first: they count as possible everywhere, and evaluation decides.
 */
export function* buildDimension<K extends Key>(
  rules: readonly PreparedRule[],
  fieldOf: (match: PreparedMatch) => FieldRanges<K>,
  full: Range<K>,
  maxEntries: number,
): Generator<void, Dimension<K>> {
  const profiles: RuleProfile<K>[] = [];
  for (const [index, rule] of rules.entries()) {
    yield;
    if (looksAt(rule, fieldOf)) profiles.push(profileOf(rule, index, fieldOf, full));
  }
  const impossible = new Set(profiles.filter((profile) => !profile.base).map((profile) => profile.rule));
  const base = new DenseRuleSet(rules.length, (rule) => !impossible.has(rule));
  return { base, classes: yield* classify(profiles, base, maxEntries) };
}

/** A rule that does not look at this dimension is possible everywhere in it: it has no profile. */
function looksAt<K extends Key>(
  { clauses }: PreparedRule,
  fieldOf: (match: PreparedMatch) => FieldRanges<K>,
): boolean {
  return clauses.some((matches) => matches.some((match) => fieldOf(match) !== absentField));
}

function profileOf<K extends Key>(
  rule: PreparedRule,
  index: number,
  fieldOf: (match: PreparedMatch) => FieldRanges<K>,
  full: Range<K>,
): RuleProfile<K> {
  const isFull = (range: Range<K>) => range.start === full.start && range.end === full.end;
  // A value that is not mentioned satisfies exactly the prefixes of length 0.
  const base = isPossible(rule.clauses, (match) => {
    const { positive, negative } = fieldOf(match);
    return (positive === null || positive.some(isFull)) && !negative.some(isFull);
  });
  const edges = edgesOf(rule, fieldOf);
  const flips: Range<K>[] = [];
  for (const { start, end } of between(edges)) {
    if (isPossible(rule.clauses, (match) => fieldHolds(fieldOf(match), start)) !== base)
      flips.push({ start, end });
  }
  return { rule: index, base, flips };
}

/** Where, along the dimension, what the rule says can change; sorted. */
function edgesOf<K extends Key>(rule: PreparedRule, fieldOf: (match: PreparedMatch) => FieldRanges<K>): K[] {
  const edges = new Set<K>();
  for (const matches of rule.clauses) {
    for (const match of matches) {
      const { positive, negative } = fieldOf(match);
      for (const range of positive ?? []) edges.add(range.start).add(range.end);
      for (const range of negative) edges.add(range.start).add(range.end);
    }
  }
  return [...edges].sort(compareKeys);
}

/** The ranges from each edge to the next. */
function between<K extends Key>(edges: readonly K[]): readonly Range<K>[] {
  return edges.slice(1).map((end, at) => ({ start: edges[at] ?? end, end }));
}

/** Cuts the dimension at every edge of a flip and lists the rules that flip in each piece. */
function* classify<K extends Key>(
  profiles: readonly RuleProfile<K>[],
  base: DenseRuleSet,
  maxEntries: number,
): Generator<void, readonly DimensionClass<K>[]> {
  const distinct = new Set<K>();
  yield* inSteps(profiles, ({ flips }) => {
    for (const { start, end } of flips) distinct.add(start).add(end);
  });
  const edges = yield* sortInSteps([...distinct], compareKeys);
  const position = new Map<K, number>();
  yield* inSteps(edges.entries(), ([index, edge]) => void position.set(edge, index));
  const at = (edge: K) => position.get(edge) ?? 0;
  const pieces: number[][] = edges.map(() => []);
  for (const profile of withinBudget(profiles, at, maxEntries, base)) {
    for (const { start, end } of profile.flips) {
      yield;
      for (let piece = at(start); piece < at(end); piece++) pieces[piece]?.push(profile.rule);
    }
  }
  return yield* flatMapInSteps(between(edges).entries(), ([piece, range]) => {
    const flips = pieces[piece] ?? [];
    return flips.length > 0 ? [{ range, flips }] : [];
  });
}

/** The profiles to index, in rule order; for the others the base is set, which is "possible everywhere". */
function withinBudget<K extends Key>(
  profiles: readonly RuleProfile<K>[],
  at: (edge: K) => number,
  maxEntries: number,
  base: DenseRuleSet,
): readonly RuleProfile<K>[] {
  const widths = profiles.map((profile) =>
    profile.flips.reduce((sum, { start, end }) => sum + at(end) - at(start), 0),
  );
  if (widths.reduce((sum, width) => sum + width, 0) <= maxEntries) return profiles;
  const narrowestFirst = profiles
    .map((_, index) => index)
    .sort((a, b) => (widths[a] ?? 0) - (widths[b] ?? 0));
  const kept = new Set<number>();
  let entries = 0;
  for (const index of narrowestFirst) {
    entries += widths[index] ?? 0;
    if (entries <= maxEntries) kept.add(index);
    else base.add(profiles[index]?.rule ?? 0);
  }
  return profiles.filter((_, index) => kept.has(index));
}
