/** Bounds of values, words and of what waypoints are told: at each a document is taken, and one past it refused. */
import { describe, expect, test } from "bun:test";
import { authLimits } from "../../base/limits/auth.ts";
import { meshLimits } from "../../base/limits/mesh.ts";
import { middlewareLimits } from "../../base/limits/middleware.ts";
import { waypointLimits } from "../../base/limits/waypoint.ts";
import { parseDocuments } from "./parse.ts";
import { parseYaml, splitDocuments } from "./yaml.ts";

function errorsOf(kind: string, group: string, spec: string): readonly string[] {
  const metadata = kind === "MeshConfig" ? "name: default" : "name: d, namespace: shop";
  const text = `apiVersion: ${group}/v1\nkind: ${kind}\nmetadata: {${metadata}}\nspec:\n${spec.replace(/^/gm, "  ")}\n`;
  return parseDocuments([{ path: "f", text }]).errors.map(({ message }) => message);
}

const list = (count: number, item: (index: number) => string): string =>
  `[${Array.from({ length: count }, (_, index) => item(index)).join(", ")}]`;
const target = "targetRefs: [{kind: Service, name: cart}]\n";
const keySet = (chars: number): string => {
  const empty = '{"keys": [{"kty": "RSA", "kid": ""}]}';
  return empty.replace('""', `"${"k".repeat(chars - empty.length)}"`);
};

describe("a document", () => {
  const bounds: readonly (readonly [
    what: string,
    bound: number,
    errors: (count: number) => readonly string[],
  ])[] = [
    [
      "the order of a middleware",
      middlewareLimits.maxOrder,
      (count) => errorsOf("Middleware", "fairlead.dev", `${target}file: a.ts\norder: ${count}`),
    ],
    [
      "the order of a middleware that comes first",
      middlewareLimits.maxOrder,
      (count) => errorsOf("Middleware", "fairlead.dev", `${target}file: a.ts\norder: -${count}`),
    ],
    [
      "settings of a middleware",
      middlewareLimits.maxConfigEntries,
      (count) =>
        errorsOf(
          "Middleware",
          "fairlead.dev",
          `${target}file: a.ts\nconfig: {${list(count, (index) => `k${index}: v`).slice(1, -1)}}`,
        ),
    ],
    [
      "conditions",
      authLimits.maxConditions,
      (count) =>
        errorsOf(
          "AccessCondition",
          "fairlead.dev",
          `${target}conditions: ${list(count, () => '{expression: "true", message: no}')}`,
        ),
    ],
    [
      "external authorizers",
      authLimits.maxAuthorizers,
      (count) =>
        errorsOf(
          "MeshConfig",
          "fairlead.dev",
          `extensionProviders: ${list(count, (index) => `{name: a${index}, envoyExtAuthzGrpc: {service: shop/a.example, port: 1}}`)}`,
        ),
    ],
    [
      "audiences of an issuer",
      authLimits.maxRuleItems,
      (count) =>
        errorsOf(
          "RequestAuthentication",
          "security.istio.io",
          `jwtRules:\n- issuer: i\n  jwks: '{"keys": [{"kty": "RSA"}]}'\n  audiences: ${list(count, (index) => `a${index}`)}`,
        ),
    ],
    [
      "characters of keys in a document",
      authLimits.maxInlineKeySetChars,
      (count) =>
        errorsOf(
          "RequestAuthentication",
          "security.istio.io",
          `jwtRules:\n- issuer: i\n  jwks: '${keySet(count)}'`,
        ),
    ],
    [
      "characters of a workload's address",
      meshLimits.maxAddressLength,
      (count) => errorsOf("WorkloadEntry", "networking.istio.io", `address: ${hostName(count)}`),
    ],
  ];
  test.each(bounds)("%s", (_, bound, errors) => {
    expect(errors(bound).filter((message) => !message.includes("host name"))).toEqual([]);
    const [error = ""] = errors(bound + 1);
    expect(error).toContain(String(bound));
  });

  test("the size of a Maglev table, which is a prime", () => {
    const errors = (size: number): string =>
      errorsOf(
        "DestinationRule",
        "networking.istio.io",
        `host: a\ntrafficPolicy: {loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: ${size}}}}}`,
      ).join();
    const { maxMaglevTableSize } = waypointLimits;
    expect(errors(maxMaglevTableSize)).toBe("");
    expect(errors(maxMaglevTableSize - 1)).toContain("must be a prime number");
    expect(errors(maxMaglevTableSize + 1)).toContain(String(maxMaglevTableSize));
  });

  const firstErrorOf = (text: string): string => {
    const cut = splitDocuments("f", text);
    if ("message" in cut) return cut.message;
    const [document] = cut;
    if (document === undefined) return "no document";
    const parsed = parseYaml(document);
    return "errors" in parsed ? (parsed.errors[0]?.message ?? "") : "";
  };

  test("values, those that aliases stand for among them", () => {
    const { maxNodesPerDocument } = meshLimits;
    // The list, and in it a hundred lists of 201 values each, all but the first by an alias, which is one more.
    const text = (lists: number, more: number): string =>
      `- &one [${"1, ".repeat(199)}1]\n${"- *one\n".repeat(lists - 1)}${"- 1\n".repeat(more)}`;
    const more = maxNodesPerDocument - 1 - 201 - 99 * 202;
    expect(firstErrorOf(text(100, more))).toBe("");
    expect(firstErrorOf(text(100, more + 1))).toContain(`more than ${maxNodesPerDocument} values`);
  });

  test("words and signs, which are counted a thousand at a time", () => {
    const { maxTokensPerDocument } = meshLimits;
    const text = (words: number): string => `[${"1,".repeat((words - 2) / 2)}]\n`;
    expect(firstErrorOf(text(maxTokensPerDocument - 1_000))).not.toContain("words and signs");
    expect(firstErrorOf(text(maxTokensPerDocument + 2_002))).toContain(
      `more than ${maxTokensPerDocument} words and signs`,
    );
  });
});

/** A host name of so many characters. */
function hostName(chars: number): string {
  const label = "a".repeat(60);
  return `${label}.${label}.${label}.${label}.`.padEnd(chars, "b").slice(0, chars);
}
