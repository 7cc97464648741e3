/** Reads TypeScript just well enough for the tidy rules: where code is, where words are, what is imported. */

export interface Import {
  readonly specifier: string;
  /** `import type`, or every name in it is a type. */
  readonly typeOnly: boolean;
  readonly names: readonly string[];
  /** `import("…")`: loaded when it is needed, and so in a file of its own. */
  readonly dynamic: boolean;
  readonly line: number;
}

/**
 * The text with comments and the insides of strings blanked out, so that what is left is code; line numbers stay.
 * Template expressions are blanked with their template: the rules can afford to miss those.
 */
export function codeOnly(text: string): string {
  return text.replace(lexemes, (lexeme) => {
    const quote = lexeme[0] ?? "";
    if (quote === "/" && !lexeme.startsWith("//") && !lexeme.startsWith("/*")) return blank(lexeme);
    return quote === '"' || quote === "'" || quote === "`"
      ? quote + blank(lexeme.slice(1, -1)) + quote
      : blank(lexeme);
  });
}

/** The text with all but comments and titles of tests blanked out: what is written for people. */
export function proseOnly(text: string): string {
  let at = 0;
  let prose = "";
  for (const { 0: lexeme, index } of text.matchAll(lexemes)) {
    const before = text.slice(at, index);
    const isComment = lexeme.startsWith("//") || lexeme.startsWith("/*");
    const isProse = isComment || (/^["'`]/.test(lexeme) && /\b(?:test|describe)\($/.test(before));
    prose += blank(before) + (isProse ? lexeme : blank(lexeme));
    at = index + lexeme.length;
  }
  return prose + blank(text.slice(at));
}

// In order: comments, strings, templates, then regular expressions where an operand may begin.
const lexemes =
  /\/\/[^\n]*|\/\*[\s\S]*?\*\/|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'|`(?:\\.|[^`\\])*`|(?<=(?:^|[=(,:?[!&|;{}]|return|=>)\s*)\/(?![/*])(?:\\.|\[(?:\\.|[^\]\\\n])*\]|[^/\\\n[])+\/[dgimsuvy]*/gm;

function blank(text: string): string {
  return text.replace(/[^\n]/g, " ");
}

/** Static and dynamic imports and re-exports, in order. */
export function importsOf(text: string): readonly Import[] {
  const imports: Import[] = [];
  for (const match of text.matchAll(importsPattern)) {
    const [, keyword = "", clause = "", from, dynamic] = match;
    const names = clause
      .replace(/[{}]/g, " ")
      .split(",")
      .map((name) => name.trim())
      .filter((name) => name !== "");
    const everyNameIsType = clause.includes("{") && names.every((name) => name.startsWith("type "));
    imports.push({
      specifier: from ?? dynamic ?? "",
      typeOnly: keyword.endsWith("type") || everyNameIsType,
      names: names.map((name) => name.replace(/^type /, "").split(" as ")[0] ?? name),
      dynamic: dynamic !== undefined,
      line: lineOf(text, match.index),
    });
  }
  return imports;
}

const importsPattern =
  /^(?:(import(?: type)?|export(?: type)?)\s+([\w*{][\w*{},\s]*?)\s+from\s+|import\s+)"([^"]+)"|\bimport\("([^"]+)"\)/gm;

export function lineOf(text: string, index: number): number {
  let line = 1;
  for (let at = text.indexOf("\n"); at !== -1 && at < index; at = text.indexOf("\n", at + 1)) line++;
  return line;
}
