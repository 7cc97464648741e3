/**
 * Regular expressions of documents, matched in time that grows with the text alone, whatever the expression is: a host's own engine
 * backtracks, and one tenant's expression would stop all others' traffic. States of the automaton are made when they are first met, and
 * kept up to a bound (RE2's way).
 */
import { patternLimits } from "../limits/pattern.ts";
import { compileProgram, type Instruction, type Program } from "./program.ts";
import type { Assertion, Expression } from "./syntax.ts";

/** What is on one side of a position. */
const side = { none: 0, newline: 1, word: 2, other: 3 } as const;

interface State {
  /** Instructions at which a thread waits before what has no width is followed. */
  readonly threads: readonly number[];
  readonly before: number;
  /** By class of character; null is not known yet. */
  readonly next: (State | null)[];
  /** Whether the text may end here; null is not known yet. */
  accepts: boolean | null;
}

export class Pattern {
  readonly source: string;
  readonly #program: Program;
  /** Where classes of characters begin; all characters of a class are the same to the expression. */
  readonly #bounds: readonly number[];
  readonly #asciiClass = new Uint16Array(128);
  #states = new Map<string, State>();
  #first: State;
  readonly #dead: State;
  readonly #simulation: Simulation;
  /** Not null: no automaton is needed. */
  readonly literal: { readonly text: string; readonly kind: "exact" | "prefix" | "all" } | null;
  /** Every text that fits begins with this. */
  readonly requiredPrefix: string;

  /** @throws PatternError */
  constructor(source: string) {
    this.source = source;
    this.#program = compileProgram(source);
    this.#bounds = classBounds(this.#program.instructions);
    for (let char = 0; char < 128; char++) this.#asciiClass[char] = this.#search(char);
    this.#dead = this.#state([], side.none);
    this.#simulation = new Simulation(this.#program.instructions);
    this.#first = this.#state([this.#program.start], side.none);
    this.literal = literalOf(this.#program.expression);
    this.requiredPrefix = requiredPrefixOf(this.#program.expression);
  }

  /** Whether the expression fits the whole text. */
  matches(text: string): boolean {
    const { literal } = this;
    if (literal !== null) {
      if (literal.kind === "exact") return text === literal.text;
      if (text.indexOf("\n", literal.text.length) === -1)
        return literal.kind === "all" || text.startsWith(literal.text);
    }
    let state = this.#first;
    let made = 0;
    for (let i = 0; i < text.length; i++) {
      const char = text.charCodeAt(i);
      const charClass = char < 128 ? (this.#asciiClass[char] ?? 0) : this.#search(char);
      const next = state.next[charClass];
      // Where hardly a state is met twice, it is cheaper to make none.
      if (next == null && ++made > patternLimits.maxStates)
        return this.#simulation.run(state.threads, state.before, text, i);
      state = next ?? this.#step(state, charClass, char);
      if (state === this.#dead) return false;
    }
    state.accepts ??= this.#close(state.threads, state.before, side.none).includes(-1);
    return state.accepts;
  }

  /**
   * RE2's `GlobalReplace`: every place, from the left, that the expression fits and that does not overlap the one before.
   * @param substitution `\0` to `\9` are groups, `\\` a backslash.
   */
  replaceAll(text: string, substitution: string): string {
    let result = "";
    let from = 0;
    let lastEnd = -1;
    while (from <= text.length) {
      const groups = this.#find(text, from);
      if (groups === null) break;
      const start = groups[0] ?? from;
      const end = groups[1] ?? start;
      result += text.slice(from, start);
      // An empty place right after a match is none (RE2 `GlobalReplace`).
      if (start === end && start === lastEnd) {
        result += text.slice(start, start + 1);
        from = start + 1;
        continue;
      }
      result += expand(substitution, text, groups);
      from = end;
      lastEnd = end;
      if (start === end) {
        result += text.slice(end, end + 1);
        from = end + 1;
      }
    }
    return from > text.length ? result : result + text.slice(from);
  }

  get groups(): number {
    return this.#program.groups;
  }

  #search(char: number): number {
    let low = 0;
    let high = this.#bounds.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#bounds[middle] ?? 0) <= char) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #state(threads: readonly number[], before: number): State {
    const key = threads.length === 0 ? "" : `${before}:${threads.join(",")}`;
    const known = this.#states.get(key);
    if (known !== undefined) return known;
    if (this.#states.size >= patternLimits.maxStates) this.#forget();
    const next = new Array<State | null>(this.#bounds.length).fill(null);
    const state = { threads, before, next, accepts: threads.length === 0 ? false : null };
    this.#states.set(key, state);
    return state;
  }

  #forget(): void {
    this.#states = new Map([["", this.#dead]]);
    this.#first = this.#state([this.#program.start], side.none);
  }

  #step(state: State, charClass: number, char: number): State {
    const after = sideOf(char);
    const threads: number[] = [];
    const seen = new Set<number>();
    for (const at of this.#close(state.threads, state.before, after)) {
      const instruction = this.#program.instructions[at];
      if (instruction?.kind !== "chars" || seen.has(instruction.next)) continue;
      if (!includes(instruction.ranges, char)) continue;
      seen.add(instruction.next);
      threads.push(instruction.next);
    }
    // Whether it fits does not depend on the order; sorted there are fewer states.
    threads.sort((a, b) => a - b);
    const next = threads.length === 0 ? this.#dead : this.#state(threads, after);
    state.next[charClass] = next;
    return next;
  }

  /** What waits for a character once all without width is followed; -1 for the end of the expression. */
  #close(threads: readonly number[], before: number, after: number): readonly number[] {
    const found: number[] = [];
    const seen = new Set<number>();
    const stack = [...threads];
    for (let at = stack.pop(); at !== undefined; at = stack.pop()) {
      if (seen.has(at)) continue;
      seen.add(at);
      const instruction = this.#program.instructions[at];
      if (instruction === undefined) continue;
      if (instruction.kind === "match") found.push(-1);
      else if (instruction.kind === "chars") found.push(at);
      else if (instruction.kind === "split") stack.push(instruction.second, instruction.first);
      else if (instruction.kind === "save" || holds(instruction.assertion, before, after))
        stack.push(instruction.next);
    }
    return found;
  }

  /** The leftmost place from `from` on, of several the preferred: starts and ends of the whole and of groups. */
  #find(text: string, from: number): readonly (number | undefined)[] | null {
    let threads: Thread[] = [];
    let best: readonly (number | undefined)[] | null = null;
    for (let at = from; at <= text.length; at++) {
      const before = at === 0 ? side.none : sideOf(text.charCodeAt(at - 1));
      const char = at < text.length ? text.charCodeAt(at) : -1;
      const after = char === -1 ? side.none : sideOf(char);
      if (best === null) threads.push({ at: this.#program.start, groups: [at] });
      const next: Thread[] = [];
      const taken = new Set<number>();
      const seen = new Set<number>();
      for (const thread of threads) {
        const ended = this.#follow(thread, at, before, after, seen, (ready, groups) => {
          const instruction = this.#program.instructions[ready];
          if (char === -1 || instruction?.kind !== "chars" || taken.has(instruction.next)) return;
          if (!includes(instruction.ranges, char)) return;
          taken.add(instruction.next);
          next.push({ at: instruction.next, groups });
        });
        if (ended === null) continue;
        best = ended;
        break;
      }
      threads = next;
      if (threads.length === 0 && best !== null) return best;
    }
    return best;
  }

  /** In order of preference. @returns the groups when it came to the expression's end: what is less preferred counts no longer. */
  #follow(
    thread: Thread,
    position: number,
    before: number,
    after: number,
    seen: Set<number>,
    onReady: (at: number, groups: Thread["groups"]) => void,
  ): Thread["groups"] | null {
    const stack: Thread[] = [thread];
    for (let one = stack.pop(); one !== undefined; one = stack.pop()) {
      if (seen.has(one.at)) continue;
      seen.add(one.at);
      const instruction = this.#program.instructions[one.at];
      if (instruction === undefined) continue;
      if (instruction.kind === "match") return withGroup(one.groups, 1, position);
      if (instruction.kind === "chars") onReady(one.at, one.groups);
      else if (instruction.kind === "split")
        stack.push(
          { at: instruction.second, groups: one.groups },
          { at: instruction.first, groups: one.groups },
        );
      else if (instruction.kind === "save")
        stack.push({ at: instruction.next, groups: withGroup(one.groups, instruction.slot, position) });
      else if (holds(instruction.assertion, before, after))
        stack.push({ at: instruction.next, groups: one.groups });
    }
    return null;
  }
}

/** Long before numbers of 32 bits end. */
const maxStep = 1_000_000_000;

/** All threads at once, without states: so many steps for each character as there are instructions, and no more. */
class Simulation {
  readonly #instructions: readonly Instruction[];
  /** The step in which an instruction was last reached. */
  readonly #reached: Int32Array;
  readonly #queued: Int32Array;
  #now = 0;

  constructor(instructions: readonly Instruction[]) {
    this.#instructions = instructions;
    this.#reached = new Int32Array(instructions.length);
    this.#queued = new Int32Array(instructions.length);
  }

  run(threads: readonly number[], sideBefore: number, text: string, from: number): boolean {
    if (this.#now > maxStep) {
      this.#now = 0;
      this.#reached.fill(0);
      this.#queued.fill(0);
    }
    let current = [...threads];
    let next: number[] = [];
    let before = sideBefore;
    for (let i = from; i <= text.length; i++) {
      const char = i === text.length ? -1 : text.charCodeAt(i);
      const after = char === -1 ? side.none : sideOf(char);
      this.#now++;
      for (let at = current.pop(); at !== undefined; at = current.pop()) {
        if (this.#reached[at] === this.#now) continue;
        this.#reached[at] = this.#now;
        const instruction = this.#instructions[at];
        if (instruction === undefined) continue;
        if (instruction.kind === "chars") {
          if (this.#queued[instruction.next] === this.#now || !includes(instruction.ranges, char)) continue;
          this.#queued[instruction.next] = this.#now;
          next.push(instruction.next);
        } else if (instruction.kind === "split") current.push(instruction.first, instruction.second);
        else if (instruction.kind === "match") {
          if (char === -1) return true;
        } else if (instruction.kind === "save" || holds(instruction.assertion, before, after))
          current.push(instruction.next);
      }
      [current, next] = [next, current];
      before = after;
    }
    return false;
  }
}

interface Thread {
  readonly at: number;
  readonly groups: readonly (number | undefined)[];
}

function withGroup(groups: Thread["groups"], slot: number, position: number): Thread["groups"] {
  const copy = [...groups];
  copy[slot] = position;
  return copy;
}

function expand(substitution: string, text: string, groups: Thread["groups"]): string {
  return substitution.replace(/\\([0-9\\])/g, (_, sign: string) =>
    sign === "\\" ? "\\" : text.slice(groups[Number(sign) * 2] ?? 0, groups[Number(sign) * 2 + 1] ?? 0),
  );
}

function sideOf(char: number): number {
  if (char === 10) return side.newline;
  const isWord =
    (char >= 48 && char <= 57) || (char >= 65 && char <= 90) || char === 95 || (char >= 97 && char <= 122);
  return isWord ? side.word : side.other;
}

function holds(assertion: Assertion, before: number, after: number): boolean {
  switch (assertion) {
    case "begin-text":
      return before === side.none;
    case "end-text":
      return after === side.none;
    case "begin-line":
      return before === side.none || before === side.newline;
    case "end-line":
      return after === side.none || after === side.newline;
    case "word":
      return (before === side.word) !== (after === side.word);
    case "no-word":
      return (before === side.word) === (after === side.word);
  }
}

function includes(ranges: readonly number[], char: number): boolean {
  for (let i = 0; i + 1 < ranges.length; i += 2)
    if (char >= (ranges[i] ?? 0) && char <= (ranges[i + 1] ?? 0)) return true;
  return false;
}

/** With the bounds of words and lines where an assertion looks at them. */
function classBounds(instructions: readonly Instruction[]): readonly number[] {
  const bounds = new Set([0]);
  for (const instruction of instructions) {
    if (instruction.kind === "assert") for (const bound of wordBounds) bounds.add(bound);
    if (instruction.kind !== "chars") continue;
    for (let i = 0; i + 1 < instruction.ranges.length; i += 2) {
      bounds.add(instruction.ranges[i] ?? 0);
      bounds.add((instruction.ranges[i + 1] ?? 0) + 1);
    }
  }
  return [...bounds].sort((a, b) => a - b);
}

const wordBounds = [10, 11, 48, 58, 65, 91, 95, 96, 97, 123];

/** `/a/b`, `/a/.*` and `.*`, which are most of what documents hold. */
function literalOf(expression: Expression): Pattern["literal"] {
  const items = expression.kind === "concat" ? expression.items : [expression];
  let text = "";
  for (const [index, item] of items.entries()) {
    if (item.kind === "chars" && item.ranges.length === 2 && item.ranges[0] === item.ranges[1]) {
      text += String.fromCharCode(item.ranges[0] ?? 0);
      continue;
    }
    if (index !== items.length - 1 || !isAnything(item)) return null;
    return text === "" ? { text, kind: "all" } : { text, kind: "prefix" };
  }
  return { text, kind: "exact" };
}

function requiredPrefixOf(expression: Expression): string {
  const items = expression.kind === "concat" ? expression.items : [expression];
  let text = "";
  for (const item of items) {
    if (item.kind === "assertion" && item.assertion === "begin-text" && text === "") continue;
    if (item.kind !== "chars" || item.ranges.length !== 2 || item.ranges[0] !== item.ranges[1]) break;
    text += String.fromCharCode(item.ranges[0] ?? 0);
  }
  return text;
}

function isAnything(item: Expression): boolean {
  if (item.kind === "group") return isAnything(item.item);
  if (item.kind !== "repeat" || item.least !== 0 || item.most !== null || item.item.kind !== "chars")
    return false;
  const { ranges } = item.item;
  const [from, to, next] = ranges;
  return from === 0 && ranges.at(-1) === 0xffff && (ranges.length === 2 || (to === 9 && next === 11));
}
