/** Documents for benchmarks of the waypoint: one service, and as many routes, policies and middlewares of a service as are wanted. */

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

/** @param name of the ServiceEntry, whose host is in `.shop`. None of the first matches what is asked for: the last takes it. */
export function routes(count: number, name = "web"): string {
  const rules = Array.from(
    { length: count },
    (_, i) =>
      `  - name: r${i}\n    match: [{uri: {prefix: /path${i}/}}]\n    route: [{destination: {host: ${name}.shop}}]\n`,
  );
  return `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: ${name}, namespace: shop}
spec:
  hosts: [${name}.shop]
  http:
${rules.join("")}  - name: rest
    route: [{destination: {host: ${name}.shop}}]
---
`;
}

/** The last lets the caller in. */
export function policies(count: number, name = "web"): string {
  return Array.from(
    { length: count },
    (_, i) => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}-${i}, namespace: shop}
spec:
  targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: ${name}}]
  rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/${i === count - 1 ? "caller" : `other${i}`}]}}], to: [{operation: {methods: [GET], paths: ["/*"]}}]}]
---
`,
  ).join("");
}

/** What each does is in `empty.ts`. */
export const emptyMiddleware = "export default () => (_c, next) => next();\n";

export function middleware(count: number, name = "web"): string {
  return Array.from(
    { length: count },
    (_, i) => `apiVersion: fairlead.dev/v1
kind: Middleware
metadata: {name: ${name}-${i}, namespace: shop}
spec: {targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: ${name}}], file: empty.ts, order: ${i}}
---
`,
  ).join("");
}
