/** A mesh of a given size around `shop/cart` and `shop/db`, in the forms that the subjects read. */
import type { Lab } from "../../conformance/peer/lab/lab.ts";
import type { ZtunnelExtras } from "../../conformance/peer/subjects/ztunnel.ts";
import type { Point } from "./points.ts";

/** Documents of one file: a change of one file must not be one of all. */
const documentsPerFile = 4_000;

/** The first address that callers have; the others follow. */
export const firstCaller = "10.78.0.1";

export const callerRange = "10.78.0.0/16";

/** A file that is written again for each change. */
export const changingFile = "changing.yaml";

export function callerAddress(index: number): string {
  return dotted((10 << 24) | (78 << 16), index + 1);
}

/**
 * Each service is called by its address and has one workload, elsewhere. Each has a policy; all of them hold for the whole namespace of
 * `shop/db`, so a connection into it is decided among as many. None of them lets anybody in that calls.
 */
export function documents(lab: Lab, { services, peers, changes }: Point): Record<string, string> {
  const texts: string[] = [];
  for (let index = 0; index < services; index++) texts.push(service(index, 1), policy(index, 1));
  if (peers > 1) {
    for (let index = 0; index < peers; index++) texts.push(caller(lab, index));
    texts.push(callersPolicy);
  }
  const files: Record<string, string> = {};
  for (let from = 0; from < texts.length; from += documentsPerFile)
    files[`part_${from / documentsPerFile}.yaml`] = texts.slice(from, from + documentsPerFile).join("---\n");
  if (changes) files[changingFile] = change(1);
  return files;
}

/** What differs from one `revision` to the next: a workload, a service's port, a policy for `shop/db`. */
export function change(revision: number): string {
  const index = 65_000;
  return [service(index, revision), policy(index, revision)].join("---\n");
}

function service(index: number, revision: number): string {
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: app-${index}, namespace: team-${index % 50}}
spec:
  hosts: [app-${index}.mesh]
  addresses: [${serviceAddress(index)}]
  location: MESH_INTERNAL
  resolution: STATIC
  ports: [{number: 80, name: http, protocol: HTTP, targetPort: ${8080 + (revision % 2)}}]
  endpoints: [{address: ${workloadAddress(index)}, serviceAccount: app-${index}, labels: {revision: r${revision}}}]
`;
}

function policy(index: number, revision: number): string {
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: only-${index}, namespace: shop}
spec:
  action: ALLOW
  rules:
    - from: [{source: {principals: [${principal(index)}]}}]
      to: [{operation: {ports: ["${9080 + (revision % 2)}"]}}]
`;
}

function caller(lab: Lab, index: number): string {
  return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: caller-${index}
  namespace: shop
  annotations: {ambient.istio.io/redirection: enabled, fairlead.dev/node: host-${lab.place.client.name}}
spec: {address: ${callerAddress(index)}, serviceAccount: caller-${index}}
`;
}

const callersPolicy = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: callers, namespace: shop}
spec:
  action: ALLOW
  selector: {matchLabels: {app: db}}
  rules: [{from: [{source: {principals: ["cluster.local/ns/shop/sa/caller-*"]}}]}]
`;

/** The same services and policies, as ztunnel's file has them. */
export function ztunnelMesh({ services }: Point): NonNullable<ZtunnelExtras["mesh"]> {
  const each = (item: (index: number) => string) => Array.from({ length: services }, (_, at) => item(at));
  const named = (index: number) => `name: app-${index}, namespace: team-${index % 50}`;
  return {
    workloads: each(
      (index) =>
        `{uid: c1//Pod/team-${index % 50}/app-${index}, ${named(index)}, serviceAccount: app-${index}, trustDomain: cluster.local, ` +
        `clusterId: c1, workloadIps: [${workloadAddress(index)}], protocol: HBONE, node: elsewhere, network: "", ` +
        `services: {"team-${index % 50}/app-${index}.mesh": {80: 8080}}}`,
    ),
    services: each(
      (index) =>
        `{${named(index)}, hostname: app-${index}.mesh, vips: [/${serviceAddress(index)}], ports: {80: 8080}}`,
    ),
    policies: each(
      (index) =>
        `{name: only-${index}, namespace: shop, scope: Namespace, action: Allow, dryRun: false, ` +
        `rules: [[[{principals: [!Exact "${principal(index)}"]}], [{destinationPorts: [9080]}]]]}`,
    ),
  };
}

function principal(index: number): string {
  return `cluster.local/ns/team-${index % 50}/sa/app-${index}`;
}

function serviceAddress(index: number): string {
  return dotted((10 << 24) | (200 << 16), index + 1);
}

function workloadAddress(index: number): string {
  return dotted((10 << 24) | (201 << 16), index + 1);
}

function dotted(first: number, offset: number): string {
  const number = first + offset;
  return [24, 16, 8, 0].map((shift) => (number >>> shift) & 255).join(".");
}
