/** JSON Schemas of documents for editors (draft 7, which the YAML language server knows), made of the code that reads them. */
import { administratorKind, readAdministrator } from "../src/admin/control/administrator.ts";
import { runSteps } from "../src/base/turns/time_slice.ts";
import { readTokenIssuer, tokenIssuerKind } from "../src/config/control/token_issuers.ts";
import { apiVersionsOf, kindNames, kindOf, type MeshKind } from "../src/mesh/documents/kinds/kinds.ts";
import { readMetadata } from "../src/mesh/documents/metadata.ts";
import { type Asked, ObjectReader } from "../src/mesh/documents/reader.ts";
import type { YamlNode } from "../src/mesh/documents/yaml.ts";
import type { Location } from "../src/mesh/location.ts";
import { explore, type Json, type Shape } from "./schema_explore.ts";

export interface JsonSchema {
  readonly [keyword: string]:
    | Json
    | JsonSchema
    | readonly JsonSchema[]
    | Readonly<Record<string, JsonSchema>>;
}

const fairleadVersion = "fairlead.dev/v1";
const draft = "http://json-schema.org/draft-07/schema#";
const rootFields = ["apiVersion", "kind", "metadata", "spec", "status"];

/** Of one kind of the mesh's. */
export function schemaOf(kind: MeshKind): JsonSchema {
  const { read } = kindOf(kind);
  const shape = explore(
    (document, problems) => {
      const root = ObjectReader.open(yamlOf(document), "", problems);
      if (root === null) return;
      root.checkFields({ known: rootFields });
      const metadata = readMetadata(root, kind, problems);
      if (metadata !== null) read(root, metadata, nowhere, problems);
    },
    { metadata: { name: "a" } },
  );
  return documentSchema(kind, apiVersionsOf(kindOf(kind)), shape);
}

/** @param shape of documents of the kind, as `explore` found it. */
export function documentSchema(kind: string, apiVersions: readonly string[], shape: Shape): JsonSchema {
  const root = objectSchema("", shape);
  return {
    $schema: draft,
    title: kind,
    description: `${kind} (${apiVersions.join(", ")}), as Fairlead reads it`,
    ...root,
    properties: {
      ...(root.properties as Readonly<Record<string, JsonSchema>>),
      apiVersion: { enum: apiVersions },
      kind: { const: kind },
    },
    required: ["apiVersion", "kind", "metadata"],
  };
}

/** One schema for files of several kinds: which one counts is what the document itself says. */
export function schemaOfAll(schemas: Readonly<Record<string, JsonSchema>>): JsonSchema {
  return {
    $schema: draft,
    title: "Fairlead",
    description: "Any document that Fairlead reads",
    type: "object",
    required: ["apiVersion", "kind"],
    properties: { kind: { enum: Object.keys(schemas) } },
    allOf: Object.keys(schemas).map((kind) => ({
      if: { properties: { kind: { const: kind } } },
      // biome-ignore lint/suspicious/noThenProperty: it is JSON Schema's keyword
      then: { $ref: `#/definitions/${kind}` },
    })),
    definitions: Object.fromEntries(
      Object.entries(schemas).map(([kind, { $schema, ...schema }]) => [kind, schema]),
    ),
  };
}

export function meshSchemas(): Readonly<Record<MeshKind, JsonSchema>> {
  return Object.fromEntries(kindNames.map((kind) => [kind, schemaOf(kind)])) as Record<MeshKind, JsonSchema>;
}

function schemaAt(path: string, shape: Shape): JsonSchema {
  const asked = shape.get(path) ?? [];
  const kinds = new Set(asked.map(({ kind }) => kind));
  const alternatives: JsonSchema[] = [
    ...(kinds.has("object") ? [objectSchema(path, shape)] : []),
    ...(kinds.has("map") && !kinds.has("object")
      ? [{ type: "object", additionalProperties: schemaAt(`${path}{}`, shape) }]
      : []),
    ...(kinds.has("list") ? [{ type: "array", items: schemaAt(`${path}[]`, shape) }] : []),
    ...textSchemas(asked),
    ...(kinds.has("boolean") ? [{ type: "boolean" }] : []),
    ...(kinds.has("null") ? [{ type: "null" }] : []),
    ...(["integer", "number"] as const).flatMap((kind) => numberSchemas(kind, asked)),
  ];
  const [only] = alternatives;
  // Nothing was asked about it: it is taken, whatever it is.
  if (only === undefined) return {};
  return alternatives.length === 1 ? only : { anyOf: alternatives };
}

function objectSchema(path: string, shape: Shape): JsonSchema {
  const asked = shape.get(path) ?? [];
  const fields = new Set(asked.flatMap((one) => (one.kind === "object" ? one.fields : [])));
  const properties = Object.fromEntries(
    [...fields].map((field) => [field, schemaAt(path === "" ? field : `${path}.${field}`, shape)]),
  );
  const others = asked.some(({ kind }) => kind === "map") ? schemaAt(`${path}{}`, shape) : false;
  return { type: "object", properties, additionalProperties: others };
}

function textSchemas(asked: readonly Asked[]): readonly JsonSchema[] {
  if (asked.some(({ kind }) => kind === "string")) return [{ type: "string" }];
  const words = new Set(asked.flatMap((one) => (one.kind === "choice" ? one.words : [])));
  return words.size === 0 ? [] : [{ enum: [...words] }];
}

/** The widest of the ranges that were asked for. */
function numberSchemas(kind: "integer" | "number", asked: readonly Asked[]): readonly JsonSchema[] {
  const ranges = asked.flatMap((one) => (one.kind === kind && "least" in one ? [one] : []));
  if (ranges.length === 0) return [];
  const minimum = Math.min(...ranges.map(({ least }) => least));
  const maximum = Math.max(...ranges.map(({ most }) => most));
  return [{ type: kind, minimum, ...(Number.isFinite(maximum) ? { maximum } : {}) }];
}

const nowhere: Location = { file: "", line: 1, column: 1 };

function yamlOf(value: Json): YamlNode {
  if (Array.isArray(value)) return { kind: "list", at: nowhere, items: value.map(yamlOf) };
  if (typeof value !== "object" || value === null)
    return {
      kind: "scalar",
      at: nowhere,
      value: value as string | number | boolean | null,
      source: String(value),
    };
  return {
    kind: "map",
    at: nowhere,
    entries: Object.entries(value).flatMap(([key, one]) =>
      one === undefined ? [] : [{ key, keyAt: nowhere, value: yamlOf(one) }],
    ),
  };
}

/** Of who runs a control plane: these readers take text, and JSON is YAML. */
export function controlSchemas(): Readonly<Record<string, JsonSchema>> {
  const text = (document: Json) => ({ file: "", firstLine: 1, text: JSON.stringify(document) });
  const administrator = explore(
    (document, problems) => void runSteps(readAdministrator(text(document), "istio-system", problems)),
    { apiVersion: fairleadVersion, kind: administratorKind, metadata: { name: "a" } },
  );
  const tokenIssuer = explore((document, problems) => void readTokenIssuer(text(document), problems), {
    apiVersion: fairleadVersion,
    kind: tokenIssuerKind,
    metadata: { name: "a" },
  });
  return {
    [administratorKind]: documentSchema(administratorKind, [fairleadVersion], administrator),
    [tokenIssuerKind]: documentSchema(tokenIssuerKind, [fairleadVersion], tokenIssuer),
  };
}

/** Of every kind that `fairlead validate` knows. */
export function allSchemas(): JsonSchema {
  return schemaOfAll({ ...meshSchemas(), ...controlSchemas() });
}
