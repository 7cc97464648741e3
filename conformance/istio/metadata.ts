/** `validateMetadata` of Istio's `pkg/config/validation/validation.go`, and what Kubernetes asks of any object. */
import { type Case, document, refused, stricter, taken } from "./case.ts";

const entry = (metadata: string): string => document("WorkloadEntry", "address: 10.0.0.1", metadata);
const policy = (metadata: string): string =>
  document("AuthorizationPolicy", "action: DENY\nrules: [{}]", metadata);
const internal = [
  "internal.istio.io/parents",
  "internal.istio.io/parent-namespace",
  "internal.istio.io/webhook-always-reject",
];
const kinds: readonly (readonly [kind: string, spec: string])[] = [
  ["WorkloadEntry", "address: 10.0.0.1"],
  ["WorkloadGroup", "template: {}"],
  ["ServiceEntry", "hosts: [a.b]"],
  ["PeerAuthentication", "mtls: {mode: STRICT}"],
  ["AuthorizationPolicy", "rules: [{}]"],
];

export const metadataCases: readonly Case[] = [
  taken(
    "labels and annotations",
    entry("labels: {app: db, example.com/team: a}\nannotations: {example.com/note: any text at all}"),
  ),
  taken(
    "what an API server adds",
    entry("uid: a\nresourceVersion: '1'\ngeneration: 1\ncreationTimestamp: 2026-01-31T12:00:00Z"),
  ),
  taken("a generated document's time", entry("creationTimestamp: null")),
  taken("a dry run of a policy", policy('annotations: {istio.io/dry-run: "true"}')),
  ...kinds
    .filter(([kind]) => kind !== "AuthorizationPolicy")
    .map(([kind, spec]) =>
      refused(
        `a dry run of a ${kind}`,
        document(kind, spec, 'annotations: {«istio.io/dry-run»: "true"}'),
        "only works for AuthorizationPolicies",
      ),
    ),
  ...kinds.flatMap(([kind, spec]) =>
    internal.map((name) =>
      refused(`${name} on a ${kind}`, document(kind, spec, `annotations: {«${name}»: a}`), "is set by Istio"),
    ),
  ),
  stricter(
    "a label's name that Kubernetes refuses",
    entry('labels: {«"a b"»: c}'),
    "is not the name of a label",
  ),
  stricter(
    "a label's value that Kubernetes refuses",
    entry("labels: {a: «b c»}"),
    "is not a valid value of a label",
  ),
  stricter(
    "an annotation's name that Kubernetes refuses",
    entry('annotations: {«"a b"»: c}'),
    "is not the name of an annotation",
  ),
  stricter("a name in upper case", entry("").replace("name: case", "name: «Case»"), "is not a name"),
  stricter(
    "a namespace in upper case",
    entry("").replace("namespace: shop", "namespace: «Shop»"),
    "is not a namespace",
  ),
  refused("a time that is none", entry("creationTimestamp: «yesterday»"), "is not a time"),
  stricter("a field of metadata that is none", entry("«label»: {}"), "did you mean labels?"),
  stricter(
    "a document without a name",
    entry("").replace("  name: case\n  namespace", "  «»namespace"),
    "name is missing",
  ),
];
