/**
 * Counts which branches of a source file run, for fuzzing: Bun has no instrumentation of its own that a program can read. Counters are put
 * into the text, where conditions, cases and blocks are; types play no part, since what comes out is only stripped of them.
 */
import { codeOnly } from "../../scripts/tidy_source.ts";

export interface Instrumented {
  readonly text: string;
  /** How many counters the file has. */
  readonly counters: number;
}

/** Where `coverage` of `counters.ts` is found by instrumented code, which imports nothing. */
export const counterName = "fairleadFuzzCounters";

interface Insertion {
  readonly at: number;
  readonly text: string;
}

/** @param first number of the first counter. */
export function instrument(source: string, first: number): Instrumented {
  const code = codeOnly(source);
  const insertions: Insertion[] = [];
  let counters = 0;
  const next = () => `$c[${first + counters++}]++`;
  for (const match of code.matchAll(/\b(?:if|while) \(/g)) {
    const from = match.index + match[0].length;
    const to = closing(code, from);
    if (to === null) continue;
    insertions.push({ at: from, text: "(" });
    insertions.push({ at: to, text: `) ? (${next()}, true) : (${next()}, false)` });
  }
  for (const match of code.matchAll(/\s(&&|\|\|)\s/g))
    insertions.push({
      at: match.index + match[0].length,
      text: match[1] === "&&" ? `(${next()}, true) && ` : `(${next()}, false) || `,
    });
  // A block: of a function, a loop, a branch. What `switch` opens holds no statements.
  for (const match of code.matchAll(
    /^(?!.*\bswitch \().*(?:\)|\): [^={}()]+|=>|\b(?:else|try|do|finally|catch)) \{$/gm,
  ))
    insertions.push({ at: match.index + match[0].length, text: `${next()};` });
  for (const match of code.matchAll(/^\s*(?:case [^:\n]+|default):(?=\s)/gm))
    insertions.push({ at: match.index + match[0].length, text: `${next()};` });
  // Those at one place keep their order: a condition within a condition ends first.
  const sorted = insertions.map((one, order) => ({ ...one, order }));
  sorted.sort((a, b) => a.at - b.at || a.order - b.order);
  let text = `const $c = globalThis.${counterName};`;
  let at = 0;
  for (const insertion of sorted) {
    text += source.slice(at, insertion.at) + insertion.text;
    at = insertion.at;
  }
  return { text: text + source.slice(at), counters };
}

function closing(code: string, from: number): number | null {
  let depth = 1;
  for (let at = from; at < code.length; at++) {
    if (code[at] === "(") depth++;
    else if (code[at] === ")" && --depth === 0) return at;
  }
  return null;
}
