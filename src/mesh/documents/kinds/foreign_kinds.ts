/** Kinds that a mesh's files hold beside ours: those to come, Kubernetes' own, and those of other projects. */

/** Istio's groups and the Gateway API's, the experimental one too: whatever is in them is about a mesh. */
const meshGroups: readonly string[] = [
  ...[
    "networking.istio.io",
    "security.istio.io",
    "telemetry.istio.io",
    "extensions.istio.io",
    "install.istio.io",
  ],
  ...["gateway.networking.k8s.io", "gateway.networking.x-k8s.io", "inference.networking.k8s.io"],
];

export function isMeshGroup(group: string): boolean {
  return meshGroups.includes(group);
}

/** By group: kinds that this version does not act on (`pkg/config/schema/gvk/resources.gen.go` of Istio; the Gateway API). */
export const kindsToCome: Readonly<Record<string, readonly string[]>> = {
  "networking.istio.io": ["Gateway", "Sidecar", "EnvoyFilter", "ProxyConfig"],
  "extensions.istio.io": ["WasmPlugin", "TrafficExtension"],
  "install.istio.io": ["IstioOperator"],
  "gateway.networking.k8s.io": [...["GatewayClass", "UDPRoute", "BackendLBPolicy", "ListenerSet"]],
  "gateway.networking.x-k8s.io": ["XBackend", "XBackendTrafficPolicy", "XListenerSet", "XMesh"],
  "inference.networking.k8s.io": ["InferencePool"],
};

/** Kubernetes' own kinds that say something of a workload, and what to write instead. */
export const insteadOf: Readonly<Record<string, string>> = {
  Service: "describe it as a ServiceEntry",
  Endpoints: "describe them in a ServiceEntry",
  EndpointSlice: "describe them in a ServiceEntry",
  Pod: "describe it as a WorkloadEntry",
  Deployment: "describe its instances as WorkloadEntries",
  ReplicaSet: "describe its instances as WorkloadEntries",
  StatefulSet: "describe its instances as WorkloadEntries",
  DaemonSet: "describe its instances as WorkloadEntries",
  Job: "describe its instances as WorkloadEntries",
  ServiceAccount: "a WorkloadEntry names its service account itself",
  ConfigMap: "the mesh does not need it",
  Secret: "the mesh does not need it",
};

/** Groups without a dot (`""`, `apps`, `batch` …) and those below `k8s.io` belong to Kubernetes. */
export function isKubernetesGroup(group: string): boolean {
  return !group.includes(".") || group.endsWith(".k8s.io");
}
