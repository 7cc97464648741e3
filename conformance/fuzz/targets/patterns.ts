/** Regular expressions of documents beside RE2; behind each NUL a text to match. */
import { RE2JS } from "@bufbuild/re2";
import { Pattern } from "../../../src/base/pattern/pattern.ts";
import { PatternError } from "../../../src/base/pattern/syntax.ts";
import { bytesOf, type Look, latin1, same, type Target } from "../target.ts";

function compiled(source: string, look: Look): Pattern | null {
  try {
    return look.turn(() => new Pattern(source));
  } catch (error) {
    if (error instanceof PatternError) return null;
    throw error;
  }
}

/**
 * Where RE2JS is neither RE2 nor Go's: a brace that begins no count is a character (`{*`), and `[[:]` is a class of two (both look for the
 * end of a name behind its beginning).
 */
const onlyRe2Js = ["invalid nested repetition operator: `{", "invalid character class range: `[:]`"];

/** Null where it cannot be a judge. */
function compiledByRe2(source: string): RE2JS | null {
  try {
    return RE2JS.compile(source);
  } catch (error) {
    if (error instanceof Error && onlyRe2Js.some((words) => error.message.includes(words))) return null;
    throw error;
  }
}

function run(input: Uint8Array, look: Look): void {
  const [source = "", ...texts] = latin1(input).split("\0");
  const mine = compiled(source, look);
  if (mine === null) return;
  // What we take RE2 takes, and it fits the same texts.
  const theirs = compiledByRe2(source);
  if (theirs === null) return;
  for (const text of texts.slice(0, 6)) {
    same(
      look.turn(() => mine.matches(text)),
      theirs.matches(text),
      `${JSON.stringify(source)} and ${JSON.stringify(text)}: ours, and RE2's`,
    );
    if (text.length < 200) look.turn(() => mine.replaceAll(text, "<\\0>"));
  }
}

const expressions = [
  "^/api/(v[0-9]+)/.*$\0/api/v2/x\0/api/",
  "(?i)a|b*?c+\0AC\0c",
  "[^a-c[:digit:]]{2,3}\\b\\d\\W\\S\0xy1 a",
  "(?:a(?P<n>b)?){0,2}\\Qx.y\\E\\x41\\x{42}\0abx.yAB",
  "(?s:.)(?m:^b$)\\pL\\z\\A\0a\nb",
  "a{3,}\\.[\\w\\-]\\t\0aaa.-\t",
];

export const target: Target = {
  maxBytes: 512,
  seeds: () => expressions.map(bytesOf),
  dictionary: [
    "(?i)",
    "(?:",
    "{1,3}",
    "[^",
    "[:alpha:]",
    "\\b",
    "\\d",
    "\\p{L}",
    "\\Q",
    "\\E",
    "|",
    "*?",
    "+?",
    "$",
    "^",
    "\0",
    "\\x{10ffff}",
    "(?P<a>",
  ],
  run,
};
