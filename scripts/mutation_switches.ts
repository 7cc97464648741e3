/**
 * Many mutants in one text, each behind a switch: `a === b` becomes `($mutant(7, …) ? (a !== b) : (a === b))`. So a file is parsed once
 * however many mutants it has, and which tests could notice one is known from a run without any: those in which the expression has another
 * value with the mutant. Where it cannot be asked for twice, because it calls or changes something, those in which it is reached.
 */
import { type Mutant, nameOf } from "./mutation.ts";
import { codeOnly } from "./tidy_source.ts";

export interface Numbered {
  readonly id: number;
  readonly mutant: Mutant;
}

interface Switch extends Numbered {
  /** The expression `[from, to)` that is there twice, once as it was and once broken. */
  readonly from: number;
  readonly to: number;
}

/** Throws where an expression cannot be told from what is around it. */
export function withSwitches(text: string, numbered: readonly Numbered[]): string {
  const borders = [...codeOnly(text).matchAll(border)].map(({ 0: token, index }) => ({ token, index }));
  const switches = numbered.map((one) => ({ ...one, ...extentOf(text, borders, one.mutant) }));
  const switched = render(text, switches, 0, text.length);
  if (parses(switched)) return switched;
  const bad = switches.filter((one) => !parses(render(text, [one], 0, text.length)));
  throw new Error(`cannot be switched: ${bad.map(({ mutant }) => nameOf(mutant)).join("\n")}`);
}

const transpiler = new Bun.Transpiler({ loader: "ts" });

function parses(text: string): boolean {
  try {
    transpiler.transformSync(text);
    return true;
  } catch {
    return false;
  }
}

// What an expression ends at, left or right of it; the others are here so that they are not taken for those.
const border =
  /=>|[=!]==?|<=|>=|(?:\?\?|\|\||&&|[-+*/%&|^])=|\?\?|\?\.|\.\.\.|[=?:,;()[\]{}]|(?<![.\w])(?:return|throw|case|else|yield|of)\b/g;
/** A call, or what changes something: asked for twice, it would happen twice. */
const effects =
  /[\w)\]]\s*\(|\?\.\(|\b(?:await|new|yield|delete)\b|\+\+|--|=>|`|(?:\?\?|\|\||&&|[-+*/%&|^])=|(?<![=!<>])=(?!=)/;
const opening = /^[([{]$/;
const closing = /^[)\]}]$/;
const beforeExpression =
  /^(?:=>|(?:\?\?|\|\||&&|[-+*/%&|^])?=|\.\.\.|[?:,;}]|return|throw|case|else|yield|of)$/;
const afterExpression = /^[?:,;]$/;

function extentOf(
  text: string,
  borders: readonly { token: string; index: number }[],
  { kind, from, to }: Mutant,
): { from: number; to: number } {
  if (kind === "guard" || kind === "return") return { from, to };
  if (kind === "label") return { from: from - 1, to: to + 1 };
  const after = borders.findIndex(({ index }) => index >= to);
  let start = 0;
  let depth = 0;
  for (const { token, index } of borders.filter((one) => one.index < from).reverse()) {
    if (depth === 0 && (opening.test(token) || beforeExpression.test(token))) {
      start = index + token.length;
      break;
    }
    if (closing.test(token)) depth++;
    else if (opening.test(token)) depth--;
  }
  let end = text.length;
  depth = 0;
  for (const { token, index } of after < 0 ? [] : borders.slice(after)) {
    if (depth === 0 && (closing.test(token) || afterExpression.test(token))) {
      end = index;
      break;
    }
    if (opening.test(token)) depth++;
    else if (closing.test(token)) depth--;
  }
  while (/\s/.test(text[start] ?? "")) start++;
  return { from: start, to: end };
}

/** The text from `at` to `end`, with the outermost switches in it, and the others inside of those. */
function render(text: string, switches: readonly Switch[], at: number, end: number): string {
  const inside = switches.filter(({ from, to }) => from >= at && to <= end);
  const outer = inside
    .filter((one) => !inside.some((other) => wider(other, one)))
    .sort((a, b) => a.from - b.from || a.id - b.id);
  let result = "";
  let done = at;
  for (let index = 0; index < outer.length; ) {
    const { from, to } = outer[index] ?? { from: end, to: end };
    const same = outer.filter((one) => one.from === from && one.to === to);
    index += same.length;
    const variants = same.map(({ id, mutant }) => {
      const variant =
        mutant.kind === "label"
          ? `"${mutant.replacement}"`
          : text.slice(from, mutant.from) + mutant.replacement + text.slice(mutant.to, to);
      if (mutant.kind === "guard") return `$mutant(${id}, null) ? (${variant}) : `;
      const isPure = mutant.kind === "comparison" && !effects.test(text.slice(from, to));
      const differs = isPure ? `, () => !Object.is((${variant}), (${text.slice(from, to)}))` : "";
      return `$mutant(${id}${differs}) ? (${variant}) : `;
    });
    const within = switches.filter((one) => !same.includes(one));
    const guards = same.filter(({ mutant }) => mutant.kind === "guard").map(({ id }) => id);
    const whole = render(text, within, from, to);
    const passed = guards.reduce((value, id) => `$guard(${id}, (${value}))`, whole);
    result += `${text.slice(done, from)}(${variants.join("")}(${passed}))`;
    done = to;
  }
  return result + text.slice(done, end);
}

function wider(a: Switch, b: Switch): boolean {
  return a.from <= b.from && a.to >= b.to && (a.from !== b.from || a.to !== b.to);
}
