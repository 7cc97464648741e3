import { describe, expect, test } from "bun:test";
import { meshLimits } from "../../base/limits/mesh.ts";
import { formatLocation } from "../location.ts";
import type { AuthorizationPolicyDocument, MeshDocument, ServiceEntryDocument } from "./document.ts";
import { parseDocument, parseDocuments } from "./parse.ts";

function parse(text: string): ReturnType<typeof parseDocuments> {
  return parseDocuments([{ path: "f", text }]);
}

function one(text: string): MeshDocument {
  const { documents, errors } = parse(text);
  expect(errors).toEqual([]);
  const [document] = documents;
  if (document === undefined) throw new Error("no document");
  return document;
}

/** `line:column message`, without what it is about. */
function errorsOf(text: string): string[] {
  const { documents, errors } = parse(text);
  expect(documents).toEqual([]);
  return errors.map((error) => `${formatLocation(error.location).slice(2)} ${error.message}`);
}

const policy = (spec: string): string => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: p, namespace: shop}
spec:
${spec.replace(/^/gm, "  ")}
`;
const service = (spec: string): string => `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: s, namespace: shop}
spec:
${spec.replace(/^/gm, "  ")}
`;
const workload = (
  spec: string,
  metadata = "name: w, namespace: shop",
): string => `apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {${metadata}}
spec: {${spec}}
`;
const peer = (spec: string): string => `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: p, namespace: shop}
spec: ${spec}
`;

describe("what is wrong is told where it stands, with the word and the nearest valid one", () => {
  const cases: readonly [string, string, readonly string[]][] = [
    [
      "an unknown field",
      policy("acton: DENY\nrules: [{}]"),
      ["5:3 spec has no field acton; did you mean action?"],
    ],
    [
      "a wrong word",
      policy("action: Deny\nrules: [{}]"),
      ['5:11 spec.action must be one of ALLOW, DENY, AUDIT, CUSTOM, not "Deny"; did you mean DENY?'],
    ],
    [
      "an unknown kind",
      "apiVersion: v1\nkind: AuthorisationPolicy\n",
      ['2:7 there is no kind "AuthorisationPolicy"; did you mean AuthorizationPolicy?'],
    ],
    [
      "a kind for later",
      "apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {name: a}\n",
      ["2:7 Sidecar is not supported yet; it has no effect"],
    ],
    [
      "a kind of Kubernetes",
      "apiVersion: v1\nkind: Service\nmetadata: {name: a}\n",
      ["2:7 Service is not read: describe it as a ServiceEntry"],
    ],
    [
      "a wrong version",
      "apiVersion: security.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: a}\n",
      [
        '1:13 WorkloadEntry has apiVersion networking.istio.io/v1, networking.istio.io/v1beta1, networking.istio.io/v1alpha3, not "security.istio.io/v1"',
      ],
    ],
    ["no kind", "apiVersion: v1\n", ["1:1 kind is missing"]],
    ["no document", "- a\n- b\n", ["1:1 a document must be an object, not a list"]],
    ["a text", "hello\n", ['1:1 a document must be an object, not the string "hello"']],
    ["no name", "apiVersion: v1\nkind: Namespace\nmetadata: {}\n", ["3:11 metadata.name is missing"]],
    ["no metadata", "apiVersion: v1\nkind: Namespace\n", ["1:1 metadata is missing"]],
    [
      "no real name",
      "apiVersion: v1\nkind: Namespace\nmetadata: {name: A_b}\n",
      ['3:18 "A_b" is not a name: lower case letters, digits, - and .'],
    ],
    [
      "a number for a text",
      workload("address: 10.0.0.1", "name: w, labels: {version: 1.20}"),
      ['3:39 metadata.labels.version must be a string, not the number 1.20; write "1.20"'],
    ],
    [
      "a time that is none",
      workload("address: 10.0.0.1", "name: w, creationTimestamp: yesterday"),
      ['3:40 "yesterday" is not a time such as 2026-01-31T12:00:00Z'],
    ],
    [
      "a port as a number in a policy",
      policy("rules:\n- to:\n  - operation: {ports: [80]}"),
      ['7:27 spec.rules[0].to[0].operation.ports[0] must be a string, not the number 80; write "80"'],
    ],
    [
      "a field without a value",
      policy("rules:\n- from:\n  to:\n  - operation: {ports: ['80']}"),
      ["6:5 spec.rules[0].from has no value; give it one or remove it"],
    ],
    ["a rule that is nothing", policy("rules:\n-"), ["6:4 spec.rules[0] must be an object, not nothing"]],
    ["no address", workload("serviceAccount: a"), ["4:7 spec.address is missing"]],
    [
      "an address that is none",
      workload("address: 10.0.0.256"),
      ['4:17 spec.address: "10.0.0.256" is neither an IP address nor a host name'],
    ],
    [
      "a socket",
      workload("address: unix:///a"),
      ["4:17 spec.address: Unix domain sockets are not supported"],
    ],
    [
      "a weight below zero",
      workload("address: 10.0.0.1, weight: -1"),
      ["4:35 spec.weight must be from 0 to 4294967295, not -1"],
    ],
    [
      "a port out of range",
      workload("address: 10.0.0.1, ports: {http: 65536}"),
      ["4:41 spec.ports.http must be from 1 to 65535, not 65536"],
    ],
    [
      "a locality of too many parts",
      workload("address: 10.0.0.1, locality: a/b/c/d"),
      ['4:37 spec.locality must be region/zone/subzone, not "a/b/c/d"'],
    ],
    ["no hosts", service("resolution: STATIC"), ["5:3 spec.hosts must name at least one host"]],
    ["a host twice", service("hosts: [a.b, A.b]"), ['5:16 spec.hosts: "A.b" is given twice']],
    [
      "a host with a star in the middle",
      service("hosts: [a.*.b]"),
      ['5:11 spec.hosts: "a.*.b" is not a host name, nor one that begins with "*."'],
    ],
    [
      "UDP",
      service("hosts: [a.b]\nports: [{number: 53, name: dns, protocol: UDP}]"),
      ["6:45 spec.ports[0].protocol UDP is not supported: HBONE carries TCP"],
    ],
    [
      "a port twice",
      service("hosts: [a.b]\nports: [{number: 80, name: a}, {number: 80, name: b}]"),
      ["6:43 spec.ports: 80 is given twice"],
    ],
    [
      "endpoints of no resolution",
      service("hosts: [a.b]\nendpoints: [{address: 10.0.0.1}]"),
      [
        "6:3 spec.endpoints need spec.resolution STATIC or DNS; without it the called address itself is dialled",
      ],
    ],
    [
      "a name where addresses are due",
      service("hosts: [a.b]\nresolution: STATIC\nendpoints: [{address: c.d}]"),
      ['7:25 "c.d" is a name, and spec.resolution STATIC takes addresses'],
    ],
    [
      "an endpoint's port that the service does not have",
      service(
        "hosts: [a.b]\nresolution: STATIC\nports: [{number: 80, name: http}]\nendpoints: [{address: 10.0.0.1, ports: {htp: 1}}]",
      ),
      ['8:43 spec.ports has no port called "htp"; did you mean http?'],
    ],
    [
      "an endpoint twice",
      service("hosts: [a.b]\nresolution: STATIC\nendpoints: [{address: 10.0.0.1}, {address: 10.0.0.1}]"),
      ["7:46 spec.endpoints: the address 10.0.0.1 is given twice"],
    ],
    [
      "both endpoints and a selector",
      service("hosts: [a.b]\nresolution: STATIC\nendpoints: []\nworkloadSelector: {labels: {a: b}}"),
      ["8:3 spec.workloadSelector and spec.endpoints exclude each other"],
    ],
    [
      "a resolution for later",
      service("hosts: [a.b]\nresolution: DYNAMIC_DNS"),
      [
        "6:15 spec.resolution DYNAMIC_DNS is not supported: it needs an egress waypoint, which this version does not have",
      ],
    ],
    [
      "an export to one namespace",
      service("hosts: [a.b]\nexportTo: [other]"),
      ['6:14 spec.exportTo "other" is not supported: only "." (this namespace) and "*" (every namespace)'],
    ],
    [
      "a block that is none",
      service("hosts: [a.b]\naddresses: [10.0.0.0/33]"),
      ['6:15 spec.addresses: "10.0.0.0/33" is neither an IP address nor a CIDR block'],
    ],
    [
      "an address of another type",
      service("hosts: [a.b]\naddresses: 10.0.0.1"),
      ['6:14 spec.addresses must be a list, not the string "10.0.0.1"'],
    ],
    [
      "DENY without rules",
      policy("action: DENY"),
      ["5:11 a DENY policy without spec.rules would never match"],
    ],
    [
      "DENY with no rules",
      policy("action: DENY\nrules: []"),
      ["5:11 a DENY policy without spec.rules would never match"],
    ],
    [
      "a provider without CUSTOM",
      policy("provider: {name: a}"),
      ["5:3 spec.provider goes with the action CUSTOM, not ALLOW"],
    ],
    [
      "a selector and targets",
      policy("selector: {matchLabels: {a: b}}\ntargetRefs: [{kind: Service, name: a}]"),
      ["5:3 spec.selector and spec.targetRefs exclude each other"],
    ],
    [
      "an empty source",
      policy("rules: [{from: [{source: {}}]}]"),
      ["5:28 spec.rules[0].from[0].source is empty; it must say what it matches"],
    ],
    [
      "an empty list",
      policy("rules: [{from: [{source: {principals: []}}]}]"),
      ["5:29 spec.rules[0].from[0].source.principals is empty; remove it"],
    ],
    ["no source", policy("rules: [{from: [{}]}]"), ["5:19 spec.rules[0].from[0].source is missing"]],
    ["an empty from", policy("rules: [{from: []}]"), ["5:12 spec.rules[0].from is empty; remove it"]],
    [
      "an empty value",
      policy("rules: [{from: [{source: {namespaces: ['']}}]}]"),
      ["5:42 spec.rules[0].from[0].source.namespaces has an empty value"],
    ],
    [
      "a port that is none",
      policy("rules: [{to: [{operation: {ports: [http]}}]}]"),
      ['5:38 spec.rules[0].to[0].operation.ports: "http" is not a port'],
    ],
    [
      "an attribute that is none",
      policy("rules: [{when: [{key: source.ipp, values: [a]}]}]"),
      ['5:25 spec.rules[0].when[0].key: there is no attribute "source.ipp"; did you mean source.ip?'],
    ],
    [
      "a condition without values",
      policy("rules: [{when: [{key: source.ip}]}]"),
      ["5:19 spec.rules[0].when[0].values or notValues is missing"],
    ],
    [
      "service accounts beside principals",
      policy("rules: [{from: [{source: {serviceAccounts: [a], principals: [b]}}]}]"),
      ["5:51 spec.rules[0].from[0].source.principals and serviceAccounts exclude each other"],
    ],
    [
      "a service account with a star",
      policy("rules: [{from: [{source: {serviceAccounts: ['a/*']}}]}]"),
      ['5:47 spec.rules[0].from[0].source.serviceAccounts: "a/*" cannot have a wildcard; principals can'],
    ],
    [
      "a target elsewhere",
      policy("targetRefs: [{kind: Service, name: a, namespace: shop2}]"),
      [
        "5:52 spec.targetRefs[0].namespace must be left out: a policy refers to targets of its own namespace only",
      ],
    ],
    [
      "a mode that is none",
      peer("{mtls: {mode: STRIKT}}"),
      [
        '4:21 spec.mtls.mode must be one of UNSET, DISABLE, PERMISSIVE, STRICT, not "STRIKT"; did you mean STRICT?',
      ],
    ],
    [
      "ports without a selector",
      peer("{portLevelMtls: {80: {mode: STRICT}}}"),
      ["4:8 spec.portLevelMtls needs spec.selector.matchLabels"],
    ],
    [
      "a port name",
      peer("{selector: {matchLabels: {a: b}}, portLevelMtls: {http: {mode: STRICT}}}"),
      ['4:57 spec.portLevelMtls: "http" is not a port'],
    ],
  ];
  test.each(cases)("%s", (_name, text, expected) => {
    expect(errorsOf(text)).toEqual([...expected]);
  });

  test("the word and the suggestion stand by themselves, too, and the document is named", () => {
    expect(parse(policy("acton: DENY\nrules: [{}]")).errors).toEqual([
      {
        location: { file: "f", line: 5, column: 3 },
        resource: "AuthorizationPolicy shop/p",
        message: "spec has no field acton; did you mean action?",
        word: "acton",
        suggestion: "action",
      },
    ]);
  });

  test("many mistakes are told up to a limit", () => {
    const fields = Array.from({ length: 50 }, (_, index) => `  q${index}: 1`).join("\n");
    const errors = errorsOf(`apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n${fields}\n`);
    expect(errors).toHaveLength(meshLimits.maxErrorsPerDocument);
    expect(errors.at(-1)).toEndWith("(and 30 more errors in this document)");
  });

  test("too many rules, service accounts and targets", () => {
    expect(errorsOf(policy(`rules: [${"{},".repeat(513)}]`))).toEqual([
      "5:3 spec.rules has 513 rules; Istio takes 512",
    ]);
    expect(
      errorsOf(policy(`rules: [{from: [{source: {serviceAccounts: [${"a,".repeat(17)}]}}]}]`)),
    ).toHaveLength(1);
    expect(errorsOf(policy(`targetRefs: [${"{kind: Service, name: a},".repeat(17)}]`))).toHaveLength(1);
    expect(parse(policy(`rules: [${"{},".repeat(512)}]`)).errors).toEqual([]);
  });
});

describe("what is right", () => {
  test("one bad document is refused alone", () => {
    const { documents, errors } = parse(
      `${workload("address: 10.0.0.1")}---\n${workload("adress: 10.0.0.2", "name: x")}---\na: [\n---\n${workload("address: 10.0.0.3", "name: y")}`,
    );
    expect(documents.map((document) => document.metadata.name)).toEqual(["w", "y"]);
    expect(errors.map((error) => [error.resource, error.location.line])).toEqual([
      ["WorkloadEntry default/x", 9],
      ["WorkloadEntry default/x", 9],
      [null, 12],
    ]);
  });

  test("what kubectl prints can be used as it is", () => {
    const text = `apiVersion: v1
kind: List
metadata: {resourceVersion: ""}
items:
- apiVersion: v1
  kind: Namespace
  metadata:
    name: a
    uid: 1b
    creationTimestamp: "2026-01-31T12:00:00Z"
    managedFields: [{manager: kubectl}]
  spec: {finalizers: [kubernetes]}
  status: {phase: Active}
- apiVersion: networking.istio.io/v1beta1
  kind: WorkloadEntry
  metadata: {name: w, creationTimestamp: null}
  spec: {address: db.example, locality: r/z}
  status: {}
`;
    const { documents, errors } = parse(text);
    expect(errors).toEqual([]);
    expect(documents.map(({ kind, metadata }) => [kind, metadata.namespace, metadata.createdMs])).toEqual([
      ["Namespace", "", Date.UTC(2026, 0, 31, 12)],
      ["WorkloadEntry", "default", null],
    ]);
  });

  test("a ServiceEntry", () => {
    const document = one(
      service(
        "hosts: [DB.shop, '*.shop']\naddresses: [10.88.0.2, 'fd00::5']\nports: [{number: 5432, name: pg, protocol: http, targetPort: 15432}]\nresolution: DNS\nendpoints: [{address: A.example., ports: {pg: 1}, weight: 3, labels: {a: b}, network: west}]\nexportTo: ['.']\nsubjectAltNames: [nonsense]\nlocation: MESH_INTERNAL",
      ),
    ) as ServiceEntryDocument;
    expect(document.hosts.map(({ value }) => value)).toEqual(["db.shop", "*.shop"]);
    expect(document.addresses.map(({ value }) => `${value.ip}/${value.length}`)).toEqual([
      "10.88.0.2/32",
      "fd00::5/128",
    ]);
    expect(document.ports).toEqual([{ number: 5432, name: "pg", protocol: "HTTP11", targetPort: 15432 }]);
    expect(document.visibility).toBe("NAMESPACE");
    expect(document.endpoints[0]?.address.value).toEqual({ kind: "hostname", hostname: "a.example" });
    expect(document.warnings.map(({ message }) => message)).toEqual([
      '"nonsense" is not spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT and matches no server',
    ]);
    const block = one(
      service("hosts: [a.b]\naddresses: ['fd00::/64']\nresolution: STATIC"),
    ) as ServiceEntryDocument;
    expect(block.addresses.map(({ value }) => `${value.ip}/${value.length}`)).toEqual(["fd00::/64"]);
  });

  test("an AuthorizationPolicy, with every attribute that Istio has", () => {
    const document = one(`apiVersion: security.istio.io/v1beta1
kind: AuthorizationPolicy
metadata: {name: p, annotations: {istio.io/dry-run: "True"}}
spec:
  rules:
  - from:
    - source: {principals: ["*"], notNamespaces: [a], ipBlocks: [10.0.0.0/8], trustDomains: [td]}
    to:
    - operation: {ports: ["80"], notPorts: ["81"], methods: [GET], notPaths: ["/x"]}
    when:
    - {key: "request.headers[x]", values: [a]}
    - {key: "request.auth.claims[a][b]", notValues: [a]}
    - {key: destination.port, values: ["1"], notValues: ["2"]}
`) as AuthorizationPolicyDocument;
    expect(document.dryRun).toBe(true);
    const [rule] = document.rules;
    expect(rule?.from[0]?.layer7).toEqual(["trustDomains"]);
    expect(rule?.to[0]?.layer7).toEqual(["methods", "notPaths"]);
    expect(
      rule?.when.map((condition) => (condition.key === "layer7" ? condition.name : condition.key)),
    ).toEqual(["request.headers[x]", "request.auth.claims[a][b]", "destination.port"]);
  });
});

test("of a refused policy is kept what is needed to fail closed", () => {
  const refused = (text: string) => parseDocument({ file: "f", firstLine: 1, text })[0]?.refusedPolicy;
  expect(refused(policy("acton: DENY"))).toMatchObject({
    kind: "AuthorizationPolicy",
    namespace: "shop",
    name: "p",
    selector: null,
  });
  const selected = refused(policy("acton: DENY\nselector: {matchLabels: {app: db}}"));
  expect([...(selected?.selector ?? [])].map(([name, { value }]) => `${name}=${value}`)).toEqual(["app=db"]);
  expect(refused(policy("acton: DENY\nselector: {matchLabels: {app: 1}}"))?.selector).toBeNull();
  expect(
    refused(policy("acton: DENY\ntargetRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: a}]")),
  ).toBeNull();
  // What refers to something unknown may be meant for anything.
  for (const target of [
    "{kind: Gateway, name: a}",
    "{group: apps, kind: Deployment, name: a}",
    "{kind: Service, name: a}, 5",
  ])
    expect(refused(policy(`acton: DENY\ntargetRefs: [${target}]`))).toMatchObject({ selector: null });
  // A selector that is refused selects nothing, and so says nothing of whom it is about.
  for (const labels of ["app: '*'", "'': db", "'a*': db"])
    expect(refused(policy(`action: DENY\nrules: [{}]\nselector: {matchLabels: {${labels}}}`))).toMatchObject({
      selector: null,
    });
  // Tunnels would not carry these out were they good.
  for (const action of ["CUSTOM", "AUDIT"])
    expect(refused(policy(`action: ${action}\nprovidr: {}`))).toBeNull();
  expect(refused(workload("adress: 10.0.0.1"))).toBeNull();
  expect(refused(policy("rules: [{}]"))).toBeNull();
});
