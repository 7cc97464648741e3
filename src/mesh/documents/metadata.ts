/** What every document has: `metadata`. */
import { type Labels, type Metadata, resourceName } from "./document.ts";
import { kindOf, type MeshKind } from "./kinds/kinds.ts";
import { isLabelKey, readLabels } from "./kinds/labels.ts";
import { type ObjectReader, type Problems, quote } from "./reader.ts";
import type { YamlNode } from "./yaml.ts";

/** What an API server adds is taken and not looked at, so that `kubectl get -o yaml` can be used as it is. */
const metadataFields = {
  known: [
    ...["name", "namespace", "labels", "annotations", "creationTimestamp"],
    ...["uid", "resourceVersion", "generation", "managedFields", "ownerReferences", "finalizers", "selfLink"],
    ...["deletionTimestamp", "deletionGracePeriodSeconds"],
  ],
  unsupported: { generateName: "a document needs its own name" },
};

/** RFC 1123: the names of Kubernetes objects. */
const namePattern = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;
const namespacePattern = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export function readMetadata(root: ObjectReader, kind: MeshKind, problems: Problems): Metadata | null {
  if (!root.has("metadata")) problems.add(root.at, "metadata is missing");
  const metadata = root.object("metadata", metadataFields);
  if (metadata === null) return null;
  const name = metadata.requiredString("name");
  if (name === null) return null;
  const isOfTheMesh = kind === "Namespace" || kind === "Grant" || kind === "MeshConfig";
  const namespace = isOfTheMesh ? null : metadata.string("namespace");
  const metadataNamespace = isOfTheMesh ? "" : (namespace?.value ?? "default");
  const key = resourceName(kind, metadataNamespace, name.value);
  problems.resource = key;
  if (!namePattern.test(name.value))
    problems.add(
      name.at,
      `${quote(name.value)} is not a name: lower case letters, digits, - and .`,
      name.value,
    );
  if (isOfTheMesh && metadata.has("namespace")) {
    problems.add(metadata.where("namespace"), `a ${kind} cannot have a namespace`);
  }
  if (namespace !== null && !namespacePattern.test(namespace.value)) {
    problems.add(
      namespace.at,
      `${quote(namespace.value)} is not a namespace: lower case letters, digits and -`,
      namespace.value,
    );
  }
  return {
    key,
    name: name.value,
    namespace: metadataNamespace,
    labels: readLabels(metadata, "labels", problems),
    annotations: readAnnotations(metadata, kind, problems),
    createdMs: readCreated(metadata, problems),
  };
}

/** What Istio refuses in any document of its own (`validateMetadata` of `pkg/config/validation/validation.go`). */
const refusedAnnotations = [
  ...[
    "internal.istio.io/webhook-always-reject",
    "internal.istio.io/parents",
    "internal.istio.io/parent-namespace",
  ],
];
const dryRun = "istio.io/dry-run";

function readAnnotations(metadata: ObjectReader, kind: MeshKind, problems: Problems): Labels {
  if (!metadata.has("annotations")) return new Map();
  const isIstio = kindOf(kind).group.endsWith(".istio.io");
  for (const { key, keyAt } of metadata.map("annotations")) {
    if (!isLabelKey(key)) problems.add(keyAt, `${quote(key)} is not the name of an annotation`, key);
    else if (isIstio && refusedAnnotations.includes(key))
      problems.add(keyAt, `${key} is set by Istio and cannot be written`, key);
    else if (key === dryRun && isIstio && kind !== "AuthorizationPolicy")
      problems.add(
        keyAt,
        `${key} only works for AuthorizationPolicies; this ${kind} would take effect nevertheless`,
        key,
      );
  }
  return metadata.stringMap("annotations");
}

/** Generated documents say `creationTimestamp: null`; that is as good as not saying it. */
function readCreated(metadata: ObjectReader, problems: Problems): number | null {
  problems.onAsked?.(metadata.path("creationTimestamp"), { kind: "null" });
  const node: YamlNode | null = metadata.isNull("creationTimestamp")
    ? null
    : metadata.node("creationTimestamp");
  if (node === null) return null;
  const created = metadata.string("creationTimestamp");
  if (created === null) return null;
  const milliseconds = rfc3339.test(created.value) ? Date.parse(created.value) : Number.NaN;
  if (!Number.isNaN(milliseconds)) return milliseconds;
  problems.add(
    created.at,
    `${quote(created.value)} is not a time such as 2026-01-31T12:00:00Z`,
    created.value,
  );
  return null;
}

const rfc3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;
