/** What the demo's mesh has once there is a waypoint, in Istio's own words. */
import { backendPort, type Places } from "./places.ts";

export const issuer = "https://users.shop.example";

const target = "targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: backend}]";

/** The waypoint, three versions of the backend, and the backend's traffic bound to the waypoint. */
export function behindWaypoint(places: Places): string {
  const member = (name: string, ip: string, labels: string): string => `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: ${name}
  namespace: shop
  labels: {${labels}}
  annotations: {ambient.istio.io/redirection: enabled}
spec: {address: ${ip}, serviceAccount: ${name}, labels: {${labels}}}
`;
  const plain = [places.frontend, places.reports].map(({ name, ip }) => member(name, ip, `app: ${name}`));
  const versions = [places.backend, places.newer, places.broken].map(({ name, ip }, index) =>
    member(name, ip, `app: backend, version: v${index + 1}`),
  );
  return [
    ...plain,
    ...versions,
    member(places.waypoint.name, places.waypoint.ip, "app: waypoint, istio.io/waypoint-for: all"),
    `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: backend
  namespace: shop
  labels: {istio.io/use-waypoint: waypoint}
spec:
  hosts: [backend.shop.mesh]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: ${backendPort}}]
  workloadSelector: {labels: {app: backend}}
`,
  ].join("---\n");
}

/** A caller of the mesh is not enough any more, nor is a user: it takes both. */
export function users(jwks: string): string {
  return `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: users, namespace: shop}
spec:
  ${target}
  jwtRules:
  - issuer: ${issuer}
    jwks: '${jwks}'
    fromHeaders: [{name: x-user-token}]
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: users-of-the-frontend, namespace: shop}
spec:
  ${target}
  rules:
  - from:
    - source:
        principals: ["cluster.local/ns/shop/sa/frontend"]
        requestPrincipals: ["${issuer}/*"]
`;
}

/** How the requests are shared among the versions; weights are percent. */
export function shares(weights: Readonly<Record<string, number>>, retries = ""): string {
  const routes = Object.entries(weights).map(
    ([version, weight]) =>
      `    - {destination: {host: backend.shop.mesh, subset: ${version}}, weight: ${weight}}`,
  );
  return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: backend, namespace: shop}
spec:
  hosts: [backend.shop.mesh]
  http:
  - name: versions
    route:
${routes.join("\n")}
${retries === "" ? "" : `    retries: ${retries}\n`}`;
}

/** @param outlier a field of the policy; "" for none. */
export function versions(outlier = ""): string {
  return `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: backend, namespace: shop}
spec:
  host: backend.shop.mesh
  trafficPolicy:
    loadBalancer: {simple: ROUND_ROBIN}
${outlier === "" ? "" : `    outlierDetection: ${outlier}\n`}  subsets:
  - {name: v1, labels: {version: v1}}
  - {name: v2, labels: {version: v2}}
  - {name: all, labels: {app: backend}}
`;
}

export const fewPerUser = `apiVersion: fairlead.dev/v1
kind: RateLimit
metadata: {name: few, namespace: shop}
spec:
  ${target}
  rules:
  - name: each-user
    keys: [{by: Claim, name: sub}]
    limit: {requests: 3, unit: MINUTE}
`;
