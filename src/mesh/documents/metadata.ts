/** What every document begins with: `apiVersion`, `kind`, `metadata`. */
import { type Metadata, resourceName } from "./document.ts";
import { type ObjectReader, type Problems, quote } from "./reader.ts";
import type { YamlNode } from "./yaml.ts";

export type MeshKind =
  | "Namespace"
  | "WorkloadEntry"
  | "WorkloadGroup"
  | "ServiceEntry"
  | "Gateway"
  | "Grant"
  | "PeerAuthentication"
  | "AuthorizationPolicy";

const NETWORKING = ["networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"];
const SECURITY = ["security.istio.io/v1", "security.istio.io/v1beta1"];

const API_VERSIONS: Readonly<Record<MeshKind, readonly string[]>> = {
  Namespace: ["v1"],
  WorkloadEntry: NETWORKING,
  WorkloadGroup: NETWORKING,
  ServiceEntry: NETWORKING,
  Gateway: ["gateway.networking.k8s.io/v1", "gateway.networking.k8s.io/v1beta1"],
  Grant: ["fairlead.dev/v1"],
  PeerAuthentication: SECURITY,
  AuthorizationPolicy: SECURITY,
};

const KINDS = Object.keys(API_VERSIONS);

/** Kinds that belong to a mesh and that this version does not act on: said clearly, because silence would be taken for effect. */
const NOT_YET: readonly string[] = [
  ...["VirtualService", "DestinationRule", "Sidecar", "EnvoyFilter", "ProxyConfig"],
  ...["RequestAuthentication", "Telemetry", "WasmPlugin", "TrafficExtension"],
  ...[
    "GatewayClass",
    "HTTPRoute",
    "GRPCRoute",
    "TCPRoute",
    "TLSRoute",
    "UDPRoute",
    "ReferenceGrant",
    "BackendTLSPolicy",
  ],
];

const KUBERNETES: Readonly<Record<string, string>> = {
  Service: "describe it as a ServiceEntry",
  Endpoints: "describe them in a ServiceEntry",
  EndpointSlice: "describe them in a ServiceEntry",
  Pod: "describe it as a WorkloadEntry",
  Deployment: "describe its instances as WorkloadEntries",
  StatefulSet: "describe its instances as WorkloadEntries",
  DaemonSet: "describe its instances as WorkloadEntries",
  ServiceAccount: "a WorkloadEntry names its service account itself",
  ConfigMap: "there is nothing in it for the mesh",
  Secret: "there is nothing in it for the mesh",
};

/** Finds out what the document is. @returns `other` for a kind that others know and we do not act on, null when it cannot be told; both having said why. */
export function readKind(root: ObjectReader, problems: Problems): MeshKind | "other" | null {
  const kind = root.requiredString("kind");
  const apiVersion = root.requiredString("apiVersion");
  if (kind === null) return null;
  problems.resource = kind.value;
  const known = KINDS.find((candidate): candidate is MeshKind => candidate === kind.value);
  if (known === undefined) {
    const instead = KUBERNETES[kind.value];
    if (NOT_YET.includes(kind.value)) {
      problems.add(kind.at, `${kind.value} is not supported yet; it has no effect`, kind.value);
      return "other";
    }
    if (instead !== undefined) {
      problems.add(kind.at, `${kind.value} is not read here: ${instead}`, kind.value);
      return "other";
    }
    problems.add(kind.at, `there is no kind ${quote(kind.value)}`, kind.value, [...KINDS, ...NOT_YET]);
    return null;
  }
  if (apiVersion === null) return null;
  const versions = API_VERSIONS[known];
  if (versions.includes(apiVersion.value)) return known;
  if (known === "Gateway" && NETWORKING.includes(apiVersion.value)) {
    problems.add(kind.at, "Istio's own Gateway is not supported yet; it has no effect", kind.value);
    return "other";
  }
  problems.add(
    apiVersion.at,
    `${known} has apiVersion ${versions.join(", ")}, not ${quote(apiVersion.value)}`,
    apiVersion.value,
    versions,
  );
  return null;
}

/** What an API server adds is taken and not looked at, so that `kubectl get -o yaml` can be used as it is. */
const METADATA_FIELDS = {
  known: [
    ...["name", "namespace", "labels", "annotations", "creationTimestamp"],
    ...["uid", "resourceVersion", "generation", "managedFields", "ownerReferences", "finalizers", "selfLink"],
    ...["deletionTimestamp", "deletionGracePeriodSeconds"],
  ],
  unsupported: { generateName: "a document needs a name of its own" },
};

/** RFC 1123: the names of Kubernetes objects. */
const NAME = /^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/;
const NAMESPACE = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export function readMetadata(root: ObjectReader, kind: MeshKind, problems: Problems): Metadata | null {
  if (!root.has("metadata")) problems.add(root.at, "metadata is missing");
  const metadata = root.object("metadata", METADATA_FIELDS);
  if (metadata === null) return null;
  const name = metadata.requiredString("name");
  if (name === null) return null;
  const isOfTheMesh = kind === "Namespace" || kind === "Grant";
  const namespace = isOfTheMesh ? null : metadata.string("namespace");
  const metadataNamespace = isOfTheMesh ? "" : (namespace?.value ?? "default");
  const key = resourceName(kind, metadataNamespace, name.value);
  problems.resource = key;
  if (!NAME.test(name.value))
    problems.add(
      name.at,
      `${quote(name.value)} is not a name: lower case letters, digits, - and .`,
      name.value,
    );
  if (isOfTheMesh && metadata.has("namespace")) {
    problems.add(metadata.where("namespace"), `a ${kind} is in no namespace`);
  }
  if (namespace !== null && !NAMESPACE.test(namespace.value)) {
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
    labels: metadata.has("labels") ? metadata.stringMap("labels") : new Map(),
    annotations: metadata.has("annotations") ? metadata.stringMap("annotations") : new Map(),
    createdMs: readCreated(metadata, problems),
  };
}

/** Generated documents say `creationTimestamp: null`; that is as good as not saying it. */
function readCreated(metadata: ObjectReader, problems: Problems): number | null {
  const node: YamlNode | null = metadata.isNull("creationTimestamp")
    ? null
    : metadata.node("creationTimestamp");
  if (node === null) return null;
  const created = metadata.string("creationTimestamp");
  if (created === null) return null;
  const milliseconds = RFC_3339.test(created.value) ? Date.parse(created.value) : Number.NaN;
  if (!Number.isNaN(milliseconds)) return milliseconds;
  problems.add(
    created.at,
    `${quote(created.value)} is not a time such as 2026-01-31T12:00:00Z`,
    created.value,
  );
  return null;
}

const RFC_3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;
