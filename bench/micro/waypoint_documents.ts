/** The mesh of the waypoint's micro benchmark: one service, and as many routes, policies and middlewares as are wanted. */

export const base = `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: waypoint, namespace: shop, labels: {istio.io/waypoint-for: all}, annotations: {ambient.istio.io/redirection: enabled}}
spec: {address: 10.0.0.1, serviceAccount: waypoint}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: application, namespace: shop, labels: {app: application}, annotations: {ambient.istio.io/redirection: enabled}}
spec: {address: 10.0.0.2, serviceAccount: application}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: web, namespace: shop, labels: {istio.io/use-waypoint: waypoint}}
spec:
  hosts: [web.shop]
  addresses: [240.0.0.1]
  ports: [{number: 80, name: port, protocol: PROTOCOL, targetPort: 8080}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {app: application}}
---
`;

export function routes(count: number): string {
  const rules = Array.from(
    { length: count },
    (_, i) =>
      `  - name: r${i}\n    match: [{uri: {prefix: /path${i}/}}]\n    route: [{destination: {host: web.shop}}]\n`,
  );
  return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: web, namespace: shop}
spec:
  hosts: [web.shop]
  http:
${rules.join("")}  - name: rest
    route: [{destination: {host: web.shop}}]
---
`;
}

export function policies(count: number): string {
  return Array.from(
    { length: count },
    (_, i) => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p${i}, namespace: shop}
spec:
  targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: web}]
  rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/${i === count - 1 ? "caller" : `other${i}`}]}}], to: [{operation: {methods: [GET], paths: ["/*"]}}]}]
---
`,
  ).join("");
}

export function middleware(count: number): string {
  return Array.from(
    { length: count },
    (_, i) => `apiVersion: fairlead.dev/v1
kind: Middleware
metadata: {name: m${i}, namespace: shop}
spec: {targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: web}], file: empty.ts, order: ${i}}
---
`,
  ).join("");
}
