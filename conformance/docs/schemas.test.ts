/** The JSON Schemas for editors say of documents what the program says: whatever it takes they take, and a slip that it finds they find. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "yaml";
import schemas from "../../docs/schemas/fairlead.json" with { type: "json" };
import { kindNames } from "../../src/mesh/documents/kinds/kinds.ts";
import { completeDocuments } from "../../src/mesh/documents/kinds/traffic/testing/complete.ts";
import { type Case, unmark } from "../istio/case.ts";
import { groups } from "../istio/run.ts";
import { pages, pageText, repository } from "./pages.ts";
import { schemaFaults } from "./schema_check.ts";

type Definition = Readonly<Record<string, unknown>>;
const definitions: Readonly<Record<string, Definition>> = schemas.definitions;

/** What the schemas say of a document of a kind that they have. */
function faultsOf(text: string): readonly string[] {
  const document: unknown = parse(text);
  const { kind } = document as { readonly kind: string };
  const definition = definitions[kind];
  expect(definition === undefined ? `no schema of ${kind}` : null).toBeNull();
  return schemaFaults(definition ?? {}, document).map((fault) => `${kind}: ${fault}`);
}

const cases: readonly Case[] = Object.values(groups).flat();
const isOfOurs = (text: string) => Object.keys(definitions).includes(/^kind: "?(\w+)/m.exec(text)?.[1] ?? "");

/** Each document of the fenced blocks of the pages and of the examples. */
function documentsOfPages(): readonly string[] {
  const blocks = pages.flatMap((page) =>
    [...pageText(page).matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map(([, block = ""]) => block),
  );
  const files = ["shop", "control/mesh"].flatMap((folder) =>
    readdirSync(join(repository, "examples", folder)).map((name) =>
      readFileSync(join(repository, "examples", folder, name), "utf8"),
    ),
  );
  return [...blocks, ...files]
    .flatMap((text) => text.split(/^---$/m))
    .filter((text) => /^apiVersion:/m.test(text) && isOfOurs(text));
}

describe("schemas for editors", () => {
  test("there is one of every kind", () => {
    expect(Object.keys(definitions).sort()).toEqual([...kindNames, "Administrator", "TokenIssuer"].sort());
  });

  test("take what the program takes: documents of the pages and examples, complete ones, and Istio's cases", () => {
    const good = cases.filter(({ verdict }) => verdict.kind === "taken").map(({ text }) => unmark(text).text);
    const all = [...documentsOfPages(), ...Object.values(completeDocuments), ...good.filter(isOfOurs)];
    expect(all.length).toBeGreaterThan(250);
    const refused = all.flatMap((text) => faultsOf(text).map((fault) => `${fault}\n${text}`));
    expect(refused).toEqual([]);
  });

  test("find fields that there are not, at every depth, wrong words and wrong types", () => {
    const wrong = completeDocuments.VirtualService ?? "";
    for (const [from, to, says] of [
      ["attempts: 3", "atempts: 3", ".spec.http[0].retries has no atempts"],
      ["attempts: 3", 'attempts: "3"', ".spec.http[0].retries.attempts is no integer"],
      ["hosts: [", "hosts: reviews #", ".spec.hosts is no array"],
      ["  http:", "  htttp:", ".spec has no htttp"],
    ] as const) {
      expect(wrong).toContain(from);
      expect(faultsOf(wrong.replace(from, to))).toContain(`VirtualService: ${says}`);
    }
    const policy = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: a, namespace: shop}
spec: {action: PERMIT, rules: [{from: [{source: {principal: [a]}}]}]}
`;
    expect(faultsOf(policy)).toEqual([
      "AuthorizationPolicy: .spec.action is none of ALLOW,DENY,AUDIT,CUSTOM",
      "AuthorizationPolicy: .spec.rules[0].from[0].source has no principal",
    ]);
  });
});
