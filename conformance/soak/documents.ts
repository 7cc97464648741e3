/** The mesh of a soak run in Istio's own words, and what is changed of it. */
import type { Member } from "../demo/places.ts";
import { applicationPort, type World } from "./world.ts";

function entry({ name, ip }: Member, labels = `app: ${name}`): string {
  return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: ${name}
  namespace: shop
  labels: {${labels}}
  annotations: {ambient.istio.io/redirection: enabled}
spec: {address: ${ip}, serviceAccount: ${name}, labels: {${labels}}}
`;
}

function service(name: string, labels: string): string {
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${name}, namespace: shop, labels: {${labels}}}
spec:
  hosts: [${name}.shop.mesh]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: ${applicationPort}}]
  workloadSelector: {labels: {app: backend}}
`;
}

export function meshOf({ places }: World): string {
  return [
    entry(places.frontend),
    entry(places.reports),
    entry(places.backend),
    entry(places.waypoint, "app: waypoint, istio.io/waypoint-for: all"),
    service("backend", "app: backend"),
    service("web", "istio.io/use-waypoint: waypoint"),
    `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: only-mutual-tls, namespace: shop}
spec: {mtls: {mode: STRICT}}
`,
  ].join("---\n");
}

/** Who may call the backend, and through the waypoint. */
export function callers(...names: readonly string[]): string {
  const principals = (list: readonly string[]) =>
    list.map((name) => `"cluster.local/ns/shop/sa/${name}"`).join(", ");
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: backend-callers, namespace: shop}
spec:
  selector: {matchLabels: {app: backend}}
  rules: [{from: [{source: {principals: [${principals([...names, "waypoint"])}]}}]}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: web-callers, namespace: shop}
spec:
  targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: web}]
  rules: [{from: [{source: {principals: [${principals(names)}]}}]}]
`;
}

/** Workloads and services of a namespace that nothing calls, and policies beside them. @param turn makes all of them others than before. */
export function churn(count: number, turn: number): string {
  const documents = Array.from({ length: count }, (_, index) => {
    const name = `one-${index}`;
    return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: ${name}, namespace: churn, labels: {app: ${name}, turn: "${turn}"}}
spec: {address: 10.${200 + (turn % 50)}.${index >> 8}.${index & 255}, serviceAccount: ${name}, labels: {app: ${name}}}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}, namespace: churn}
spec:
  selector: {matchLabels: {app: ${name}}}
  rules: [{from: [{source: {namespaces: [turn-${turn}]}}], to: [{operation: {ports: ["${1000 + turn}"]}}]}]
`;
  });
  documents.push(`apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: churned, namespace: churn}
spec:
  hosts: [churned-${turn % 3}.mesh]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP}]
  workloadSelector: {labels: {app: one-1}}
`);
  return documents.join("---\n");
}

export const nothingOfChurn = `apiVersion: v1
kind: Namespace
metadata: {name: churn}
`;
