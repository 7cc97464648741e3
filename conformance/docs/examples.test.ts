/** Documents on the pages for users: what is shown there is valid, by the same reading and conversion as `fairlead validate`. */
import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { administratorKind } from "../../src/admin/control/administrator.ts";
import { readControlDocument } from "../../src/app/command/control_documents.ts";
import { tokenIssuerKind } from "../../src/config/control/token_issuers.ts";
import { convertDocuments } from "../../src/mesh/convert/convert_documents.ts";
import type { MeshDocument } from "../../src/mesh/documents/document.ts";
import { kindNames } from "../../src/mesh/documents/kinds/kinds.ts";
import { parseDocument } from "../../src/mesh/documents/parse.ts";
import { splitDocuments } from "../../src/mesh/documents/yaml.ts";
import { type DocumentError, formatLocation } from "../../src/mesh/location.ts";

const folder = join(import.meta.dir, "..", "..", "docs");
const pages = readdirSync(folder).filter((name) => name.endsWith(".md"));

/** Each fenced block of mesh documents as a file, with lines before it so that places are the page's. */
function blocksOf(page: string): readonly { readonly path: string; readonly text: string }[] {
  const text = readFileSync(join(folder, page), "utf8");
  return [...text.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].flatMap((match) => {
    const block = match[1] ?? "";
    if (!/^apiVersion:/m.test(block)) return [];
    const linesBefore = text.slice(0, match.index).split("\n").length;
    return { path: `docs/${page}`, text: "\n".repeat(linesBefore) + block };
  });
}

/** Those of a control plane itself are read as they are, and are no part of the mesh. */
function parse(blocks: ReturnType<typeof blocksOf>) {
  const documents: MeshDocument[] = [];
  const errors: DocumentError[] = [];
  for (const { path, text } of blocks) {
    const parts = splitDocuments(path, text);
    if ("message" in parts) {
      errors.push(parts);
      continue;
    }
    for (const part of parts) {
      const control = readControlDocument(part, "istio-system");
      const read = control === null ? parseDocument(part) : [{ ...control, document: null }];
      for (const entry of read) {
        errors.push(...entry.errors);
        if (entry.document !== null) documents.push(entry.document);
      }
    }
  }
  return { documents, errors };
}

/** What `fairlead validate` says of the page's documents together, which are one mesh. */
function findingsOf(page: string): {
  readonly errors: readonly string[];
  readonly warnings: readonly string[];
} {
  const { documents, errors } = parse(blocksOf(page));
  const converted = convertDocuments(documents, {
    trustDomain: "cluster.local",
    clusterId: "",
    rootNamespace: "istio-system",
    network: "",
  });
  return {
    errors: [...errors, ...converted.errors].map(
      ({ location, message }) => `${formatLocation(location)}: ${message}`,
    ),
    warnings: converted.statuses.flatMap(({ warnings }) =>
      warnings.map(({ location, message }) => `${formatLocation(location)}: ${message}`),
    ),
  };
}

describe("documents on the pages", () => {
  for (const page of pages.filter((name) => blocksOf(name).length > 0))
    test(`docs/${page}: all are valid`, () => {
      expect(findingsOf(page).errors).toEqual([]);
    });

  test("docs/waypoint.md: what they refer to is there, and every kind for waypoints is shown", () => {
    const { warnings } = findingsOf("waypoint.md");
    const expected = /it is for a waypoint|without spec\.addresses it has no VIP/;
    expect(warnings.filter((warning) => !expected.test(warning))).toEqual([]);
    const kinds = new Set(parse(blocksOf("waypoint.md")).documents.map((document) => document.kind));
    for (const kind of [
      ...([
        "Gateway",
        "RequestAuthentication",
        "AuthorizationPolicy",
        "AccessCondition",
        "MeshConfig",
      ] as const),
      ...([
        "VirtualService",
        "DestinationRule",
        "HTTPRoute",
        "GRPCRoute",
        "RateLimit",
        "Middleware",
      ] as const),
    ])
      expect(kinds).toContain(kind);
  });

  test("docs/kinds.md: one of every kind that fairlead validate knows, and nothing in it is without effect", () => {
    const kinds = blocksOf("kinds.md").flatMap(({ text }) =>
      [...text.matchAll(/^kind: (\w+)$/gm)].map(([, kind = ""]) => kind),
    );
    const all = [...kindNames, administratorKind, tokenIssuerKind];
    expect(all.filter((kind) => !kinds.includes(kind))).toEqual([]);
    const { warnings } = findingsOf("kinds.md");
    const expected = /it is for a waypoint|without spec\.addresses it has no VIP/;
    expect(warnings.filter((warning) => !expected.test(warning))).toEqual([]);
  });

  test("a word that is wrong would be found, with the page's line", () => {
    const [block] = blocksOf("waypoint.md");
    const text = (block?.text ?? "").replace("serviceAccount: web", "serviceAcount: web");
    const { errors } = parse([{ path: "docs/waypoint.md", text }]);
    const line = text.split("\n").findIndex((each) => each.includes("serviceAcount")) + 1;
    expect(errors.map(({ location }) => location.line)).toEqual([line]);
  });
});
