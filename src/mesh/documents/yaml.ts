/**
 * YAML 1.2 and JSON text as nodes that know where they were written. A file is cut into its documents first, so that a broken
 * one is refused alone and only changed ones are read again. This is the only file that knows the `yaml` library.
 */
import {
  type Alias,
  Composer,
  isAlias,
  isCollection,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  Parser,
  type Scalar,
} from "yaml";
import { meshLimits } from "../../base/limits/mesh.ts";
import { runSteps } from "../../base/turns/time_slice.ts";
import type { DocumentError, Location } from "../location.ts";

export interface YamlScalar {
  readonly kind: "scalar";
  readonly at: Location;
  readonly value: string | number | boolean | null;
  /** As it was written, without quotes. */
  readonly source: string;
}

export interface YamlList {
  readonly kind: "list";
  readonly at: Location;
  readonly items: readonly YamlNode[];
}

export interface YamlEntry {
  readonly key: string;
  readonly keyAt: Location;
  readonly value: YamlNode;
}

export interface YamlMap {
  readonly kind: "map";
  readonly at: Location;
  /** No key twice. */
  readonly entries: readonly YamlEntry[];
}

export type YamlNode = YamlScalar | YamlList | YamlMap;

/** The text of one document of a file. */
export interface DocumentText {
  readonly file: string;
  /** 1-based line of the file that `text` begins on. */
  readonly firstLine: number;
  readonly text: string;
}

/**
 * `---` and `...` at the start of a line always end a document, whatever is open before them (YAML 1.2.2 §9.1.2, c-forbidden), so
 * the cut needs no parser. Parts with nothing but comments are left out.
 */
export function splitDocuments(file: string, text: string): readonly DocumentText[] | DocumentError {
  return runSteps(splitInSteps(file, text));
}

/** `splitDocuments`, in steps of a few milliseconds. */
export function* splitInSteps(
  file: string,
  text: string,
): Generator<void, readonly DocumentText[] | DocumentError> {
  const tooMuch = (message: string): DocumentError => ({
    location: { file, line: 1, column: 1 },
    resource: null,
    message,
  });
  // A UTF-16 unit is never more than three bytes of UTF-8, nor less than one: the exact count is not worth the copy.
  if (text.length > meshLimits.maxFileBytes) {
    return tooMuch(
      `the file is larger than ${meshLimits.maxFileBytes} bytes; split it into several in a folder`,
    );
  }
  const documents: DocumentText[] = [];
  let start = 0;
  let line = 1;
  let parts = 0;
  const take = (end: number): void => {
    const part = text.slice(start, end);
    if (hasContent.test(part)) documents.push({ file, firstLine: line, text: part });
    for (
      let index = text.indexOf("\n", start);
      index !== -1 && index < end;
      index = text.indexOf("\n", index + 1)
    )
      line++;
  };
  for (const match of text.matchAll(marker)) {
    take(match.index);
    // What follows the marker on its own line belongs to the next document; blanks keep its columns.
    start = match.index;
    if (++parts % partsPerStep === 0) yield;
    // Empty ones count too: the cut is work all the same.
    if (documents.length >= meshLimits.maxDocumentsPerFile || parts > 2 * meshLimits.maxDocumentsPerFile) {
      return tooMuch(
        `the file holds more than ${meshLimits.maxDocumentsPerFile} documents; split it into several in a folder`,
      );
    }
  }
  take(text.length);
  return documents;
}

/** Parts of a file, and words of a document, that one step takes; some hundred microseconds. */
const partsPerStep = 256;
const tokensPerStep = 1_000;
const marker = /^(?:---|\.\.\.)(?=[ \t\r\n]|$)/gm;
/** A line that is not blank, a comment, or a bare marker. */
const hasContent = /^(?!(?:---|\.\.\.)?[ \t]*(?:#.*)?\r?$)/m;

export type ParsedYaml = { readonly root: YamlNode } | { readonly errors: readonly DocumentError[] };

export function parseYaml(document: DocumentText): ParsedYaml {
  return runSteps(parseYamlInSteps(document));
}

/**
 * `parseYaml`, in steps: the library's words one by one, and then what they make. That last step is one, and what it costs goes by the
 * words, so their number has a bound.
 */
export function* parseYamlInSteps(document: DocumentText): Generator<void, ParsedYaml> {
  const { file, firstLine } = document;
  // The end marker of the document before would make the parser see an empty one; blanks keep the columns.
  const text = document.text.replace(/^\.\.\.(?=[ \t\r\n]|$)/, "   ");
  const start: Location = { file, line: firstLine, column: 1 };
  if (text.length > meshLimits.maxDocumentBytes) {
    return failed(start, `the document is larger than ${meshLimits.maxDocumentBytes} bytes`);
  }
  const lineCounter = new LineCounter();
  const locate = (offset: number): Location => {
    const { line, col } = lineCounter.linePos(offset);
    return { file, line: firstLine + Math.max(line, 1) - 1, column: Math.max(col, 1) };
  };
  const parser = new Parser(lineCounter.addNewLine);
  // Key uniqueness is checked below: the library compares each key with each other one, which is quadratic.
  const composer = new Composer({ lineCounter, uniqueKeys: false, prettyErrors: false, logLevel: "silent" });
  const tokens = [];
  let count = 0;
  let words = 0;
  lineCounter.addNewLine(0);
  for (const word of new Lexer().lex(text)) {
    tokens.push(...parser.next(word));
    if (!isBlank(word.charCodeAt(0))) words++;
    if (++count % tokensPerStep !== 0) continue;
    yield;
    const at = locate(parser.offset);
    if (words > meshLimits.maxTokensPerDocument || count > 3 * meshLimits.maxTokensPerDocument)
      return failed(at, `the document has more than ${meshLimits.maxTokensPerDocument} words and signs`);
    // The library follows nesting by recursion.
    if (parser.stack.length > maxOpen)
      return failed(at, `values are nested more than ${meshLimits.maxNodeDepth} deep`);
  }
  if (parser.stack.length > maxOpen)
    return failed(locate(parser.offset), `values are nested more than ${meshLimits.maxNodeDepth} deep`);
  tokens.push(...parser.end());
  yield;
  const [parsed, second] = composer.compose(tokens, true, text.length);
  if (parsed === undefined) return failed(start, "the document is empty");
  // What stands behind it would be left out in silence.
  if (second !== undefined)
    return failed(locate(second.range[0]), "a second document begins in the text of one");
  // An unknown tag is only a warning to the library; here what is not understood is refused.
  const complaint = parsed.errors[0] ?? parsed.warnings[0];
  if (complaint !== undefined) return failed(locate(complaint.pos[0]), complaint.message);
  yield;
  const reader = new NodeReader(locate);
  const root = reader.read(parsed.contents, 0);
  return reader.error === null ? { root } : { errors: [reader.error] };
}

/** Two for a value within a value (a list in a map's entry, say), and what is around it all. */
const maxOpen = 2 * meshLimits.maxNodeDepth + 3;

/** What the library makes next to nothing of: blanks, line ends, and its own marks before a scalar and a document. */
function isBlank(code: number): boolean {
  return code <= 0x20;
}

function failed(location: Location, message: string): ParsedYaml {
  return { errors: [{ location, resource: null, message }] };
}

/** Writes aliases out, within bounds. The first error ends the reading; what is returned after it is not used. */
class NodeReader {
  error: DocumentError | null = null;
  readonly #locate: (offset: number) => Location;
  #nodes = 0;
  #aliases = 0;
  #last = 0;
  /** What the targets of aliases are being read: one that comes up again holds itself. */
  readonly #targets = new Set<unknown>();
  /** The last node of each anchor so far (YAML 1.2.2 §7.1), and what each alias was found to be where it is written. */
  readonly #anchors = new Map<string, unknown>();
  readonly #resolved = new Map<Alias, unknown>();

  constructor(locate: (offset: number) => Location) {
    this.#locate = locate;
  }

  read(node: unknown, depth: number): YamlNode {
    if (this.error !== null) return this.#nothing();
    if (++this.#nodes > meshLimits.maxNodesPerDocument) {
      return this.#fail(
        `the document has more than ${meshLimits.maxNodesPerDocument} values once its aliases are written out`,
      );
    }
    if (depth > meshLimits.maxNodeDepth)
      return this.#fail(`values are nested more than ${meshLimits.maxNodeDepth} deep`);
    if (isAlias(node)) return this.#readAlias(node, depth);
    if ((isScalar(node) || isCollection(node)) && node.anchor !== undefined && this.#targets.size === 0)
      this.#anchors.set(node.anchor, node);
    if (isScalar(node)) return this.#readScalar(node);
    if (isMap(node)) {
      const at = this.#at(node.range);
      return { kind: "map", at, entries: this.#readEntries(node.items, depth) };
    }
    if (isSeq(node)) {
      const at = this.#at(node.range);
      return { kind: "list", at, items: node.items.map((item) => this.read(item, depth + 1)) };
    }
    return this.#nothing();
  }

  #readEntries(
    pairs: readonly { readonly key: unknown; readonly value: unknown }[],
    depth: number,
  ): YamlEntry[] {
    const seen = new Map<string, Location>();
    const entries: YamlEntry[] = [];
    for (const pair of pairs) {
      const key = this.read(pair.key, depth + 1);
      if (this.error !== null) break;
      if (key.kind !== "scalar") {
        this.#failAt(key.at, "a key must be a single word");
        break;
      }
      const first = seen.get(key.source);
      if (first !== undefined) {
        this.#failAt(key.at, `${key.source} is given twice; the first is on line ${first.line}`, key.source);
        break;
      }
      seen.set(key.source, key.at);
      entries.push({ key: key.source, keyAt: key.at, value: this.read(pair.value, depth + 1) });
    }
    return entries;
  }

  #readAlias(alias: Alias, depth: number): YamlNode {
    if (++this.#aliases > meshLimits.maxAliasesPerDocument) {
      return this.#fail(`the document has more than ${meshLimits.maxAliasesPerDocument} aliases`);
    }
    const at = this.#at(alias.range);
    if (this.#targets.size === 0) this.#resolved.set(alias, this.#anchors.get(alias.source));
    const target = this.#resolved.get(alias);
    if (target === undefined)
      return this.#failAt(at, `there is no anchor &${alias.source} before this`, alias.source);
    if (this.#targets.has(target))
      return this.#failAt(at, `*${alias.source} is a part of itself`, alias.source);
    this.#targets.add(target);
    const node = this.read(target, depth + 1);
    this.#targets.delete(target);
    return node;
  }

  #readScalar(scalar: Scalar): YamlNode {
    const at = this.#at(scalar.range);
    const value = scalar.value;
    if (
      value === null ||
      typeof value === "string" ||
      typeof value === "number" ||
      typeof value === "boolean"
    ) {
      return {
        kind: "scalar",
        at,
        value,
        source: typeof value === "string" ? value : (scalar.source ?? String(value)),
      };
    }
    return this.#failAt(at, `a value tagged ${scalar.tag ?? "so"} is not supported`);
  }

  #at(range: readonly [number, number, number] | null | undefined): Location {
    if (range !== null && range !== undefined) this.#last = range[0];
    return this.#locate(this.#last);
  }

  #nothing(): YamlScalar {
    return { kind: "scalar", at: this.#locate(this.#last), value: null, source: "" };
  }

  #fail(message: string): YamlNode {
    return this.#failAt(this.#locate(this.#last), message);
  }

  #failAt(location: Location, message: string, word?: string): YamlNode {
    this.error ??= { location, resource: null, message, ...(word === undefined ? {} : { word }) };
    return this.#nothing();
  }
}
