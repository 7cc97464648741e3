/** The mesh in Istio's own words. */

/** `shop/NAME` with a service account, taking HBONE. Both account and label `app` are NAME unless said otherwise. */
export function workload(name: string, address: string, account = name): string {
  return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: ${name}
  namespace: shop
  annotations: {ambient.istio.io/redirection: enabled}
spec:
  address: ${JSON.stringify(address)}
  serviceAccount: ${account}
  labels: {app: ${name}}
---
`;
}

/** All workloads of `app`, under a name and an address of its own. */
export function service(app: string, address: string, port: number, targetPort: number): string {
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: ${app}, namespace: shop}
spec:
  hosts: [${app}.shop.mesh]
  addresses: [${JSON.stringify(address)}]
  ports: [{number: ${port}, name: tcp, protocol: TCP, targetPort: ${targetPort}}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {app: ${app}}}
---
`;
}

export const strictMutualTls = `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: default, namespace: istio-system}
spec: {mtls: {mode: STRICT}}
---
`;

/** No others may call `app`. */
export function onlyFrom(app: string, ...accounts: readonly string[]): string {
  const principals = accounts.map((account) => `cluster.local/ns/shop/sa/${account}`).join(", ");
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${app}-callers, namespace: shop}
spec:
  selector: {matchLabels: {app: ${app}}}
  action: ALLOW
  rules: [{from: [{source: {principals: [${principals}]}}]}]
---
`;
}
