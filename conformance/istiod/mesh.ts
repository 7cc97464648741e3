/** The mesh of these checks, as documents for a Kubernetes API server. */

const networking = "apiVersion: networking.istio.io/v1";
const security = "apiVersion: security.istio.io/v1";

interface Member {
  readonly namespace: string;
  readonly name: string;
  readonly address: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly takesHbone?: boolean;
}

export function workloadEntry({ namespace, name, address, labels = {}, takesHbone = false }: Member): string {
  // The label is how a host outside Kubernetes says that it takes HBONE.
  const all = takesHbone ? { ...labels, "networking.istio.io/tunnel": "http" } : labels;
  return `${networking}
kind: WorkloadEntry
metadata:
  name: ${name}
  namespace: ${namespace}
  labels: ${JSON.stringify(all)}
spec:
  address: ${address}
  serviceAccount: ${name}
  labels: ${JSON.stringify(all)}
---
`;
}

export const hosts = { cart: "127.9.0.1", db: "127.9.0.2", waypoint: "127.9.0.9" } as const;

/** Two hosts with a node each, and a service of one of them. */
export const nodesMesh = `apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
${workloadEntry({ namespace: "shop", name: "cart", address: hosts.cart, takesHbone: true })}
${workloadEntry({ namespace: "shop", name: "db", address: hosts.db, labels: { app: "db" }, takesHbone: true })}`;

/** @param port of the application on the host of `shop/db`. */
export function databaseService(port: number): string {
  return `${networking}
kind: ServiceEntry
metadata: {name: db, namespace: shop}
spec:
  hosts: [db.shop.mesh]
  addresses: [240.6.0.2]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: tcp, protocol: TCP, targetPort: ${port}}]
  workloadSelector: {labels: {app: db}}
`;
}

/** @param spec in YAML's flow style. */
export function databasePolicy(spec: string): string {
  return `${security}
kind: AuthorizationPolicy
metadata: {name: db, namespace: shop}
spec: ${spec}
`;
}

export const strictPeers = `${security}
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec: {mtls: {mode: STRICT}}
`;

/** As a node of Kubernetes would have it in an ambient mesh. */
export const pod = {
  apiVersion: "v1",
  kind: "Pod",
  metadata: {
    name: "web-1",
    namespace: "shop",
    labels: { app: "web", version: "v3" },
    annotations: { "ambient.istio.io/redirection": "enabled" },
  },
  spec: {
    serviceAccountName: "cart",
    automountServiceAccountToken: false,
    nodeName: "node-1",
    containers: [{ name: "web", image: "web" }],
  },
} as const;

/** What its kubelet says of it. */
export const podStatus = {
  phase: "Running",
  podIP: "10.97.200.7",
  podIPs: [{ ip: "10.97.200.7" }, { ip: "fd00:97::7" }],
  conditions: [{ type: "Ready", status: "True" }],
} as const;

/** A Gateway and what stands for it: a Service that finds its waypoint among WorkloadEntries. */
export const waypointMesh = `apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: waypoint, namespace: istio-system, labels: {istio.io/waypoint-for: all}}
spec:
  gatewayClassName: istio-waypoint
  listeners:
    - {name: mesh, port: 15008, protocol: HBONE, allowedRoutes: {namespaces: {from: All}}}
---
apiVersion: v1
kind: Service
metadata:
  name: waypoint
  namespace: istio-system
  labels: {gateway.networking.k8s.io/gateway-name: waypoint}
spec:
  selector: {gateway.networking.k8s.io/gateway-name: waypoint}
  ports: [{name: mesh, port: 15008, appProtocol: all}]
---
${workloadEntry({
  namespace: "istio-system",
  name: "waypoint",
  address: hosts.waypoint,
  labels: { "gateway.networking.k8s.io/gateway-name": "waypoint" },
  takesHbone: true,
})}`;

export function apiEndpoint(version: "v1" | "v2"): string {
  const address = version === "v1" ? "127.9.0.11" : "127.9.0.12";
  return workloadEntry({
    namespace: "shop",
    name: `api-${version}`,
    address,
    labels: { app: "api", version },
  });
}

const toApi = "targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: api}]";

/** `api.shop.mesh` behind the waypoint, and all that decides there. @param port of the endpoints. @param jwks of the end users' issuer. */
export function apiMesh(port: number, jwks: string): string {
  return `${apiEndpoint("v1")}${apiEndpoint("v2")}${networking}
kind: ServiceEntry
metadata:
  name: api
  namespace: shop
  labels: {istio.io/use-waypoint: waypoint, istio.io/use-waypoint-namespace: istio-system}
spec:
  hosts: [api.shop.mesh]
  addresses: [240.6.0.1]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: ${port}}]
  workloadSelector: {labels: {app: api}}
---
${subsets("version")}
---
${apiRoutes(90)}
---
${apiPolicy("GET")}
---
${security}
kind: RequestAuthentication
metadata: {name: users, namespace: shop}
spec:
  ${toApi}
  jwtRules:
    - issuer: https://issuer.example
      jwks: '${jwks}'
      fromHeaders: [{name: x-token, prefix: "Bearer "}]
---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: errors, namespace: shop}
spec:
  ${toApi}
  accessLogging: [{filter: {expression: response.code >= 400}}]
`;
}

/** @param label that the versions are told apart by. */
export function subsets(label: string): string {
  return `${networking}
kind: DestinationRule
metadata: {name: api, namespace: shop}
spec:
  host: api.shop.mesh
  subsets:
    - {name: v1, labels: {${label}: v1}}
    - {name: v2, labels: {${label}: v2}}
  trafficPolicy:
    connectionPool: {http: {http2MaxRequests: 200}}
    outlierDetection: {consecutive5xxErrors: 5, interval: 10s, baseEjectionTime: 30s}
`;
}

/** @param first percent that go to the first version. */
export function apiRoutes(first: number): string {
  return `${networking}
kind: VirtualService
metadata: {name: api, namespace: shop}
spec:
  hosts: [api.shop.mesh]
  http:
    - name: testers
      match: [{headers: {x-tester: {exact: "yes"}}, uri: {prefix: /}}]
      route: [{destination: {host: api.shop.mesh, subset: v2}}]
    - route:
        - {destination: {host: api.shop.mesh, subset: v1}, weight: ${first}}
        - {destination: {host: api.shop.mesh, subset: v2}, weight: ${100 - first}}
      timeout: 5s
      retries: {attempts: 2, perTryTimeout: 2s, retryOn: 5xx}
`;
}

/** @param methods that `shop/cart` may use. */
export function apiPolicy(...methods: readonly string[]): string {
  return `${security}
kind: AuthorizationPolicy
metadata: {name: api, namespace: shop}
spec:
  ${toApi}
  rules:
    - from: [{source: {principals: [cluster.local/ns/shop/sa/cart]}}]
      to: [{operation: {methods: [${methods.join(", ")}], paths: ["/items/*"]}}]
      when: [{key: "request.headers[x-a]", notValues: [b]}]
`;
}

/** Istio takes it, and does not say what an empty `from` means; a waypoint of ours does not take it. */
export const refusedPolicy = `${security}
kind: AuthorizationPolicy
metadata: {name: unclear, namespace: shop}
spec:
  ${toApi}
  action: DENY
  rules: [{from: [{}], to: [{operation: {paths: ["/nowhere"]}}]}]
`;

/**
 * Services of Kubernetes as clusters have them: one behind the waypoint, whose port has no name; one with UDP; one without an address; one
 * that is a name elsewhere. @param port of the endpoints.
 */
export function kubernetesServices(port: number): string {
  return `apiVersion: v1
kind: Service
metadata:
  name: web
  namespace: shop
  labels: {istio.io/use-waypoint: waypoint, istio.io/use-waypoint-namespace: istio-system}
spec:
  selector: {app: api}
  ports: [{port: 80, targetPort: ${port}, appProtocol: http}]
---
apiVersion: v1
kind: Service
metadata: {name: names, namespace: shop}
spec:
  selector: {app: names}
  ports: [{name: dns, port: 53, protocol: UDP}, {name: dns-tcp, port: 53, protocol: TCP}]
---
apiVersion: v1
kind: Service
metadata: {name: headless, namespace: shop, annotations: {networking.istio.io/exportTo: "shop,istio-system"}}
spec:
  clusterIP: None
  selector: {app: api}
  ports: [{port: 80, targetPort: ${port}}]
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere, namespace: shop}
spec: {type: ExternalName, externalName: elsewhere.example}
---
${security}
kind: AuthorizationPolicy
metadata: {name: web, namespace: shop}
spec:
  targetRefs: [{group: "", kind: Service, name: web}]
  rules:
    - from: [{source: {principals: [cluster.local/ns/shop/sa/cart]}}]
      to: [{operation: {methods: [GET]}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: web, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: web, port: 80}]
  rules:
    - matches: [{path: {type: PathPrefix, value: /gone}}]
      filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /here}, statusCode: 301}}]
    - backendRefs: [{name: web, port: 80}]
`;
}

const bound = "{istio.io/use-waypoint: waypoint, istio.io/use-waypoint-namespace: istio-system}";

/** Bound by its namespace and by a workload's own label, and one policy for all that goes through the waypoint. @param port of the endpoints. */
export function bindings(port: number): string {
  return `apiVersion: v1
kind: Namespace
metadata: {name: team, labels: ${bound}}
---
${workloadEntry({ namespace: "team", name: "app", address: "127.9.0.13", labels: { app: "app" } })}
${networking}
kind: ServiceEntry
metadata: {name: app, namespace: team}
spec:
  hosts: [app.team.mesh]
  addresses: [240.6.0.3]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: ${port}}]
  workloadSelector: {labels: {app: app}}
---
${networking}
kind: WorkloadEntry
metadata: {name: lone, namespace: shop, labels: ${bound}}
spec: {address: 127.9.0.14, serviceAccount: lone}
---
${security}
kind: AuthorizationPolicy
metadata: {name: forbidden, namespace: istio-system}
spec:
  targetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: waypoint}]
  action: DENY
  rules: [{to: [{operation: {paths: ["/forbidden"]}}]}]
`;
}

/** In the place of the VirtualService: istiod gives a VirtualService that it makes of it. */
export const apiHttpRoute = `apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: api, namespace: shop}
spec:
  parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: api}]
  rules:
    - matches: [{path: {type: PathPrefix, value: /items/old}}]
      filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /items}}}]
      backendRefs: [{group: networking.istio.io, kind: Hostname, name: api.shop.mesh, port: 80}]
    - filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplaceFullPath, replaceFullPath: /items/old}, statusCode: 302}}]
`;
