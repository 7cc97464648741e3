/** Which bounds of `src/base/limits/` are named in no test: nothing would notice that such a bound is gone. */
import type { SourceFile } from "./tidy_rules.ts";

/**
 * What can be filled, or what an operator may at most ask for: `max…`, or an amount by its unit. Times, shares and rates by any other
 * name are none, nor is how work is cut up, which no caller fills: a window, a page, a piece, a mark, a threshold below which it is done
 * otherwise.
 */
const isBound = (name: string): boolean =>
  /^max[A-Z]|(?:Bytes|Chars|Digits|Items|Length)$/.test(name) &&
  !/Window|Page|Water|Below|Factor|^(?:joined|min|quantum|tiny)/.test(name);

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

/** Those that no test names, in the order of the files, each with its reason. */
export const unreached: Readonly<Record<string, string>> = {
  "stateLimits.reservedDiskBytes": "each state would fill 64 MiB of a disk; tests give a smaller one by name",
  "stateLimits.maxDocumentTextBytes":
    "more than a gigabyte of documents; what is forgotten past a bound is tested by a smaller one",
  "stateLimits.auditRetentionBytes":
    "a gigabyte of rows; what is pruned past a bound is tested by a smaller one",
  "stateLimits.maxSnapshotLogBytes": "a gigabyte of log, written while a copy is read",
  "stateLimits.maxQuickCheckBytes": "a quarter of a gigabyte of database, read at each start",
  "stateLimits.maxIdleLogBytes": "SQLite's own doing (PRAGMA journal_size_limit)",
  "hostLimits.maxWatchedEntries": "ten thousand files, to see that one more is not looked at",
};
