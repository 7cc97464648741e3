/** Every bound of a document: the largest that is taken, and one more, which is refused by name. */
import { describe, expect, test } from "bun:test";
import { meshLimits } from "../../base/limits/mesh.ts";
import { parseDocuments } from "./parse.ts";

const list = (count: number, item: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => item(index)).join(", ");

function problemsOf(text: string): readonly string[] {
  return parseDocuments([{ path: "a.yaml", text }]).errors.map(({ message }) => message);
}

const document = (apiVersion: string, kind: string, spec: string): string =>
  `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: {name: a, namespace: shop}\nspec: ${spec}\n`;
const policy = (spec: string) => document("security.istio.io/v1", "AuthorizationPolicy", spec);
const serviceEntry = (spec: string) => document("networking.istio.io/v1", "ServiceEntry", spec);
const workloadEntry = (spec: string) => document("networking.istio.io/v1", "WorkloadEntry", spec);
const service = (more: string) => serviceEntry(`{hosts: [a.example], resolution: STATIC, ${more}}`);
const ports = "ports: [{number: 80, name: tcp, protocol: TCP}]";
const label = (index: number) => `l${index}: "1"`;
const address = (index: number) => `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`;

interface Bound {
  readonly name: string;
  readonly most: number;
  readonly text: (count: number) => string;
  readonly says: RegExp;
}

const bounds: readonly Bound[] = [
  {
    name: "rules of a policy",
    most: meshLimits.maxRulesPerPolicy,
    text: (count) => policy(`{rules: [${list(count, () => "{}")}]}`),
    says: /rules/,
  },
  {
    name: "from of a rule",
    most: meshLimits.maxAlternatives,
    text: (count) => policy(`{rules: [{from: [${list(count, () => "{source: {namespaces: [a]}}")}]}]}`),
    says: /from/,
  },
  {
    name: "to of a rule",
    most: meshLimits.maxAlternatives,
    text: (count) => policy(`{rules: [{to: [${list(count, () => '{operation: {ports: ["80"]}}')}]}]}`),
    says: /to/,
  },
  {
    name: "service accounts of a source",
    most: meshLimits.maxServiceAccounts,
    text: (count) =>
      policy(`{rules: [{from: [{source: {serviceAccounts: [${list(count, (index) => `sa${index}`)}]}}]}]}`),
    says: /serviceAccounts/,
  },
  {
    name: "labels of a policy's selector",
    most: meshLimits.maxSelectorLabels,
    text: (count) => policy(`{selector: {matchLabels: {${list(count, label)}}}}`),
    says: /matchLabels/,
  },
  {
    name: "targetRefs of a policy",
    most: meshLimits.maxTargetRefs,
    text: (count) =>
      policy(`{targetRefs: [${list(count, (index) => `{group: "", kind: Service, name: s${index}}`)}]}`),
    says: /targetRefs/,
  },
  {
    name: "characters of a targetRef's name",
    most: meshLimits.maxNameLength,
    text: (count) => policy(`{targetRefs: [{group: "", kind: Service, name: ${"n".repeat(count)}}]}`),
    says: /name/,
  },
  {
    name: "hosts of a ServiceEntry",
    most: meshLimits.maxServiceItems,
    text: (count) =>
      serviceEntry(
        `{hosts: [${list(count, (index) => `h${index}.example`)}], resolution: STATIC, ports: [{number: 80, name: http, protocol: HTTP}]}`,
      ),
    says: /hosts/,
  },
  {
    name: "addresses of a ServiceEntry",
    most: meshLimits.maxServiceItems,
    text: (count) => service(`${ports}, addresses: [${list(count, (index) => address(index + 1))}]`),
    says: /addresses/,
  },
  {
    name: "ports of a ServiceEntry",
    most: meshLimits.maxServiceItems,
    text: (count) =>
      service(`ports: [${list(count, (index) => `{number: ${index + 1}, name: p${index}, protocol: TCP}`)}]`),
    says: /ports/,
  },
  {
    name: "endpoints of a ServiceEntry",
    most: meshLimits.maxEndpoints,
    text: (count) =>
      service(`${ports}, endpoints: [${list(count, (index) => `{address: ${address(index + 1)}}`)}]`),
    says: /endpoints/,
  },
  {
    name: "ports of a workload",
    most: meshLimits.maxEndpointPorts,
    text: (count) =>
      workloadEntry(`{address: 10.0.0.1, ports: {${list(count, (index) => `p${index}: ${index + 1}`)}}}`),
    says: /ports/,
  },
  {
    name: "labels of a workload",
    most: meshLimits.maxLabels,
    text: (count) => workloadEntry(`{address: 10.0.0.1, labels: {${list(count, label)}}}`),
    says: /labels/,
  },
  {
    name: "characters of a workload's network",
    most: meshLimits.maxPlaceLength,
    text: (count) => workloadEntry(`{address: 10.0.0.1, network: ${"n".repeat(count)}}`),
    says: /network/,
  },
  {
    name: "characters of a workload's locality",
    most: meshLimits.maxPlaceLength,
    text: (count) => workloadEntry(`{address: 10.0.0.1, locality: ${"n".repeat(count)}}`),
    says: /locality/,
  },
  {
    name: "nodes of a Grant",
    most: meshLimits.maxGrantItems,
    text: (count) =>
      document(
        "fairlead.dev/v1",
        "Grant",
        `{namespaces: [shop], nodes: [${list(count, (index) => `n${index}`)}]}`,
      ).replace("namespace: shop", "namespace: istio-system"),
    says: /nodes/,
  },
  {
    name: "aliases",
    most: meshLimits.maxAliasesPerDocument,
    text: (count) => `x: &a 1\ny: [${list(count, () => "*a")}]\n`,
    says: /aliases/,
  },
  {
    name: "collections within collections",
    most: meshLimits.maxNodeDepth,
    text: (count) => `x: ${"[".repeat(count)}${"]".repeat(count)}\n`,
    says: /nested more than/,
  },
];

describe("the bounds of a document", () => {
  for (const { name, most, text, says } of bounds)
    test(`${name}: so many are taken, and one more is refused`, () => {
      const complains = (count: number) => problemsOf(text(count)).filter((what) => says.test(what));
      expect(complains(most)).toEqual([]);
      const [first] = complains(most + 1);
      expect(first).toMatch(says);
      expect(first).toMatch(/more than|takes|at most|longer|nested|characters|has \d+/);
    });
});
