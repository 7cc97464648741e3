/** The benchmark's mesh as documents: what `mesh.ts` makes for our own store, as an API server is told it. */
import type { KubernetesDocument } from "../../conformance/istiod/kubernetes.ts";
import { type MeshSize, policyAt, serviceAt, workloadAt } from "./mesh.ts";

/** All of it; namespaces are first. */
export function documentsOfMesh(size: MeshSize, what: "Namespace" | "others"): readonly KubernetesDocument[] {
  const range = (count: number) => Array.from({ length: count }, (_, index) => index);
  const others = [
    ...range(size.workloads).map((index) => workloadDocument(index, size, 1)),
    ...range(size.services).map((index) => serviceDocument(index, size, 0)),
    ...range(size.policies).map((index) => policyDocument(index, size, 0)),
  ];
  if (what === "others") return others;
  const namespaces = new Set(others.flatMap(({ metadata: { namespace } }) => namespace ?? []));
  return [...namespaces].map((name) => ({ apiVersion: "v1", kind: "Namespace", metadata: { name } }));
}

export function workloadDocument(index: number, size: MeshSize, revision: number): KubernetesDocument {
  const { name, namespace, addresses, serviceAccount, locality, canonicalRevision } = workloadAt(
    index,
    size,
    revision,
  );
  const labels = {
    app: serviceAccount,
    "service.istio.io/canonical-revision": canonicalRevision,
    // It takes HBONE.
    "networking.istio.io/tunnel": "http",
  };
  return {
    apiVersion: "networking.istio.io/v1",
    kind: "WorkloadEntry",
    metadata: { name, namespace, labels },
    spec: {
      address: String(addresses[0]),
      serviceAccount,
      labels,
      locality: `${locality.region}/${locality.zone}`,
      // So that a change of a service's own port is a change of the service alone.
      ports: { http: 8080 },
    },
  };
}

export function serviceDocument(index: number, _size: MeshSize, revision: number): KubernetesDocument {
  const { name, namespace, hostname, addresses } = serviceAt(index, 8080);
  return {
    apiVersion: "networking.istio.io/v1",
    kind: "ServiceEntry",
    metadata: { name, namespace },
    spec: {
      hosts: [hostname],
      addresses: addresses.map(({ ip }) => String(ip)),
      location: "MESH_INTERNAL",
      resolution: "STATIC",
      ports: [{ number: 80, name: "http", protocol: "HTTP", targetPort: 8080 + revision }],
      workloadSelector: { labels: { app: name } },
    },
  };
}

export function policyDocument(index: number, _size: MeshSize, revision: number): KubernetesDocument {
  const { name, namespace } = policyAt(index, 8080);
  return {
    apiVersion: "security.istio.io/v1",
    kind: "AuthorizationPolicy",
    metadata: { name, namespace },
    spec: {
      selector: { matchLabels: { app: `app-${index}` } },
      action: "ALLOW",
      rules: [
        {
          from: [{ source: { principals: [`cluster.local/ns/${namespace}/sa/app-${index + 1}`] } }],
          to: [{ operation: { ports: [String(8080 + revision)] } }],
        },
      ],
    },
  };
}
