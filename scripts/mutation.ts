/** What can be broken in a file, one at a time, and the tests that are nearest to it. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { dirname, normalize } from "node:path/posix";
import { codeOnly, importsOf } from "./tidy_source.ts";

export interface Mutant {
  readonly path: string;
  /** What is broken: `guard`, `comparison`, `label`, `return`. */
  readonly kind: string;
  /** The text `[from, to)` is replaced. */
  readonly from: number;
  readonly to: number;
  readonly replacement: string;
  /** The line as it is, and which of the same kind it is on lines of the same text. */
  readonly line: string;
  readonly ordinal: number;
}

/** The same as long as the line is, wherever it moves. */
export function nameOf({ path, kind, line, ordinal, replacement }: Mutant): string {
  return `${path}: ${kind} → ${replacement.slice(0, 40)} in "${line}"${ordinal === 0 ? "" : ` #${ordinal + 1}`}`;
}

const comparisons: readonly (readonly [pattern: RegExp, instead: string])[] = [
  [/ === /g, " !== "],
  [/ !== /g, " === "],
  [/ < (?=[\w(])/g, " <= "],
  [/ > (?=[\w(])/g, " >= "],
  [/ <= /g, " < "],
  [/ >= /g, " > "],
  [/ && /g, " || "],
  [/ \|\| /g, " && "],
];

/** Every place of a file, in code alone: not in comments, texts or types. */
export function findMutants(path: string, text: string): readonly Mutant[] {
  const code = codeOnly(text);
  const found: Omit<Mutant, "path" | "line" | "ordinal">[] = [];
  for (const match of code.matchAll(/\bif \(/g)) {
    const from = match.index + match[0].length;
    const to = closing(code, from);
    if (to !== null) found.push({ kind: "guard", from, to, replacement: "false as boolean" });
  }
  for (const [pattern, instead] of comparisons)
    for (const match of code.matchAll(pattern))
      if (!isTypeLine(code, match.index))
        found.push({
          kind: "comparison",
          from: match.index,
          to: match.index + match[0].length,
          replacement: instead,
        });
  for (const match of code.matchAll(/\breturn (true|false);/g))
    found.push({
      kind: "return",
      from: match.index + "return ".length,
      to: match.index + match[0].length - 1,
      replacement: match[1] === "true" ? "false" : "true",
    });
  // Values of labels and fields: `reporter: "source"`.
  for (const match of text.matchAll(/\b[a-z_]+: "([a-z_]+)"(?! \||\)? \}>)/g))
    if (
      code.slice(match.index, match.index + 3) === text.slice(match.index, match.index + 3) &&
      !isTypeLine(code, match.index)
    )
      found.push({
        kind: "label",
        from: match.index + match[0].length - 1 - (match[1] ?? "").length,
        to: match.index + match[0].length - 1,
        replacement: "mutant",
      });
  found.sort((a, b) => a.from - b.from);
  const seen = new Map<string, number>();
  return found.map((mutant) => {
    const line = lineAt(text, mutant.from);
    const key = `${mutant.kind} ${mutant.replacement} ${line}`;
    const ordinal = seen.get(key) ?? 0;
    seen.set(key, ordinal + 1);
    return { path, ...mutant, line, ordinal };
  });
}

function closing(code: string, from: number): number | null {
  let depth = 1;
  for (let at = from; at < code.length; at++) {
    if (code[at] === "(") depth++;
    else if (code[at] === ")" && --depth === 0) return at;
  }
  return null;
}

function lineAt(text: string, at: number): string {
  const from = text.lastIndexOf("\n", at - 1) + 1;
  const to = text.indexOf("\n", at);
  return text.slice(from, to < 0 ? undefined : to).trim();
}

/** A line that declares types alone: changed, it does not run otherwise. */
function isTypeLine(code: string, at: number): boolean {
  return /^(?:export )?(?:type|interface)\b|^readonly \w+\??:|^\| /.test(lineAt(code, at));
}

export interface Tree {
  /** Files of src/ that are no tests. */
  readonly sources: ReadonlyMap<string, string>;
  /** Path of a test → how many imports away every file is that it brings in. */
  readonly tests: ReadonlyMap<string, ReadonlyMap<string, number>>;
}

export function readTree(root: string): Tree {
  const below = (folder: string): readonly (readonly [string, string])[] =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".ts"))
      .map((name) => `${folder}/${name}`)
      .sort()
      .map((path) => [path, readFileSync(join(root, path), "utf8")]);
  const src = new Map(below("src"));
  const all = new Map([...src, ...below("conformance/flows")]);
  const imports = new Map<string, readonly string[]>();
  for (const [path, text] of all)
    imports.set(
      path,
      importsOf(text)
        .filter(({ specifier, typeOnly }) => specifier.startsWith(".") && !typeOnly)
        .map(({ specifier }) => normalize(join(dirname(path), specifier)))
        .filter((imported) => all.has(imported)),
    );
  const tests = new Map<string, ReadonlyMap<string, number>>();
  for (const path of all.keys()) if (path.endsWith(".test.ts")) tests.set(path, distances(imports, path));
  const sources = new Map(
    [...src].filter(
      ([path]) => !path.endsWith(".test.ts") && !path.includes("/testing/") && !path.endsWith(".gen.ts"),
    ),
  );
  return { sources, tests };
}

function distances(
  imports: ReadonlyMap<string, readonly string[]>,
  from: string,
): ReadonlyMap<string, number> {
  const found = new Map([[from, 0]]);
  for (const [path, distance] of found)
    for (const imported of imports.get(path) ?? [])
      if (!found.has(imported)) found.set(imported, distance + 1);
  return found;
}

/**
 * Tests that start processes, wait for the wall clock, take minutes or draw something else at every run have their own reasons; a mutant
 * is looked for by others.
 */
const unsuited =
  /^src\/(?:app|main|cli|host)|kill\.test|converge\.test|limbo|tidy\.test|agreement\.test|cidr\.test/;
const mostOfArea = 24;
const mostOfOthers = 6;

/** `src/pki`, `src/control/ca` */
function areaOf(path: string): string {
  return path
    .split("/")
    .slice(0, path.startsWith("src/control/") ? 3 : 2)
    .join("/");
}

/** Its own test, those of its area by the fewest imports on the way to it, and the nearest of others. */
export function nearestTests({ tests }: Tree, path: string): readonly string[] {
  const folder = `${dirname(path)}/`;
  const area = `${areaOf(path)}/`;
  const ranked: { test: string; distance: number }[] = [];
  for (const [test, found] of tests) {
    const distance = found.get(path);
    if (distance === undefined || unsuited.test(test)) continue;
    const isOwn = test === path.replace(/\.ts$/, ".test.ts");
    ranked.push({ test, distance: isOwn ? 0 : test.startsWith(folder) ? Math.min(1, distance) : distance });
  }
  ranked.sort((a, b) => a.distance - b.distance);
  const names = ranked.map(({ test }) => test);
  // The flows of the proxy are tested as a whole.
  const isOfArea = (test: string): boolean =>
    test.startsWith(area) || (area === "src/proxy/" && test.startsWith("conformance/flows/"));
  return [
    ...names.filter(isOfArea).slice(0, mostOfArea),
    ...names.filter((test) => !isOfArea(test)).slice(0, mostOfOthers),
  ];
}
