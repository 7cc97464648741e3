/**
 * Policies to the bytes of one section: the rules of one action in one scope, in policy order, each a bit in the index
 * (`dimension.ts`, `caller_index.ts`) and a program that decides (`rule_program.ts`). wasm/README.md has the picture.
 * A section is relocatable, so an unchanged one is copied from image to image.
 */
import {
  FAMILY_BYTES,
  FAMILY_CLASSES,
  SECTION_DESTINATION,
  SECTION_HEADER_BYTES,
  SECTION_IDENTITY_BASE,
  SECTION_OPEN,
  SECTION_PORT_BASE,
  SECTION_PORT_CLASSES,
  SECTION_PROGRAMS,
  SECTION_RULE_COUNT,
  SECTION_SOURCE,
  SECTION_SUMMARY_COUNT,
  SECTION_WORD_COUNT,
} from "../../../wasm/assembly/layout.ts";
import type { IpPrefix } from "../../base/prefix.ts";
import { flatMapInSteps, inSteps, mapInSteps } from "../../base/turns/steps.ts";
import { runSteps } from "../../base/turns/time_slice.ts";
import { type Authorization, authorizationKey, type Match } from "../../mesh/authorization.ts";
import type { PolicyLimits } from "../policy_engine.ts";
import { alternatives } from "./alternatives.ts";
import { CallerIndex } from "./caller_index.ts";
import { buildDimension, type Dimension } from "./dimension.ts";
import {
  type PreparedMatch,
  type PreparedRule,
  prepareRule,
  type SayingClauses,
  sayingClauses,
} from "./prepared_rule.ts";
import { type FieldRanges, type Key, type Range, writeRanges32, writeRanges128 } from "./ranges.ts";
import { writeNever, writeRuleProgram } from "./rule_program.ts";
import { type DenseRuleSet, setShape, summarize, writeFlips } from "./rule_set.ts";
import { WordWriter } from "./word_writer.ts";

/** Which rule of which policy a bit stands for; a rule may have several (`alternatives.ts`). */
export interface RuleOrigin {
  readonly policy: Authorization;
  /** `namespace/name` of the policy. */
  readonly key: string;
  /** Index in `policy.rules`. */
  readonly rule: number;
}

export interface CompiledSection {
  /** A multiple of 8 bytes. */
  readonly words: Uint32Array;
  /** By bit. */
  readonly rules: readonly RuleOrigin[];
  readonly callers: CallerIndex;
}

const allPorts: Range<number> = { start: 0, end: 2 ** 16 };
const allIpv4: Range<number> = { start: 0, end: 2 ** 32 };
const allIpv6: Range<bigint> = { start: 0n, end: 1n << 128n };

/** Whether a policy can be compiled at all: not too many rules, and no value that no parser should have let through. */
export function canCompile(policy: Authorization, limits: PolicyLimits): boolean {
  if (policy.rules.length > limits.maxRulesPerSection) return false;
  return policy.rules.every((rule) => rule.clauses.every((clause) => clause.matches.every(isSound)));
}

function isSound(match: Match): boolean {
  return (
    match.destinationPorts.every(isPort) &&
    match.notDestinationPorts.every(isPort) &&
    match.sourceIps.every(isPrefix) &&
    match.notSourceIps.every(isPrefix) &&
    match.destinationIps.every(isPrefix) &&
    match.notDestinationIps.every(isPrefix)
  );
}

function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 0 && port <= 65_535;
}

function isPrefix({ ip, length }: IpPrefix): boolean {
  return Number.isInteger(length) && length >= 0 && length <= ip.bytes.length * 8;
}

/**
 * @param policies of one action, in policy order
 * @returns null when one of them cannot be compiled, when together they have more rules than `limits.maxRulesPerSection`,
 *   or when they take more than `limits.maxImageBytes`.
 */
export function compileSection(
  policies: readonly Authorization[],
  limits: PolicyLimits,
): CompiledSection | null {
  return runSteps(compileInSteps(policies, limits));
}

/** The same, for who has others to serve between two steps. */
export function* compileInSteps(
  policies: readonly Authorization[],
  limits: PolicyLimits,
): Generator<void, CompiledSection | null> {
  const ruleCount = policies.reduce((sum, policy) => sum + policy.rules.length, 0);
  if (ruleCount > limits.maxRulesPerSection) return null;
  const sound = yield* mapInSteps(policies, (policy) => canCompile(policy, limits), oneByOne);
  if (sound.includes(false)) return null;
  let entries = yield* entriesOf(policies, limits.maxAlternatives);
  if (entries.length > limits.maxRulesPerSection) entries = yield* entriesOf(policies, 1);
  const rules = entries.map(({ clauses }) => clauses);
  const callers = yield* CallerIndex.inSteps(rules);
  const prepared = yield* mapInSteps(rules, prepareRule, oneByOne);
  const words = yield* new SectionWriter(prepared, callers, limits.maxIndexEntries).write();
  if (words.byteLength > limits.maxImageBytes) return null;
  return { words, rules: entries.map(({ origin }) => origin), callers };
}

/** What takes a bit in the index. */
interface Entry {
  readonly origin: RuleOrigin;
  readonly clauses: SayingClauses;
}

function* entriesOf(
  policies: readonly Authorization[],
  maxAlternatives: number,
): Generator<void, readonly Entry[]> {
  return yield* flatMapInSteps(
    policies,
    (policy) => {
      const key = authorizationKey(policy);
      return policy.rules.flatMap((rule, index) => {
        const said = sayingClauses(rule);
        if (said.some((matches) => matches.length === 0)) return []; // It never holds.
        const origin = { policy, key, rule: index };
        return alternatives(said, maxAlternatives).map((clauses) => ({ origin, clauses }));
      });
    },
    oneByOne,
  );
}

/** A document of the largest size is some milliseconds by itself, and may be one rule. */
const oneByOne = 1;

/** What a family of addresses, or the ports, put in the header, and the base that goes into the summaries of open words. */
interface WrittenDimension {
  readonly baseAt: number;
  readonly classesAt: number;
  /** Null: no rule looks at it. */
  readonly base: DenseRuleSet | null;
}

class SectionWriter {
  readonly #writer = new WordWriter();
  readonly #rules: readonly PreparedRule[];
  readonly #callers: CallerIndex;
  readonly #maxIndexEntries: number;
  /** Classes often have the same flips: by their text, where they were written. */
  readonly #flips = new Map<string, number>();

  constructor(rules: readonly PreparedRule[], callers: CallerIndex, maxIndexEntries: number) {
    this.#rules = rules;
    this.#callers = callers;
    this.#maxIndexEntries = maxIndexEntries;
  }

  *write(): Generator<void, Uint32Array> {
    const writer = this.#writer;
    const { wordCount, summaryCount } = setShape(this.#rules.length);
    writer.reserve(SECTION_HEADER_BYTES / 4);
    writer.set(SECTION_RULE_COUNT, this.#rules.length);
    writer.set(SECTION_WORD_COUNT, wordCount);
    writer.set(SECTION_SUMMARY_COUNT, summaryCount);
    yield* this.#writePrograms();
    const identity = this.#callers.isEmpty ? null : this.#callers.base;
    if (identity !== null) writer.set(SECTION_IDENTITY_BASE, identity.write(writer));
    const ports = yield* this.#write32((match) => match.ports, allPorts);
    writer.set(SECTION_PORT_BASE, ports.baseAt);
    writer.set(SECTION_PORT_CLASSES, ports.classesAt);
    const sources = this.#families(SECTION_SOURCE, [
      yield* this.#write32((match) => match.source4, allIpv4),
      yield* this.#write128((match) => match.source6, allIpv6),
    ]);
    const destinations = this.#families(SECTION_DESTINATION, [
      yield* this.#write32((match) => match.destination4, allIpv4),
      yield* this.#write128((match) => match.destination6, allIpv6),
    ]);
    let at = SECTION_OPEN;
    for (const source of sources) {
      for (const destination of destinations) {
        writer.set(at, this.#writeOpen([identity, ports.base, source.base, destination.base]));
        at += 4;
      }
    }
    return writer.finish();
  }

  *#writePrograms(): Generator<void> {
    // Right before the table, where `PolicyImage.retire` finds it.
    writeNever(this.#writer);
    const table = this.#writer.reserve(this.#rules.length);
    this.#writer.set(SECTION_PROGRAMS, table);
    const writeOne = ([index, rule]: [number, PreparedRule]): void => {
      this.#writer.set(table + index * 4, writeRuleProgram(this.#writer, rule, this.#callers));
    };
    yield* inSteps(this.#rules.entries(), writeOne, oneByOne);
  }

  *#write32(
    fieldOf: (match: PreparedMatch) => FieldRanges<number>,
    full: Range<number>,
  ): Generator<void, WrittenDimension> {
    const dimension = yield* buildDimension(this.#rules, fieldOf, full, this.#maxIndexEntries);
    return yield* this.#write(dimension, writeRanges32);
  }

  *#write128(
    fieldOf: (match: PreparedMatch) => FieldRanges<bigint>,
    full: Range<bigint>,
  ): Generator<void, WrittenDimension> {
    const dimension = yield* buildDimension(this.#rules, fieldOf, full, this.#maxIndexEntries);
    return yield* this.#write(dimension, writeRanges128);
  }

  *#write<K extends Key>(
    { base, classes }: Dimension<K>,
    writeRanges: (writer: WordWriter, ranges: readonly Range<K>[]) => number,
  ): Generator<void, WrittenDimension> {
    if (classes.length === 0 && base.isFull) return { baseAt: 0, classesAt: 0, base: null };
    const baseAt = base.write(this.#writer);
    if (classes.length === 0) return { baseAt, classesAt: 0, base };
    const sets = yield* mapInSteps(classes, ({ flips }) => this.#writeFlips(flips), oneByOne);
    const classesAt = writeRanges(
      this.#writer,
      classes.map(({ range }) => range),
    );
    this.#writer.pushAll(sets);
    return { baseAt, classesAt, base };
  }

  #writeFlips(flips: readonly number[]): number {
    const text = flips.join();
    const written = this.#flips.get(text);
    if (written !== undefined) return written;
    const offset = writeFlips(this.#writer, flips, this.#rules.length);
    this.#flips.set(text, offset);
    return offset;
  }

  #families(field: number, families: readonly WrittenDimension[]): readonly WrittenDimension[] {
    families.forEach(({ baseAt, classesAt }, family) => {
      this.#writer.set(field + family * FAMILY_BYTES, baseAt);
      this.#writer.set(field + family * FAMILY_BYTES + FAMILY_CLASSES, classesAt);
    });
    return families;
  }

  /** The summary of the words in which some rule is possible by every base. */
  #writeOpen(bases: readonly (DenseRuleSet | null)[]): number {
    const { wordCount, summaryCount } = setShape(this.#rules.length);
    const words = new Uint32Array(wordCount * 2).fill(0xffff_ffff);
    for (const base of bases) {
      if (base !== null)
        for (const [index, word] of base.words.entries()) words[index] = (words[index] ?? 0) & word;
    }
    const offset = this.#writer.align();
    this.#writer.pushAll(summarize(words, summaryCount));
    return offset;
  }
}
