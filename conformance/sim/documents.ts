/** The mesh's documents as an operator would write them, and how they may change. */
import type { SeededRandom } from "../../src/host/memory/random.ts";
import { bannerPort, refusedPort, serverPort, serviceHost, type WorkloadPlan } from "./workloads.ts";

/** The AuthorizationPolicy of one workload. */
export type PolicyState =
  | { readonly kind: "none" }
  | { readonly kind: "allow_nothing" }
  | { readonly kind: "deny_port" }
  | { readonly kind: "allow" | "deny"; readonly principals: readonly string[] }
  | { readonly kind: "allow_namespaces"; readonly namespaces: readonly string[] }
  | { readonly kind: "allow_addresses"; readonly addresses: readonly string[] };

/** Everything the documents say. A value: a change makes another. */
export interface MeshState {
  readonly policies: ReadonlyMap<string, PolicyState>;
  /** Names of workloads with STRICT; `mesh` for all. */
  readonly strict: ReadonlySet<string>;
  /** Names of workloads whose WorkloadEntry is gone. */
  readonly removed: ReadonlySet<string>;
  /** A file of documents that are no good. */
  readonly bad: string;
}

export function drawDocuments(random: SeededRandom, workloads: readonly WorkloadPlan[]): MeshState {
  return {
    policies: new Map(
      workloads.map((workload) => [
        workload.name,
        random.chance(0.6) ? { kind: "none" } : drawPolicy(random, workloads),
      ]),
    ),
    strict: new Set([
      ...(random.chance(0.3) ? ["mesh"] : []),
      ...workloads.filter(() => random.chance(0.2)).map(({ name }) => name),
    ]),
    removed: new Set(),
    bad: "",
  };
}

export function drawPolicy(random: SeededRandom, workloads: readonly WorkloadPlan[]): PolicyState {
  const some = workloads.filter(() => random.chance(0.5));
  const principals = some.map(({ identity }) => identity.slice("spiffe://".length));
  switch (random.below(8)) {
    case 0:
      return { kind: "allow_nothing" };
    case 1:
      return { kind: "deny_port" };
    case 2:
      return { kind: "allow_namespaces", namespaces: [random.pick(["shop", "back"])] };
    case 3:
      return { kind: "allow_addresses", addresses: ["10.9.0.0/16", ...some.map(({ address }) => address)] };
    case 4:
    case 5:
      return principals.length === 0 ? { kind: "allow_nothing" } : { kind: "allow", principals };
    case 6:
      return principals.length === 0 ? { kind: "deny_port" } : { kind: "deny", principals };
    default:
      return { kind: "none" };
  }
}

export interface DocumentFile {
  readonly path: string;
  readonly text: string;
}

export const meshFolder = "/mesh";
const policyName = "policies.yaml";
export const policyPath = `${meshFolder}/${policyName}`;

/** @param places whether each workload is placed on its machine by name, as a control plane wants it. */
export function renderDocuments(
  state: MeshState,
  workloads: readonly WorkloadPlan[],
  places = false,
): readonly DocumentFile[] {
  const entries = workloads
    .filter(({ name }) => !state.removed.has(name))
    .map((workload) => `${workloadEntry(workload, places)}---\n${serviceEntry(workload)}`);
  const policies = [
    ...workloads.flatMap((workload) => policyDocument(workload, state.policies.get(workload.name)) ?? []),
    ...(state.strict.has("mesh") ? [strictDocument("mesh", "istio-system", null)] : []),
    ...workloads
      .filter(({ name }) => state.strict.has(name))
      .map(({ name, namespace }) => strictDocument(name, namespace, name)),
  ];
  return [
    file("workloads.yaml", entries.join("---\n")),
    file(policyName, policies.join("---\n")),
    // Last in order: of two that claim one address, the first has it.
    file("zz-bad.yaml", state.bad),
  ];
}

/** With a line where there are no documents: one that stands empty says nothing, and what it held stays. */
function file(name: string, text: string): DocumentFile {
  return { path: `${meshFolder}/${name}`, text: text === "" ? "# no documents\n" : text };
}

function workloadEntry({ name, namespace, address, machine }: WorkloadPlan, places: boolean): string {
  const placed = places ? `, fairlead.dev/node: m${machine}` : "";
  return `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata:
  name: ${name}
  namespace: ${namespace}
  labels: {app: ${name}}
  annotations: {ambient.istio.io/redirection: enabled${placed}}
spec:
  address: ${address}
  serviceAccount: ${name}
`;
}

function serviceEntry(workload: WorkloadPlan): string {
  const ports = [serverPort, refusedPort, bannerPort].map(
    (port) => `{number: ${port}, name: tcp-${port}, protocol: TCP}`,
  );
  return `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata:
  name: ${workload.name}
  namespace: ${workload.namespace}
spec:
  hosts: [${serviceHost(workload)}]
  addresses: [${vipOf(workload)}]
  ports: [${ports.join(", ")}]
  location: MESH_INTERNAL
  resolution: STATIC
  workloadSelector: {labels: {app: ${workload.name}}}
`;
}

/** `10.0.1.2` has `10.100.1.2`. */
export function vipOf(workload: WorkloadPlan): string {
  return workload.address.replace("10.0.", "10.100.");
}

function policyDocument({ name, namespace }: WorkloadPlan, policy: PolicyState | undefined): string | null {
  const spec = policySpec(policy ?? { kind: "none" });
  if (spec === null) return null;
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name}, namespace: ${namespace}}
spec:
  selector: {matchLabels: {app: ${name}}}
${spec}`;
}

function policySpec(policy: PolicyState): string | null {
  const from = (source: string) => `  rules:\n  - from:\n    - source: {${source}}\n`;
  const list = (values: readonly string[]) => `[${values.map((value) => JSON.stringify(value)).join(", ")}]`;
  switch (policy.kind) {
    case "none":
      return null;
    case "allow_nothing":
      return "  action: ALLOW\n";
    case "deny_port":
      return `  action: DENY\n  rules:\n  - to:\n    - operation: {ports: ["${serverPort}"]}\n`;
    case "allow":
      return `  action: ALLOW\n${from(`principals: ${list(policy.principals)}`)}`;
    case "deny":
      return `  action: DENY\n${from(`principals: ${list(policy.principals)}`)}`;
    case "allow_namespaces":
      return `  action: ALLOW\n${from(`namespaces: ${list(policy.namespaces)}`)}`;
    case "allow_addresses":
      return `  action: ALLOW\n${from(`ipBlocks: ${list(policy.addresses)}`)}`;
  }
}

function strictDocument(name: string, namespace: string, app: string | null): string {
  const selector = app === null ? "" : `  selector: {matchLabels: {app: ${app}}}\n`;
  return `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict-${name}, namespace: ${namespace}}
spec:
${selector}  mtls: {mode: STRICT}
`;
}

/** Workloads without callers: something to push. */
export function fillerDocuments(count: number): DocumentFile {
  const entries = Array.from(
    { length: count },
    (_, index) => `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: filler-${index}, namespace: filler}
spec: {address: 10.150.0.${index + 1}, serviceAccount: filler}
`,
  );
  return { path: `${meshFolder}/fillers.yaml`, text: entries.join("---\n") };
}

/** Up to a share of its text, and no further than a workload's policy. */
interface HalfFile {
  readonly share: number;
  readonly before: string;
}

/** Whole lines: half a document is worst where it is a valid one. */
export function cutFile(text: string, { share, before }: HalfFile): string {
  const named = text.indexOf(`metadata: {name: ${before},`);
  const whole = text.slice(0, named === -1 ? text.length : named);
  // Nothing of the document that the name is of; or less.
  if (share > 0.5) return whole.slice(0, Math.max(0, whole.lastIndexOf("---\n")));
  return whole.slice(0, whole.lastIndexOf("\n", whole.length * 2 * share) + 1);
}
