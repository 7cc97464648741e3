/** The mesh of the demo in Istio's own words. */
import { backendPort, type Member, type Places } from "./places.ts";

/** Who there is, and what the backend is called. Without a policy everybody may call everybody, in plain text too. */
export function meshDocuments(places: Places): string {
  const workloads = [places.frontend, places.backend, places.reports].map(workloadEntry);
  return [...workloads, backendService].join("---\n");
}

function workloadEntry({ name, ip }: Member): string {
  return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: ${name}
  namespace: shop
  labels: {app: ${name}}
  annotations: {ambient.istio.io/redirection: enabled}
spec:
  address: ${ip}
  labels: {app: ${name}}
  serviceAccount: ${name}
`;
}

const backendService = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: backend
  namespace: shop
spec:
  hosts: [backend.shop.mesh]
  location: MESH_INTERNAL
  resolution: STATIC
  ports:
  - {number: 80, name: http, protocol: HTTP, targetPort: ${backendPort}}
  workloadSelector:
    labels: {app: backend}
`;

export const strict = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: only-mutual-tls, namespace: shop}
spec:
  mtls: {mode: STRICT}
`;

/** ALLOW: whoever no rule names is refused. */
export function onlyFrom(...serviceAccounts: readonly string[]): string {
  const principals = serviceAccounts.map((name) => `"cluster.local/ns/shop/sa/${name}"`).join(", ");
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: backend-callers, namespace: shop}
spec:
  selector:
    matchLabels: {app: backend}
  rules:
  - from:
    - source:
        principals: [${principals}]
`;
}
