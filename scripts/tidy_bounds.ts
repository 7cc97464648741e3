/** Which bounds of `src/base/limits/` are named in no test: nothing would notice that such a bound is gone. */
import type { SourceFile } from "./tidy_rules.ts";

/** What can be filled: a number of things, or their size. Times, shares and rates are not. */
const isBound = (name: string): boolean => /^max[A-Z]|(?:Bytes|Chars|Digits|Items|Length)$/.test(name);

/** `meshLimits.maxLabels` of each bound, in the order of the files. */
export function boundsOf(limits: readonly SourceFile[]): readonly string[] {
  return limits.flatMap(({ text }) =>
    [...text.matchAll(/^export const (\w+) = \{\n(.*?)^\}/gms)].flatMap(([, table = "", fields = ""]) =>
      [...fields.matchAll(/^ {2}(\w+):/gm)]
        .map(([, name = ""]) => name)
        .filter(isBound)
        .map((name) => `${table}.${name}`),
    ),
  );
}

/** Bounds whose name is in none of the tests, nor in what only tests use. */
export function untestedBounds(
  limits: readonly SourceFile[],
  tests: readonly SourceFile[],
): readonly string[] {
  const words = new Set(tests.flatMap(({ text }) => text.match(/\w+/g) ?? []));
  return boundsOf(limits).filter((bound) => !words.has(bound.slice(bound.indexOf(".") + 1)));
}

/** Of some 315, so many had none when this was first looked at, with a few that were on their way. The number gets smaller. */
export const mostUntested = 84;
