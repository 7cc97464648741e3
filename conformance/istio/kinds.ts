/** Kinds that are not ours: what is said of each, whatever its fields are. */
import { type Case, foreign } from "./case.ts";

const of = (apiVersion: string, kind: string): string =>
  `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: {name: case, namespace: shop}\nspec: {what: ever}\ndata: {a: b}\n`;

const toCome: readonly (readonly [apiVersion: string, kind: string])[] = [
  ["networking.istio.io/v1", "Sidecar"],
  ["networking.istio.io/v1alpha3", "EnvoyFilter"],
  ["networking.istio.io/v1beta1", "ProxyConfig"],
  ["extensions.istio.io/v1alpha1", "WasmPlugin"],
  ["extensions.istio.io/v1alpha1", "TrafficExtension"],
  ["gateway.networking.k8s.io/v1", "GatewayClass"],
  ["gateway.networking.k8s.io/v1alpha2", "UDPRoute"],
  ["gateway.networking.k8s.io/v1", "ListenerSet"],
  ["gateway.networking.x-k8s.io/v1alpha1", "XListenerSet"],
  ["gateway.networking.x-k8s.io/v1alpha1", "XBackendTrafficPolicy"],
  ["gateway.networking.x-k8s.io/v1alpha1", "XBackend"],
  ["inference.networking.k8s.io/v1", "InferencePool"],
];
const kubernetes: readonly (readonly [apiVersion: string, kind: string, says: string])[] = [
  ["v1", "Service", "describe it as a ServiceEntry"],
  ["v1", "Pod", "describe it as a WorkloadEntry"],
  ["v1", "Endpoints", "describe them in a ServiceEntry"],
  ["discovery.k8s.io/v1", "EndpointSlice", "describe them in a ServiceEntry"],
  ["v1", "ServiceAccount", "names its service account itself"],
  ["v1", "ConfigMap", "the mesh does not need it"],
  ["apps/v1", "Deployment", "describe its instances as WorkloadEntries"],
  ["batch/v1", "Job", "describe its instances as WorkloadEntries"],
  ["batch/v1", "CronJob", "is Kubernetes' own"],
  ["networking.k8s.io/v1", "NetworkPolicy", "is Kubernetes' own"],
  ["rbac.authorization.k8s.io/v1", "ClusterRole", "is Kubernetes' own"],
  ["apiextensions.k8s.io/v1", "CustomResourceDefinition", "is Kubernetes' own"],
];
const others: readonly (readonly [apiVersion: string, kind: string])[] = [
  ["cert-manager.io/v1", "Certificate"],
  ["serving.knative.dev/v1", "Service"],
  ["monitoring.coreos.com/v1", "ServiceMonitor"],
  ["cilium.io/v2", "CiliumNetworkPolicy"],
];

export const kindCases: readonly Case[] = [
  ...toCome.map(([apiVersion, kind]) =>
    foreign(`${kind} is to come`, of(apiVersion, `«${kind}»`), `${kind} is not supported yet`),
  ),
  foreign(
    "Istio's own Gateway is to come",
    of("networking.istio.io/v1", "«Gateway»"),
    "Istio's own Gateway is not supported yet",
  ),
  foreign(
    "a kind that the Gateway API will have",
    of("gateway.networking.x-k8s.io/v1alpha1", "«XNewThing»"),
    "is not supported yet",
  ),
  ...kubernetes.map(([apiVersion, kind, says]) =>
    foreign(`Kubernetes' ${kind}`, of(apiVersion, `«${kind}»`), says),
  ),
  ...others.map(([apiVersion, kind]) =>
    foreign(`${kind} of ${apiVersion}`, of(apiVersion, `«${kind}»`), "is another project's kind"),
  ),
  foreign(
    "an AuthorizationPolicy of Linkerd",
    of("«policy.linkerd.io/v1alpha1»", "AuthorizationPolicy"),
    "is another project's kind",
  ),
  foreign(
    "a slip in a version",
    of("«security.istio.io/v2»", "AuthorizationPolicy"),
    "did you mean security.istio.io/v1?",
  ),
  foreign(
    "a slip in a group",
    of("«networking.istio.oi/v1»", "WorkloadEntry"),
    "did you mean networking.istio.io/v1?",
  ),
  foreign(
    "the group of another kind",
    of("«security.istio.io/v1»", "ServiceEntry"),
    "ServiceEntry has apiVersion networking.istio.io/v1",
  ),
  foreign(
    "no group",
    of("«v1»", "PeerAuthentication"),
    "PeerAuthentication has apiVersion security.istio.io/v1",
  ),
];
