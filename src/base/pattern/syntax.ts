/**
 * Reads a regular expression in RE2's syntax (github.com/google/re2/wiki/Syntax). What RE2 has not (back references, look-around) is
 * an error, and so are Unicode classes (`\pL`), which nothing in a head of HTTP needs.
 */
import { patternLimits } from "../limits/pattern.ts";

/** Inclusive ranges of code units, sorted and apart: from, to, from, to. */
export type Ranges = readonly number[];

export type Assertion = "begin-text" | "end-text" | "begin-line" | "end-line" | "word" | "no-word";

export type Expression =
  | { readonly kind: "empty" }
  /** Matches nothing at all: an empty class. */
  | { readonly kind: "chars"; readonly ranges: Ranges }
  | { readonly kind: "assertion"; readonly assertion: Assertion }
  | { readonly kind: "concat"; readonly items: readonly Expression[] }
  | { readonly kind: "either"; readonly items: readonly Expression[] }
  | {
      readonly kind: "repeat";
      readonly item: Expression;
      readonly least: number;
      /** Null: without end. */
      readonly most: number | null;
      readonly lazy: boolean;
    }
  /** `index` from 1. */
  | { readonly kind: "group"; readonly item: Expression; readonly index: number };

export interface ParsedPattern {
  readonly expression: Expression;
  readonly groups: number;
}

const lastChar = 0xffff;
const digits: Ranges = [48, 57];
const words: Ranges = [48, 57, 65, 90, 95, 95, 97, 122];
const spaces: Ranges = [9, 10, 12, 13, 32, 32];
const posix: Readonly<Record<string, Ranges>> = {
  alnum: [48, 57, 65, 90, 97, 122],
  alpha: [65, 90, 97, 122],
  ascii: [0, 127],
  blank: [9, 9, 32, 32],
  cntrl: [0, 31, 127, 127],
  digit: digits,
  graph: [33, 126],
  lower: [97, 122],
  print: [32, 126],
  punct: [33, 47, 58, 64, 91, 96, 123, 126],
  space: [9, 13, 32, 32],
  upper: [65, 90],
  word: words,
  xdigit: [48, 57, 65, 70, 97, 102],
};

interface Flags {
  readonly ignoreCase: boolean;
  readonly multiLine: boolean;
  readonly dotAll: boolean;
  readonly ungreedy: boolean;
}

/** @throws PatternError */
export function parsePattern(source: string): ParsedPattern {
  if (source.length > patternLimits.maxChars)
    throw new PatternError(`it has ${source.length} characters, and ${patternLimits.maxChars} are allowed`);
  return new Parser(source).parse();
}

/** What is wrong with an expression, in words that follow "is not a regular expression: ". */
export class PatternError extends Error {}

class Parser {
  readonly #source: string;
  #at = 0;
  #groups = 0;
  #depth = 0;
  #flags: Flags = { ignoreCase: false, multiLine: false, dotAll: false, ungreedy: false };
  readonly #names = new Set<string>();

  constructor(source: string) {
    this.#source = source;
  }

  parse(): ParsedPattern {
    const expression = this.#either();
    if (this.#at < this.#source.length) throw new PatternError("a ) has no (");
    return { expression, groups: this.#groups };
  }

  #either(): Expression {
    const flags = this.#flags;
    const items = [this.#concat()];
    while (this.#take("|")) items.push(this.#concat());
    this.#flags = flags;
    return items.length === 1 ? (items[0] ?? { kind: "empty" }) : { kind: "either", items };
  }

  #concat(): Expression {
    const items: Expression[] = [];
    while (this.#at < this.#source.length && !this.#sees("|") && !this.#sees(")")) {
      if (this.#take("\\Q")) {
        this.#quoted(items);
        continue;
      }
      const item = this.#atom();
      if (item !== null) items.push(this.#quantified(item));
      else if (this.#quantifierFollows()) throw new PatternError("there is nothing to repeat");
    }
    if (items.length === 1) return items[0] ?? { kind: "empty" };
    return items.length === 0 ? { kind: "empty" } : { kind: "concat", items };
  }

  #quoted(items: Expression[]): void {
    const end = this.#source.indexOf("\\E", this.#at);
    const text = this.#source.slice(this.#at, end === -1 ? undefined : end);
    this.#at = end === -1 ? this.#source.length : end + 2;
    for (let i = 0; i < text.length; i++) items.push(this.#literal(text.charCodeAt(i)));
    const last = items.pop();
    if (last !== undefined) items.push(text === "" ? last : this.#quantified(last));
  }

  #quantifierFollows(): boolean {
    return ["*", "+", "?"].some((sign) => this.#sees(sign)) || this.#counted() !== null;
  }

  #quantified(item: Expression): Expression {
    const bounds = this.#bounds();
    if (bounds === null) return item;
    const lazy = this.#take("?") !== this.#flags.ungreedy;
    // `a**` is an error in RE2's syntax.
    if (this.#bounds() !== null) throw new PatternError("two signs of repetition follow each other");
    return { kind: "repeat", item, ...bounds, lazy };
  }

  #bounds(): { least: number; most: number | null } | null {
    if (this.#take("*")) return { least: 0, most: null };
    if (this.#take("+")) return { least: 1, most: null };
    if (this.#take("?")) return { least: 0, most: 1 };
    const counted = this.#counted();
    if (counted === null) return null;
    this.#at += counted[0].length;
    const least = Number(counted[1]);
    const most = counted[2] === undefined ? least : counted[3] === "" ? null : Number(counted[3]);
    if (least > patternLimits.maxRepeat || (most ?? 0) > patternLimits.maxRepeat)
      throw new PatternError(`it repeats more than ${patternLimits.maxRepeat} times`);
    if (most !== null && most < least) throw new PatternError(`${counted[0]} has its numbers the wrong way`);
    return { least, most };
  }

  /** `{2,3}`; anything else that begins with a brace is itself. */
  #counted(): RegExpExecArray | null {
    return /^\{(\d+)(?:(,)(\d*))?\}/.exec(this.#source.slice(this.#at, this.#at + 24));
  }

  /** Null for what has no width and cannot be repeated: a change of flags. */
  #atom(): Expression | null {
    const counted = this.#counted();
    if (counted !== null) throw new PatternError(`there is nothing before ${counted[0]} to repeat`);
    const char = this.#source[this.#at] ?? "";
    this.#at++;
    switch (char) {
      case "(":
        return this.#group();
      case "[":
        return this.#class();
      case ".":
        return { kind: "chars", ranges: this.#flags.dotAll ? [0, lastChar] : [0, 9, 11, lastChar] };
      case "^":
        return { kind: "assertion", assertion: this.#flags.multiLine ? "begin-line" : "begin-text" };
      case "$":
        return { kind: "assertion", assertion: this.#flags.multiLine ? "end-line" : "end-text" };
      case "*":
      case "+":
      case "?":
        throw new PatternError(`there is nothing before ${char} to repeat`);
      case "\\":
        return this.#escape();
      default:
        return this.#literal(char.charCodeAt(0));
    }
  }

  #group(): Expression | null {
    if (++this.#depth > patternLimits.maxDepth) throw new PatternError("its groups are too deep");
    const outer = this.#flags;
    let index = 0;
    if (this.#take("?")) {
      const name = /^P?<([A-Za-z0-9_]+)>/.exec(this.#source.slice(this.#at));
      if (name !== null) {
        this.#at += name[0].length;
        if (this.#names.has(name[1] ?? "")) throw new PatternError(`the group ${name[1]} is there twice`);
        this.#names.add(name[1] ?? "");
        index = ++this.#groups;
      } else if (this.#readFlags()) {
        this.#depth--;
        return null;
      }
    } else index = ++this.#groups;
    const item = this.#either();
    if (!this.#take(")")) throw new PatternError("a ( has no )");
    this.#flags = outer;
    this.#depth--;
    return index === 0 ? item : { kind: "group", item, index };
  }

  /** @returns whether they are for the rest of the group around, `(?i)`, and not for one of their own, `(?i:…)`. */
  #readFlags(): boolean {
    const match = /^([imsU]*)(?:-([imsU]+))?([:)])/.exec(this.#source.slice(this.#at));
    if (match === null)
      throw new PatternError(
        "(? begins nothing that is known (RE2 has neither look-around nor back references)",
      );
    this.#at += match[0].length;
    const on = match[1] ?? "";
    const off = match[2] ?? "";
    const flag = (letter: string, before: boolean) =>
      off.includes(letter) ? false : on.includes(letter) || before;
    this.#flags = {
      ignoreCase: flag("i", this.#flags.ignoreCase),
      multiLine: flag("m", this.#flags.multiLine),
      dotAll: flag("s", this.#flags.dotAll),
      ungreedy: flag("U", this.#flags.ungreedy),
    };
    return match[3] === ")";
  }

  #escape(): Expression {
    const char = this.#source[this.#at] ?? "";
    const assertion = assertions[char];
    if (assertion !== undefined) {
      this.#at++;
      return { kind: "assertion", assertion };
    }
    const named = escapedClasses[char];
    if (named !== undefined) {
      this.#at++;
      return { kind: "chars", ranges: named };
    }
    return this.#literal(this.#escapedChar());
  }

  /** After the backslash. */
  #escapedChar(): number {
    const rest = this.#source.slice(this.#at);
    const hex = /^x(?:([0-9A-Fa-f]{2})|\{([0-9A-Fa-f]{1,6})\})/.exec(rest);
    if (hex !== null) {
      const code = Number.parseInt(hex[1] ?? hex[2] ?? "", 16);
      if (code > lastChar) throw new PatternError(`\\${hex[0]} is beyond \\x{FFFF}`);
      this.#at += hex[0].length;
      return code;
    }
    const octal = /^(?:0[0-7]{0,2}|[1-7][0-7]{1,2})/.exec(rest);
    if (octal !== null) {
      this.#at += octal[0].length;
      return Number.parseInt(octal[0], 8);
    }
    const char = rest[0] ?? "";
    const control = controls[char];
    // RE2: of what is no letter and no digit only ASCII may be escaped.
    if (control === undefined && (char === "" || /[A-Za-z0-9\x80-\uffff]/.test(char)))
      throw new PatternError(char === "" ? "it ends with a backslash" : `\\${char} is not known`);
    this.#at++;
    return control ?? char.charCodeAt(0);
  }

  #class(): Expression {
    const negated = this.#take("^");
    const ranges: number[] = [];
    let first = true;
    for (;;) {
      if (this.#at >= this.#source.length) throw new PatternError("a [ has no ]");
      if (!first && this.#take("]")) break;
      first = false;
      if (!this.#namedClass(ranges)) this.#range(ranges);
    }
    const folded = this.#flags.ignoreCase ? foldCase(ranges) : ranges;
    const merged = mergeRanges(folded);
    // RE2 lets a negated class match a newline.
    return { kind: "chars", ranges: negated ? negateRanges(merged) : merged };
  }

  #namedClass(ranges: number[]): boolean {
    const rest = this.#source.slice(this.#at);
    // Whatever is between the two signs is a name (RE2 `MaybeParsePosixClass`).
    const named = /^\[:(\^?)([\s\S]*?):\]/.exec(rest);
    if (named !== null) {
      const found = Object.hasOwn(posix, named[2] ?? "") ? posix[named[2] ?? ""] : undefined;
      if (found === undefined) throw new PatternError(`${named[0]} is no class`);
      this.#at += named[0].length;
      ranges.push(...(named[1] === "^" ? negateRanges(found) : found));
      return true;
    }
    const escaped = rest.startsWith("\\") ? escapedClasses[rest[1] ?? ""] : undefined;
    if (escaped === undefined) return false;
    this.#at += 2;
    ranges.push(...escaped);
    return true;
  }

  #range(ranges: number[]): void {
    const from = this.#classChar();
    let to = from;
    if (this.#sees("-") && this.#source[this.#at + 1] !== "]" && this.#at + 1 < this.#source.length) {
      this.#at++;
      to = this.#classChar();
      if (to < from) throw new PatternError("a range of [] has its ends the wrong way");
    }
    ranges.push(from, to);
  }

  #classChar(): number {
    if (this.#take("\\")) return this.#escapedChar();
    const code = this.#source.charCodeAt(this.#at);
    this.#at++;
    if (Number.isNaN(code)) throw new PatternError("a [ has no ]");
    return code;
  }

  #literal(code: number): Expression {
    const ranges = [code, code];
    return { kind: "chars", ranges: this.#flags.ignoreCase ? mergeRanges(foldCase(ranges)) : ranges };
  }

  #sees(text: string): boolean {
    return this.#source.startsWith(text, this.#at);
  }

  #take(text: string): boolean {
    if (!this.#sees(text)) return false;
    this.#at += text.length;
    return true;
  }
}

const assertions: Readonly<Record<string, Assertion | undefined>> = {
  A: "begin-text",
  z: "end-text",
  b: "word",
  B: "no-word",
};
const controls: Readonly<Record<string, number | undefined>> = { a: 7, f: 12, n: 10, r: 13, t: 9, v: 11 };
const escapedClasses: Readonly<Record<string, Ranges | undefined>> = {
  d: digits,
  D: negateRanges(digits),
  w: words,
  W: negateRanges(words),
  s: spaces,
  S: negateRanges(spaces),
};

/** ASCII alone: what is in heads of HTTP has no other case. */
function foldCase(ranges: readonly number[]): number[] {
  const folded = [...ranges];
  for (let i = 0; i + 1 < ranges.length; i += 2) {
    const from = ranges[i] ?? 0;
    const to = ranges[i + 1] ?? 0;
    addShifted(folded, from, to, 65, 90, 32);
    addShifted(folded, from, to, 97, 122, -32);
  }
  return folded;
}

function addShifted(
  into: number[],
  from: number,
  to: number,
  least: number,
  most: number,
  shift: number,
): void {
  const first = Math.max(from, least);
  const last = Math.min(to, most);
  if (first <= last) into.push(first + shift, last + shift);
}

function mergeRanges(ranges: readonly number[]): Ranges {
  const pairs: [number, number][] = [];
  for (let i = 0; i + 1 < ranges.length; i += 2) pairs.push([ranges[i] ?? 0, ranges[i + 1] ?? 0]);
  pairs.sort((a, b) => a[0] - b[0]);
  const merged: number[] = [];
  for (const [from, to] of pairs) {
    const last = merged.length - 1;
    if (last > 0 && from <= (merged[last] ?? 0) + 1) merged[last] = Math.max(merged[last] ?? 0, to);
    else merged.push(from, to);
  }
  return merged;
}

function negateRanges(ranges: Ranges): Ranges {
  const negated: number[] = [];
  let next = 0;
  for (let i = 0; i + 1 < ranges.length; i += 2) {
    const from = ranges[i] ?? 0;
    if (from > next) negated.push(next, from - 1);
    next = (ranges[i + 1] ?? 0) + 1;
  }
  if (next <= lastChar) negated.push(next, lastChar);
  return negated;
}
