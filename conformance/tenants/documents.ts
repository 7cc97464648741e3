/** What the tenants write. */

function document(kind: string, key: string, spec: string, metadata = ""): string {
  const [namespace, name] = key.split("/");
  return `apiVersion: networking.istio.io/v1
kind: ${kind}
metadata: {name: ${name}, namespace: ${namespace}${metadata}}
spec: ${spec}
`;
}

export function service(key: string, hostname: string, more = "", metadata = ""): string {
  const spec = `{hosts: ["${hostname}"], ports: [{number: 80, name: http}], resolution: NONE${more}}`;
  return document("ServiceEntry", key, spec, metadata);
}

export function vip(key: string, range: string): string {
  return service(key, `${key.replace("/", ".")}.example`, `, addresses: ["${range}"]`);
}

export function endpoint(key: string, address: string): string {
  const spec = `{hosts: [${key.replace("/", ".")}.example], ports: [{number: 80, name: http}], resolution: STATIC, endpoints: [{address: ${address}}]}`;
  return document("ServiceEntry", key, spec);
}

export function workload(key: string, address: string, node = "", serviceAccount = "default"): string {
  const metadata = node === "" ? "" : `, annotations: {fairlead.dev/node: ${node}}`;
  return document(
    "WorkloadEntry",
    key,
    `{address: "${address}", serviceAccount: ${serviceAccount}}`,
    metadata,
  );
}

export function gateway(key: string, address: string, network: string): string {
  const metadata = `, annotations: {fairlead.dev/gateway-for-network: ${network}}`;
  return document("WorkloadEntry", key, `{address: ${address}}`, metadata);
}

export function group(key: string, serviceAccount = "batch"): string {
  return document("WorkloadGroup", key, `{template: {serviceAccount: ${serviceAccount}}}`);
}

export function grant(name: string, spec: string): string {
  return `apiVersion: fairlead.dev/v1\nkind: Grant\nmetadata: {name: ${name}}\nspec: ${spec}\n`;
}
