/**
 * No field of a waypoint's kinds is ignored in silence. Every field that the readers know (by the schemas, which are made of them) is in a
 * document here, and without it, or with another value, the document is read otherwise or refused; or it is refused always. What they
 * do not know is refused with its place (`find fields that there are not`, schemas.test.ts). What is read reaches the plan of traffic.
 */
import { describe, expect, test } from "bun:test";
import { parse } from "yaml";
import schemas from "../../docs/schemas/fairlead.json" with { type: "json" };
import { convertDocuments } from "../../src/mesh/convert/convert_documents.ts";
import { completeDocuments } from "../../src/mesh/documents/kinds/traffic/testing/complete.ts";
import { parseDocuments } from "../../src/mesh/documents/parse.ts";
import { context } from "../../src/mesh/testing/convert_text.ts";
import { planTraffic } from "../../src/mesh/traffic/plan_traffic.ts";
import { fieldDocuments, refusedFields } from "./field_documents.ts";

type Json = string | number | boolean | null | Json[] | { [key: string]: Json };
type Path = readonly (string | number)[];
type Schema = Readonly<Record<string, unknown>>;

const kinds = [
  ...["VirtualService", "DestinationRule", "HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute"],
  ...["BackendTLSPolicy", "ReferenceGrant", "RateLimit", "RequestAuthentication", "AuthorizationPolicy"],
  ...["AccessCondition", "MeshConfig", "Telemetry", "Middleware"],
];
const definitions: Readonly<Record<string, Schema>> = schemas.definitions;
const documents = [...Object.values(completeDocuments), ...fieldDocuments].map((text) => parse(text) as Json);

/** What is the same with the value that is there, or with none. */
const saysNothing: Readonly<Record<string, string>> = {
  "Telemetry spec.tracing[].providers": "there is one, otel",
  "Telemetry spec.tracing[].providers[]": "there is one, otel",
  "Telemetry spec.metrics[].providers": "there is one, prometheus",
  "Telemetry spec.metrics[].providers[]": "there is one, prometheus",
};

/** One reader reads all of a family. */
function familyOf(kind: string, path: string): string {
  const policy = path
    .replace(/^spec\.subsets\[\]\.trafficPolicy\./, "spec.trafficPolicy.")
    .replace(/^spec\.trafficPolicy\.portLevelSettings\[\]\.(?!port)/, "spec.trafficPolicy.");
  const match = policy
    .replace(/^spec\.http\[\]\.match\[\]/, "match")
    .replace(/^spec\.rules\[\]\.match\[\]/, "match");
  return kind === "VirtualService" || kind === "RateLimit" ? match : policy;
}

function of(kind: string): readonly Json[] {
  return documents.filter((document) => at(document, ["kind"]) === kind);
}

function at(value: Json, path: Path): Json {
  return path.reduce<Json>((inner, key) => (inner as { [key: string]: Json })[key] ?? null, value);
}

/** @param value undefined: without it. */
function changed(document: Json, path: Path, value: Json | undefined): Json {
  const copy = structuredClone(document);
  const inside = at(copy, path.slice(0, -1));
  const key = path.at(-1) ?? "";
  if (value !== undefined) (inside as { [key: string]: Json })[key] = value;
  else if (Array.isArray(inside)) inside.splice(Number(key), 1);
  else delete (inside as { [key: string]: Json })[key];
  return copy;
}

function* pathsIn(value: Json, path: Path = []): Generator<Path> {
  if (path.length > 0) yield path;
  if (typeof value !== "object" || value === null) return;
  const entries = Array.isArray(value) ? value.entries() : Object.entries(value);
  for (const [key, inner] of entries) yield* pathsIn(inner, [...path, key]);
}

function nameOf(path: Path): string {
  return path
    .map((key) => (typeof key === "number" ? "[]" : `.${key}`))
    .join("")
    .slice(1);
}

const places = new Set(["at", "keyAt", "location", "line", "column"]);

/** All that is said, without where. */
function said(value: unknown): unknown {
  if (value instanceof Map) return [...value].map(([key, inner]) => [said(key), said(inner)]);
  if (value instanceof Set || value instanceof Uint8Array) return [...value].map(said);
  if (Array.isArray(value)) return value.map(said);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([key]) => !places.has(key));
  return Object.fromEntries(entries.map(([key, inner]) => [key, said(inner)]));
}

const refused = "refused";

/** What comes of a document that is read. */
type Reading = (document: Json) => string;

function asRead(document: Json): string {
  const { documents: read, errors } = parseDocuments([{ path: "f", text: JSON.stringify(document) }]);
  return errors.length > 0 ? refused : JSON.stringify(said(read));
}

/** Every word that the kind knows, and what is no word of its. */
function othersOf(value: Json, words: readonly string[]): readonly Json[] {
  if (typeof value === "boolean") return [!value];
  if (typeof value === "number") return [value + 1, value * 2 + 1];
  return typeof value === "string" ? [`${value}a`, "x", "2m", ...words] : [];
}

/** @returns the fields by which nothing changes in any of the documents: neither without them, nor with another value, and none is refused. */
function ignoredIn(all: readonly Json[], read: Reading, words: readonly string[]): readonly string[] {
  const seen = new Set<string>();
  const heeded = new Set<string>();
  for (const document of all) {
    const before = read(document);
    expect([before === refused, JSON.stringify(document)]).toEqual([false, expect.any(String)]);
    for (const path of pathsIn(document)) {
      const name = nameOf(path);
      if (path[0] !== "spec" || heeded.has(name)) continue;
      seen.add(name);
      const others = othersOf(at(document, path), words);
      if (isHeeded(document, path, others, read, before)) heeded.add(name);
    }
  }
  const isPartHeeded = (name: string) =>
    [...heeded].some((part) => part.startsWith(`${name}.`) || part.startsWith(`${name}[`));
  return [...seen].filter((name) => !heeded.has(name) && !isPartHeeded(name));
}

function isHeeded(
  document: Json,
  path: Path,
  others: readonly Json[],
  read: Reading,
  before: string,
): boolean {
  if (read(changed(document, path, undefined)) !== before) return true;
  let isRefused = others.length > 0;
  for (const other of others) {
    const after = read(changed(document, path, other));
    if (after !== before && after !== refused) return true;
    isRefused &&= after === refused;
  }
  // One value is taken, and no other.
  return isRefused;
}

function wordsOf(schema: unknown): readonly string[] {
  if (typeof schema !== "object" || schema === null) return [];
  const own = "enum" in schema && Array.isArray(schema.enum) ? schema.enum : [];
  return [...own, ...Object.values(schema).flatMap(wordsOf)].filter((word) => typeof word === "string");
}

function fieldsOf(schema: unknown, path: string): readonly string[] {
  if (typeof schema !== "object" || schema === null) return [];
  const { anyOf = [], properties = {}, items, additionalProperties } = schema as Schema;
  const inner = Object.entries(properties as Schema).flatMap(([name, value]) => {
    const here = path === "" ? name : `${path}.${name}`;
    return [here, ...fieldsOf(value, here)];
  });
  return [
    ...(anyOf as readonly unknown[]).flatMap((one) => fieldsOf(one, path)),
    ...inner,
    ...fieldsOf(items, `${path}[]`),
    ...fieldsOf(additionalProperties, `${path}.*`),
  ];
}

function isAt(field: string, name: string): boolean {
  const parts = field.split(".");
  const found = name.split(".");
  return parts.length === found.length && parts.every((part, index) => part === "*" || part === found[index]);
}

const hosts = ["reviews.shop.mesh", "mirror.mesh", "b.mesh", "api.outside.example", "reviews.other.mesh"];
const services = [
  ...["reviews", "greeter", "db", "secure", "mirror", "m", "w"].map(
    (name) => `${name}.shop.svc.cluster.local`,
  ),
  ...["reviews-v1", "greeter-v2", "db-a", "db-b", "secure-a"].map((name) => `${name}.shop.svc.cluster.local`),
  ...hosts,
].map((host) => {
  const name = host === "api.outside.example" ? "outside" : host.replaceAll(".", "-");
  const ports = [80, 443, 1, 5432, 8443, 9080, 27017, 50051].map((number) => {
    const protocol =
      number === 443 || number === 8443 ? "TLS" : number > 5000 && number !== 9080 ? "TCP" : "HTTP";
    return `{number: ${number}, name: ${number === 8443 ? "https" : `p${number}`}, protocol: ${number === 50051 ? "GRPC" : protocol}}`;
  });
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: shop}
spec: {hosts: [${host}], ports: [${ports.join(", ")}], resolution: STATIC, endpoints: [{address: 10.0.0.1, labels: {version: v1}}, {address: 10.0.0.2, labels: {version: v2}}]}
---
`;
});
const subsets = ["b.mesh", "mirror.mesh"].map(
  (host) => `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: of-${host.replace(".", "-")}, namespace: shop}
spec: {host: ${host}, subsets: [{name: v1, labels: {version: v1}}]}
---
`,
);
const web = [...services, ...subsets].join("").replace("name: b-mesh,", "name: web,");
const scope = { waypoint: { namespace: "shop", gateways: ["shop/waypoint"] }, serves: () => true };
const none = planTraffic([], [], { ...scope, rootNamespace: "root" }, { warn: () => {} });

function asPlanned(document: Json): string {
  const text = web + JSON.stringify(document);
  const { documents: read, errors } = parseDocuments([{ path: "f", text }]);
  if (errors.length > 0) return refused;
  const warnings: string[] = [];
  const report = { warn: (_about: unknown, _reason: string, message: string) => void warnings.push(message) };
  const { services: all } = convertDocuments(read, context);
  const plan = planTraffic(read, all, { ...scope, rootNamespace: "root" }, report, none);
  return JSON.stringify([said(plan), warnings, said(read.map((one) => one.warnings))]);
}

describe("no field is ignored in silence", () => {
  test.each(kinds.map((kind) => [kind]))("%s: every field that is known is in a document", (kind) => {
    const names = new Set(
      of(kind).flatMap((document) => [...pathsIn(document)].map((path) => familyOf(kind, nameOf(path)))),
    );
    if (kind === "RateLimit")
      for (const document of of("VirtualService"))
        for (const path of pathsIn(document)) names.add(familyOf("VirtualService", nameOf(path)));
    const always = refusedFields.filter(([, text]) => text.includes(`kind: ${kind}\n`));
    const missing = fieldsOf(definitions[kind], "")
      .filter((field) => field.startsWith("spec") && !always.some(([path]) => path.test(field)))
      .filter((field) => ![...names].some((name) => isAt(familyOf(kind, field), name)));
    expect([...new Set(missing)]).toEqual([]);
  });

  test.each(kinds.map((kind) => [kind]))("%s: each of them is read, or refused", (kind) => {
    const words = wordsOf(definitions[kind]);
    const ignored = ignoredIn(of(kind), asRead, words);
    expect(ignored.filter((name) => saysNothing[`${kind} ${name}`] === undefined)).toEqual([]);
    expect(of(kind).length).toBeGreaterThan(0);
  });

  test("those that are refused always are, with their place", () => {
    for (const [path, text] of refusedFields) {
      const { errors } = parseDocuments([{ path: "f", text }]);
      expect([path.source, errors.length > 0, errors[0]?.location.line]).toEqual([path.source, true, 4]);
    }
  });

  // A ReferenceGrant is nothing by itself (plan_traffic.test.ts); what is behind is not about traffic.
  const planned = kinds.slice(0, 9).filter((kind) => kind !== "ReferenceGrant");
  test.each(planned.map((kind) => [kind]))("%s: what is read reaches the plan of traffic", (kind) => {
    const words = wordsOf(definitions[kind]);
    // A match of source labels is left out as a whole, as at istiod's waypoints.
    const all = of(kind).flatMap((document) => {
      const without = [...pathsIn(document)]
        .filter((path) => path.at(-1) === "sourceLabels")
        .reduce<Json>((before, path) => changed(before, path, undefined), document);
      return without === document ? [document] : [document, without];
    });
    const ignored = ignoredIn(all, asPlanned, words);
    expect(ignored.filter((name) => saysNothing[`${kind} ${name}`] === undefined)).toEqual([]);
  });
});
