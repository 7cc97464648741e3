import { describe, expect, test } from "bun:test";
import { completeDocuments } from "./kinds/traffic/testing/complete.ts";
import { type ParsedEntry, parseDocument } from "./parse.ts";
import { relocate } from "./relocate.ts";

const parse = (text: string, firstLine: number) => parseDocument({ file: "mesh.yaml", firstLine, text });

const texts: Readonly<Record<string, string>> = {
  ...completeDocuments,
  Namespace: "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {a: b}, annotations: {c: d}}\n",
  ServiceEntry: `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart.mesh]
  addresses: [10.0.0.1, "fd00::/64"]
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}]
  endpoints: [{address: "fd00::1", ports: {http: 81}, labels: {v: "1"}, weight: 3}]
  subjectAltNames: ["spiffe://cluster.local/ns/shop/sa/cart"]
`,
  WorkloadEntry: `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: cart, namespace: shop}
spec: {address: cart.example, serviceAccount: cart, labels: {app: cart}}
`,
  AuthorizationPolicy: `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only, namespace: shop}
spec:
  selector: {matchLabels: {app: cart}}
  rules:
  - from: [{source: {principals: ["a/ns/b/sa/c"], notIpBlocks: [10.0.0.0/8]}}]
    to: [{operation: {ports: ["80"]}}]
    when: [{key: source.namespace, values: [x]}]
`,
  PeerAuthentication: `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec: {selector: {matchLabels: {app: cart}}, mtls: {mode: STRICT}, portLevelMtls: {80: {mode: PERMISSIVE}}}
`,
  List: `apiVersion: v1
kind: List
items:
- {apiVersion: v1, kind: Namespace, metadata: {name: a}}
- {apiVersion: v1, kind: Namespace, metadata: {name: b}}
`,
};

describe("a document that stands elsewhere is what parsing makes of it there", () => {
  for (const [kind, text] of Object.entries(texts))
    test(kind, () => {
      const before = parse(text, 7);
      expect(before.flatMap(({ errors }) => errors)).toEqual([]);
      for (const lines of [1, -3]) {
        const moved = relocate(before, lines);
        const warned = before.some(({ document }) => (document?.warnings.length ?? 0) > 0);
        // Of what is not known it makes nothing, rather than half.
        if (moved === null) expect([kind, warned]).toEqual([kind, true]);
        else expect(moved).toEqual(parse(text, 7 + lines));
      }
      expect(before).toEqual(parse(text, 7));
    });
});

test("what was refused or warned of, and what is of no kind that is known, is parsed again", () => {
  const [good] = parse(texts.WorkloadEntry ?? "", 1);
  if (good?.document == null) throw new Error("it was not read");
  expect(relocate(parse("kind: [", 1), 1)).toBeNull();
  expect(relocate(parse("apiVersion: v1\nkind: Namespace\nmetadata: {}\n", 1), 1)).toBeNull();
  const { location } = good;
  const warnings = [{ location, reason: "Ignored" as const, message: "see line 1" }];
  expect(relocate([{ ...good, document: { ...good.document, warnings } }], 1)).toBeNull();
  for (const odd of [/a/, new Date(0), () => location, new Set([location]), [new Map([["a", /b/]])]])
    expect(relocate([{ ...good, odd } as unknown as ParsedEntry], 1)).toBeNull();
  const plain = { ...good, plain: new Set(["a"]) } as unknown as ParsedEntry;
  expect(relocate([plain], 1)?.[0]?.location.line).toBe(location.line + 1);
});
