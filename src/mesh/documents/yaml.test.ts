import { describe, expect, test } from "bun:test";
import { meshLimits } from "../../base/limits/mesh.ts";
import { cpuTimer } from "../../base/testing/cpu_time.ts";
import { formatLocation } from "../location.ts";
import { type DocumentText, parseYaml, splitDocuments, type YamlNode } from "./yaml.ts";

function split(text: string): readonly DocumentText[] {
  const documents = splitDocuments("f", text);
  if ("message" in documents) throw new Error(documents.message);
  return documents;
}

function parse(text: string): unknown {
  const parsed = parseYaml({ file: "f", firstLine: 1, text });
  return "root" in parsed
    ? plain(parsed.root)
    : parsed.errors.map((error) => `${formatLocation(error.location)} ${error.message}`).join();
}

function plain(node: YamlNode): unknown {
  if (node.kind === "scalar") return node.value;
  return node.kind === "list"
    ? node.items.map(plain)
    : Object.fromEntries(node.entries.map((entry) => [entry.key, plain(entry.value)]));
}

describe("cutting a file", () => {
  test("documents keep their lines", () => {
    const parts = split(
      "# only words\n---\na: 1\n--- # words\n---\r\nb: 2\r\n...\n---\nc: |\n  ---\n  d\n--- {e: 5}\n",
    );
    expect(parts.map((part) => [part.firstLine, parse(part.text)])).toEqual([
      [2, { a: 1 }],
      [5, { b: 2 }],
      [8, { c: "---\nd\n" }],
      [12, { e: 5 }],
    ]);
  });

  test("an end marker ends a document, and the next one needs no mark of its own", () => {
    const parts = split("a: 1\n...\nb: 2\n... # words\nc: 3\n...\n");
    expect(parts.map((part) => [part.firstLine, parse(part.text)])).toEqual([
      [1, { a: 1 }],
      [2, { b: 2 }],
      [4, { c: 3 }],
    ]);
  });

  test("a second document in the text of one is refused at its place, and not left out", () => {
    expect(parse("a: 1\n---\nb: 2\n")).toBe("f:2:1 a second document begins in the text of one");
    expect(parse("---\na: 1\n")).toEqual({ a: 1 });
    expect(parse("a: 1\n...\n")).toEqual({ a: 1 });
  });

  test("a document that is broken does not take its neighbours along", () => {
    const [good, bad, better] = split("a: 1\n---\nb: [\n---\nc: 3\n");
    expect(parse(good?.text ?? "")).toEqual({ a: 1 });
    expect(parse(bad?.text ?? "")).toContain("Flow sequence");
    expect(parse(better?.text ?? "")).toEqual({ c: 3 });
  });

  test("nothing is nothing", () => {
    expect(split("")).toEqual([]);
    expect(split("\n# a\n---\n\n...\n--- # b\n")).toEqual([]);
  });

  test("a file that is too large is refused, and so is one of too many documents, at once", () => {
    const cpuMs = cpuTimer();
    expect(splitDocuments("f", "a: b\n".repeat(2_000_000))).toMatchObject({
      message: expect.stringContaining("larger than"),
    });
    const lines = "---\na: 1\n".repeat(500_000);
    expect(lines.length).toBeLessThan(meshLimits.maxFileBytes);
    expect(splitDocuments("f", lines)).toMatchObject({
      message: expect.stringContaining("more than 10000 documents"),
    });
    expect(cpuMs()).toBeLessThan(4_000);
    expect(split("---\na: 1\n".repeat(meshLimits.maxDocumentsPerFile))).toHaveLength(
      meshLimits.maxDocumentsPerFile,
    );
  });

  test("a million lines of one document are refused before they are parsed", () => {
    const cpuMs = cpuTimer();
    const [only] = split(`a:\n${"- b\n".repeat(1_000_000)}`);
    expect(parse(only?.text ?? "")).toBe(
      `f:1:1 the document is larger than ${meshLimits.maxDocumentBytes} bytes`,
    );
    expect(cpuMs()).toBeLessThan(4_000);
  });
});

describe("one document", () => {
  test("JSON is YAML, tabs and all", () => {
    expect(parse('{\n\t"a": 1,\n\t"b": [true,\n\tnull, "x"]\n}\n')).toEqual({ a: 1, b: [true, null, "x"] });
  });

  test("an alias stands for its anchor", () => {
    expect(parse("a: &x {p: 1}\nb: *x\nc: [*x, *x]\n")).toEqual({
      a: { p: 1 },
      b: { p: 1 },
      c: [{ p: 1 }, { p: 1 }],
    });
  });

  test.each([
    ["a key twice", "a: 1\nb:\n  c: 1\n  c: 2\n", "f:4:3 c is given twice; the first is on line 3"],
    ["a key twice, written differently", 'a: 1\n"a": 2\n', "f:2:1 a is given twice; the first is on line 1"],
    ["a cycle", "a: &x [1, *x]\n", "f:1:11 *x is a part of itself"],
    ["a long cycle", "a: &x\n  b: &y\n    c: *x\n", "f:3:8 *x is a part of itself"],
    ["no such anchor", "a: *x\n", "f:1:4 there is no anchor &x before this"],
    ["an unknown tag", "a: !secret b\n", "f:1:4 Unresolved tag: !secret"],
    [
      "a tag of a type we have no use for",
      "a: !!binary aGk=\n",
      "f:1:13 a value tagged tag:yaml.org,2002:binary is not supported",
    ],
    ["an object as a key", "? {a: 1}\n: 2\n", "f:1:3 a key must be a single word"],
    ["a directive", "%YAML 1.2\n", "f:2:1 Missing directives-end indicator line"],
    ["an end that is missing", "a: 'x\n", "f:2:1 Missing closing 'quote"],
  ])("%s", (_name, text, message) => {
    expect(parse(text)).toBe(message);
  });

  test("an alias bomb is defused", () => {
    const levels = Array.from(
      { length: 20 },
      (_, level) => `l${level + 1}: &l${level + 1} [*l${level}, *l${level}, *l${level}, *l${level}]`,
    );
    const cpuMs = cpuTimer();
    expect(parse(`l0: &l0 x\n${levels.join("\n")}\n`)).toContain("more than 100 aliases");
    expect(cpuMs()).toBeLessThan(4_000);
    const wide = `a: &a [${"x,".repeat(9_000)}]\nb: [${"*a,".repeat(10)}]\n`;
    expect(parse(wide)).toContain("more than 25000 values");
  });

  test("values nested too deep are refused", () => {
    expect(parse(`a: ${"[".repeat(70)}${"]".repeat(70)}\n`)).toContain("nested more than 64 deep");
    expect(parse(`a: ${"[".repeat(60)}${"]".repeat(60)}\n`)).toBeObject();
  });

  test("many keys are read in linear time", () => {
    const keys = Array.from({ length: 12_000 }, (_, index) => `key${index}: 1`).join("\n");
    const cpuMs = cpuTimer();
    expect(parse(keys)).toBeObject();
    expect(cpuMs()).toBeLessThan(8_000);
  });
});
