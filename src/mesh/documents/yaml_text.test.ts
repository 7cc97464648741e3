import { expect, test } from "bun:test";
import fc from "fast-check";
import { parseYaml, type YamlNode } from "./yaml.ts";
import { formatYaml } from "./yaml_text.ts";

function read(text: string): YamlNode {
  const parsed = parseYaml({ file: "f", firstLine: 1, text });
  if (!("root" in parsed)) throw new Error(`${parsed.errors[0]?.message} in\n${text}`);
  return parsed.root;
}

/** Values and how numbers were written, without places. */
function plain(node: YamlNode): unknown {
  switch (node.kind) {
    case "scalar":
      return typeof node.value === "number" ? { number: node.source } : node.value;
    case "list":
      return node.items.map(plain);
    case "map":
      return new Map(node.entries.map(({ key, value }) => [key, plain(value)]));
  }
}

test("a document reads well", () => {
  const text =
    "kind: A\nspec:\n  ports:\n    - number: 0x10\n      name: \"8080\"\n    - {}\n  on: [a, 'no', ~, 1.10]\n";
  expect(formatYaml(read(text))).toBe(
    'kind: A\nspec:\n  ports:\n    - number: 0x10\n      name: "8080"\n    - {}\n  "on":\n    - a\n    - "no"\n    - ~\n    - 1.10\n',
  );
});

test("whatever was read reads the same once it was written", () => {
  fc.assert(
    fc.property(fc.json({ maxDepth: 4 }), (json) => {
      const node = read(json);
      expect(plain(read(formatYaml(node)))).toEqual(plain(node));
    }),
  );
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const node = read(JSON.stringify({ [text]: text, list: [text, [text, { [text]: [] }]] }));
      expect(plain(read(formatYaml(node)))).toEqual(plain(node));
    }),
  );
});
