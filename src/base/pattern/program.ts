/** A regular expression as a list of instructions, in the order of RE2's preference (Thompson; Cox, "Regular Expression Matching"). */
import { patternLimits } from "../limits/pattern.ts";
import { type Assertion, type Expression, PatternError, parsePattern, type Ranges } from "./syntax.ts";

export type Instruction =
  | { readonly kind: "chars"; readonly ranges: Ranges; next: number }
  /** `first` is preferred. */
  | { readonly kind: "split"; first: number; second: number }
  | { readonly kind: "assert"; readonly assertion: Assertion; next: number }
  | { readonly kind: "save"; readonly slot: number; next: number }
  | { readonly kind: "match" };

export interface Program {
  readonly instructions: readonly Instruction[];
  readonly start: number;
  readonly groups: number;
  readonly expression: Expression;
}

/** @throws PatternError */
export function compileProgram(source: string): Program {
  const { expression, groups } = parsePattern(source);
  const compiler = new Compiler();
  const match = compiler.add({ kind: "match" });
  const start = compiler.compile(expression, match);
  return { instructions: compiler.instructions, start, groups, expression };
}

class Compiler {
  readonly instructions: Instruction[] = [];

  add(instruction: Instruction): number {
    if (this.instructions.length >= patternLimits.maxInstructions)
      throw new PatternError("it is too large once its repetitions are written out");
    return this.instructions.push(instruction) - 1;
  }

  /** @returns where it begins; it goes on at `next`. */
  compile(expression: Expression, next: number): number {
    switch (expression.kind) {
      case "empty":
        return next;
      case "chars":
        return this.add({ kind: "chars", ranges: expression.ranges, next });
      case "assertion":
        return this.add({ kind: "assert", assertion: expression.assertion, next });
      case "group": {
        const end = this.add({ kind: "save", slot: expression.index * 2 + 1, next });
        return this.add({
          kind: "save",
          slot: expression.index * 2,
          next: this.compile(expression.item, end),
        });
      }
      case "concat":
        return expression.items.reduceRight((after, item) => this.compile(item, after), next);
      case "either":
        return expression.items
          .map((item) => this.compile(item, next))
          .reduceRight((second, first) => this.add({ kind: "split", first, second }));
      case "repeat":
        return this.#repeat(expression, next);
    }
  }

  #repeat(
    { item, least, most, lazy }: Extract<Expression, { readonly kind: "repeat" }>,
    next: number,
  ): number {
    let after = next;
    if (most === null) {
      const loop = this.#split(-1, next, lazy);
      const body = this.compile(item, loop);
      this.#setBranch(loop, body, lazy);
      after = loop;
      // `a+`: the loop's own body is the first time.
      if (least > 0) return this.#times(item, least - 1, body);
    } else {
      for (let i = least; i < most; i++) {
        // Of `a?a?` the second is behind the first: whoever leaves out one, leaves out all.
        after = this.#split(this.compile(item, after), next, lazy);
      }
    }
    return this.#times(item, least, after);
  }

  #times(item: Expression, times: number, next: number): number {
    let after = next;
    for (let i = 0; i < times; i++) after = this.compile(item, after);
    return after;
  }

  #split(body: number, past: number, lazy: boolean): number {
    return this.add(
      lazy ? { kind: "split", first: past, second: body } : { kind: "split", first: body, second: past },
    );
  }

  #setBranch(at: number, body: number, lazy: boolean): void {
    const split = this.instructions[at];
    if (split?.kind !== "split") return;
    if (lazy) split.second = body;
    else split.first = body;
  }
}
