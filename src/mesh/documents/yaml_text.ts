/** A node back into text, for an item of a list that becomes a document of its own. Read again it is the same node. */
import type { YamlNode } from "./yaml.ts";

/** YAML in blocks; strings quoted wherever they could be taken for something else. */
export function formatYaml(node: YamlNode): string {
  return `${lines(node).join("\n")}\n`;
}

function lines(node: YamlNode): readonly string[] {
  switch (node.kind) {
    case "scalar":
      return [scalarText(node.value, node.source)];
    case "list":
      if (node.items.length === 0) return ["[]"];
      return node.items.flatMap((item) => hanging("- ", lines(item)));
    case "map":
      if (node.entries.length === 0) return ["{}"];
      return node.entries.flatMap(({ key, value }) => member(keyText(key), value));
  }
}

function member(key: string, value: YamlNode): readonly string[] {
  const text = lines(value);
  const isBlock =
    (value.kind === "list" && value.items.length > 0) || (value.kind === "map" && value.entries.length > 0);
  return isBlock ? [`${key}:`, ...text.map((line) => `  ${line}`)] : [`${key}: ${text[0] ?? ""}`];
}

/** The first line after the dash, the others below it. */
function hanging(prefix: string, text: readonly string[]): readonly string[] {
  return text.map((line, index) => (index === 0 ? prefix : "  ") + line);
}

/** What is no string stays as it was written: `1.10` is a number, and still not `1.1`. */
function scalarText(value: string | number | boolean | null, source: string): string {
  if (typeof value === "string")
    return plain.test(value) && !notText.test(value) ? value : JSON.stringify(value);
  return source === "" ? "null" : source;
}

function keyText(key: string): string {
  return plain.test(key) && !notText.test(key) ? key : JSON.stringify(key);
}

/** Letters first, and nothing in it that YAML gives a meaning to. */
const plain = /^[A-Za-z_/][A-Za-z0-9_./-]*$/;
const notText = /^(?:null|true|false|yes|no|on|off|y|n)$/i;
