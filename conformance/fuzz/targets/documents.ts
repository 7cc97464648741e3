/** Documents of tenants: YAML into nodes, and nodes into what the mesh understands. Seeds are Istio's own cases and documentation. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { completeDocuments } from "../../../src/mesh/documents/kinds/traffic/testing/complete.ts";
import { parseInSteps } from "../../../src/mesh/documents/parse.ts";
import {
  type DocumentText,
  parseYamlInSteps,
  splitInSteps,
  type YamlNode,
} from "../../../src/mesh/documents/yaml.ts";
import { formatYaml } from "../../../src/mesh/documents/yaml_text.ts";
import { authorizationPolicyCases } from "../../istio/authorization_policy.ts";
import { type Case, unmark } from "../../istio/case.ts";
import { destinationRuleCases } from "../../istio/destination_rule.ts";
import { kindCases } from "../../istio/kinds.ts";
import { metadataCases } from "../../istio/metadata.ts";
import { policyValueCases } from "../../istio/policy_values.ts";
import { serviceEndpointCases } from "../../istio/service_endpoints.ts";
import { holds, type Look, same, type Target } from "../target.ts";

/** Each step is a turn. */
function inTurns<T>(steps: Generator<void, T>, look: Look): T {
  for (;;) {
    const step = look.turn(() => steps.next());
    if (step.done === true) return step.value;
  }
}

/** Without the places: a text that is written again is written elsewhere. */
function values(node: YamlNode): unknown {
  switch (node.kind) {
    case "scalar":
      return node.value;
    case "list":
      return node.items.map(values);
    case "map":
      return node.entries.map(({ key, value }) => [key, values(value)]);
  }
}

function run(input: Uint8Array, look: Look): void {
  const text = new TextDecoder().decode(input);
  const parts = inTurns(splitInSteps("a.yaml", text), look);
  if ("message" in parts) return;
  for (const part of parts) checkPart(part, text, look);
}

function checkPart(part: DocumentText, text: string, look: Look): void {
  holds(text.includes(part.text), "a document is a part of its file");
  const entries = inTurns(parseInSteps(part), look);
  const lines = text.split("\n").length;
  for (const { document, errors, key } of entries) {
    holds(
      (document === null) === (errors.length > 0 || key === null),
      "a document is taken, or it is said why not",
    );
    for (const { location } of errors)
      holds(
        location.line >= 1 && location.line <= lines + 1 && location.column >= 1,
        "an error is at a place in the file",
      );
  }
  const yaml = inTurns(parseYamlInSteps(part), look);
  if (!("root" in yaml)) return;
  const written = formatYaml(yaml.root);
  const again = inTurns(parseYamlInSteps({ file: "a.yaml", firstLine: 1, text: written }), look);
  holds(
    "root" in again,
    `what was read is written so that it is read again: ${"errors" in again ? again.errors[0]?.message : ""}`,
  );
  same(values(again.root), values(yaml.root), "written and read again");
}

const cases: readonly Case[] = [
  ...authorizationPolicyCases,
  ...destinationRuleCases,
  ...kindCases,
  ...metadataCases,
  ...policyValueCases,
  ...serviceEndpointCases,
];

function seeds(): readonly Uint8Array[] {
  const shop = join(import.meta.dir, "..", "..", "..", "examples", "shop");
  return [
    ...Object.values(completeDocuments),
    ...readdirSync(shop).map((name) => readFileSync(join(shop, name), "utf8")),
    ...cases.map(({ text }) => unmark(text).text),
    "a: &x [1, *x]\n---\nb: !!binary aGk=\n...\n? [k]\n: v\n",
    'a: "\\u0041\\n"\nb: |\n  text\n   more\nc: >-\n  folded\n\n  text\n<<: {d: 1}\n',
    '{"kind": "List", "items": [{"kind": "Namespace", "apiVersion": "v1", "metadata": {"name": "a"}}]}',
    "a: 0x1f\nb: 1e3\nc: .inf\nd: ~\ne: 0o17\nf: 2001-01-01\ng: -0\n",
  ]
    .map((text) => new TextEncoder().encode(text))
    .filter(({ length }) => length <= target.maxBytes);
}

export const target: Target = {
  maxBytes: 6144,
  seeds,
  dictionary: [
    "\n  ",
    "\n- ",
    ": ",
    "---\n",
    "...\n",
    "&a ",
    "*a",
    "!!str ",
    "? ",
    "|\n",
    ">-\n",
    "{",
    "}",
    "[",
    "]",
    "'",
    '"',
    "#",
    "<<: ",
    "\t",
    "%YAML 1.2\n",
  ],
  run,
};
