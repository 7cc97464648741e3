import { expect, test } from "bun:test";
import { runSteps } from "../../base/turns/time_slice.ts";
import type { MeshDocument } from "../documents/document.ts";
import { parseDocuments } from "../documents/parse.ts";
import { ConversionCache } from "./conversion_cache.ts";
import { convertDocuments, convertInSteps } from "./convert_documents.ts";

const context = { trustDomain: "cluster.local", network: "", clusterId: "c1", rootNamespace: "istio-system" };

const service = (name: string, rest = ""): string => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: shop}
spec:
  hosts: [${name}.mesh]
  addresses: [10.1.0.${name.length}]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  endpoints: [{address: 10.2.0.${name.length}${rest}}]
`;

const policy = (name: string, principal: string): string => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}, namespace: shop}
spec: {action: DENY, rules: [{from: [{source: {principals: ["${principal}"]}}]}]}
`;

function read(...texts: readonly string[]): readonly MeshDocument[] {
  const { documents, errors } = parseDocuments([{ path: "mesh.yaml", text: texts.join("---\n") }]);
  expect(errors).toEqual([]);
  return documents;
}

const convert = (documents: readonly MeshDocument[], cache: ConversionCache) =>
  runSteps(convertInSteps(documents, context, [], cache));

test("what did not change is the same object, and what did is another", () => {
  const cache = new ConversionCache();
  const documents = read(service("a"), service("bb"), policy("p", "cluster.local/ns/x/sa/y"));
  const first = convert(documents, cache);
  const [changed] = read(service("a", ", labels: {v: two}"));
  if (changed === undefined) throw new Error("it was not read");
  const second = convert([changed, ...documents.slice(1)], cache);
  for (const kind of ["workloads", "services"] as const) {
    expect(second[kind]).toHaveLength(2);
    expect(second[kind][0]).not.toBe(first[kind][0]);
    expect(second[kind][1]).toBe(first[kind][1] as never);
  }
  expect(second.policies[0]).toBe(first.policies[0] as never);
  expect(second.statuses[1]).toBe(first.statuses[1] as never);
});

test("with what it left, a conversion says and makes the same as without", () => {
  const cache = new ConversionCache();
  const others = read(
    // Never matches, and is told each time.
    policy("p", "other.domain/ns/x/sa/y"),
    service("bb"),
    `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: gate, namespace: shop}
spec: {address: 10.3.0.1, labels: {istio.io/waypoint-for: all}}
`,
    // Claims what another has.
    service("cc").replace("10.1.0.2", "10.2.0.2"),
  );
  const namespace = (label: string) =>
    read(`apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {${label}}}\n`);
  for (const label of ["a: b", "istio.io/use-waypoint: gate", "istio.io/use-waypoint: none", "a: b"]) {
    const documents = [...namespace(label), ...others];
    const kept = convert(documents, cache);
    expect(kept).toEqual(convertDocuments(documents, context));
    expect(kept.statuses[1]?.warnings).toHaveLength(1);
    expect(kept.services[0]?.waypoint !== null).toBe(label.endsWith("gate"));
  }
});

test("a service that is not the canonical one any more is told so", () => {
  const cache = new ConversionCache();
  const [first, second] = read(
    service("a"),
    service("bb").replace("bb.mesh", "a.mesh").replace("shop", "other"),
  );
  if (first === undefined || second === undefined) throw new Error("they were not read");
  const canonical = (documents: readonly MeshDocument[]) =>
    convert(documents, cache).services.map(({ namespace, canonical }) => [namespace, canonical]);
  expect(canonical([second])).toEqual([["other", true]]);
  expect(canonical([first, second])).toEqual([
    ["shop", true],
    ["other", false],
  ]);
  expect(canonical([second])).toEqual([["other", true]]);
});
