/** What an operator reads, word by word. */
import { describe, expect, test } from "bun:test";
import { IpAddress } from "../../base/ip.ts";
import { runSteps } from "../../base/turns/time_slice.ts";
import type { Authorization } from "../../mesh/authorization.ts";
import { convertDocuments } from "../../mesh/convert/convert_documents.ts";
import { parseDocuments } from "../../mesh/documents/parse.ts";
import { context, document } from "../../mesh/testing/convert_text.ts";
import type { Workload } from "../../mesh/workload.ts";
import { PolicySet } from "../policy_set.ts";
import { connection, match, policy, prefix, rule, string, workload } from "../testing/policy_fixtures.ts";
import { type ExplainedMesh, explain } from "./explain.ts";
import { explainedState } from "./explained_mesh.ts";
import { runPolicyTests } from "./policy_tests.ts";
import { tracePolicies } from "./policy_trace.ts";

const tunnel = "labels: {networking.istio.io/tunnel: http";
const entry = (name: string, address: string, labels = "", account = name): string =>
  document(
    "WorkloadEntry",
    `shop/${name}`,
    `${tunnel}} | {address: ${address}, serviceAccount: ${account}, ${tunnel}, app: ${name}${labels}}}`,
  );
const legacy = document(
  "WorkloadEntry",
  "shop/legacy",
  "| {address: 10.0.0.4, serviceAccount: legacy, labels: {app: legacy}}",
);
const service = (name: string, hosts: string, rest: string, meta = ""): string =>
  document(
    "ServiceEntry",
    `shop/${name}`,
    `${meta} | {hosts: [${hosts}], ports: [{number: 80, name: a, protocol: HTTP, targetPort: 8080}], resolution: STATIC, ${rest}}`,
  );
const selecting = (app: string) => `workloadSelector: {labels: {app: ${app}}}`;

function mesh(texts: readonly string[]): ExplainedMesh {
  const { documents, errors } = parseDocuments([{ path: "mesh.yaml", text: texts.join("---\n") }]);
  expect(errors).toEqual([]);
  const words = {
    missingPolicy: "deny",
    rootNamespace: context.rootNamespace,
    documents,
    layer7: null,
  } as const;
  return runSteps(explainedState(convertDocuments(documents, context), words));
}

function ask(texts: readonly string[], from: string, to: string, port: number | null = null) {
  return explain(mesh(texts), { from, to, port });
}

const frontend = entry("frontend", "10.0.0.1");
const backend = entry("backend", "10.0.0.3");
const shop = [frontend, backend, legacy];
const cart = service("cart", "cart.shop.mesh", `addresses: [240.1.0.1], ${selecting("backend")}`);
const old = service("old", "old.shop.mesh", `addresses: [240.1.0.2], ${selecting("legacy")}`);

const head = {
  from: "shop/frontend",
  identity: "spiffe://cluster.local/ns/shop/sa/frontend",
  waypoint: null,
  refusal: null,
};
const untouched = {
  allowed: true,
  policy: null,
  action: null,
  rule: null,
  location: null,
  because: "allowed: no policy denies it, and no ALLOW policy applies to this workload",
  change: [],
  dryRuns: [],
} as const;

describe("how it gets there", () => {
  const atBackend = { workload: "shop/backend", address: "10.0.0.3:8080", trace: untouched, requests: null };
  const atLegacy = { workload: "shop/legacy", address: "10.0.0.4:8080", trace: null, requests: null };

  test("to a service or a workload, with a tunnel or without one", () => {
    for (const to of ["cart.shop.mesh", "shop/cart:80"])
      expect(ask([...shop, cart], "shop/frontend", to)).toEqual({
        ...head,
        to: "cart.shop.mesh:80",
        verdict: "allowed",
        route: "service shop/cart.shop.mesh, HBONE (mutual TLS) to its endpoint",
        arrivals: [atBackend],
      });
    expect(ask([...shop, old], "shop/frontend", "old.shop.mesh")).toEqual({
      ...head,
      to: "old.shop.mesh:80",
      verdict: "allowed",
      route: "service shop/old.shop.mesh, plain TCP, since it has no tunnel, to its endpoint",
      arrivals: [atLegacy],
    });
    expect(ask(shop, "shop/frontend", "shop/backend", 8080)).toMatchObject({
      route: "HBONE (mutual TLS) to the workload",
      arrivals: [atBackend],
    });
    expect(ask(shop, "shop/frontend", "shop/legacy", 8080)).toMatchObject({
      route: "plain TCP, since it has no tunnel, to the workload",
      arrivals: [atLegacy],
    });
  });

  test("to a service without an address, and to one of two names by the entry that has both", () => {
    const free = service("free", "free.shop.mesh", selecting("backend"));
    expect(ask([...shop, free], "shop/frontend", "free.shop.mesh")).toMatchObject({
      to: "free.shop.mesh:80",
      verdict: "allowed",
      arrivals: [atBackend],
    });
    const two = service("two", "a.shop.mesh, b.shop.mesh", `addresses: [240.1.0.3], ${selecting("backend")}`);
    expect(ask([...shop, two], "shop/frontend", "shop/two").to).toBe("a.shop.mesh:80");
  });

  test("or not at all", () => {
    expect(ask([...shop, cart], "shop/frontend", "cart.shop.mesh:81")).toEqual({
      ...head,
      to: "cart.shop.mesh:81",
      verdict: "denied",
      route: "none",
      arrivals: [],
      refusal: "no healthy endpoint for 240.1.0.1:81",
    });
    const outside = (to: string) => ask([...shop, cart], "outside", to);
    expect(outside("cart.shop.mesh:81")).toEqual({
      ...{ from: "192.0.2.1", to: "cart.shop.mesh:81", identity: null, waypoint: null },
      ...{ verdict: "denied", route: "plain TCP, not through the mesh", arrivals: [] },
      refusal: "no endpoint takes this port",
    });
    expect(outside("192.0.2.77:443").refusal).toBe("nothing in the mesh is there");
  });

  test("from a workload without a tunnel around the mesh; an account is its first workload", () => {
    const found = ask(shop, "shop/legacy", "10.0.0.3:8080");
    expect([found.from, found.identity]).toEqual(["shop/legacy, which has no tunnel", null]);
    const twins = [entry("one", "10.0.1.1", "", "twin"), entry("two", "10.0.1.2", "", "twin"), ...shop];
    for (const words of ["shop/twin", "spiffe://cluster.local/ns/shop/sa/twin"])
      expect(ask(twins, words, "shop/backend", 8080).from).toBe("shop/one");
  });
});

test("who is meant by the words", () => {
  const { parties } = mesh([...shop, cart]);
  const at = (text: string) => IpAddress.parse(text);
  expect(parties.caller("outside")).toEqual({
    kind: "plaintext",
    ip: at("192.0.2.1"),
    workload: null,
  } as never);
  expect(parties.caller("10.9.9.9")).toEqual({
    kind: "plaintext",
    ip: at("10.9.9.9"),
    workload: null,
  } as never);
  expect(parties.caller("shop/legacy")).toMatchObject({
    kind: "plaintext",
    ip: at("10.0.0.4"),
    workload: { name: "legacy" },
  } as never);
  expect(parties.caller("10.0.0.1")).toMatchObject({ kind: "workload", workload: { name: "frontend" } });
  expect(parties.called("shop/cart:81", null)).toMatchObject({ kind: "service", port: 81 });
  expect(parties.called("cart.shop.mesh", null)).toMatchObject({ kind: "service", port: null });
});

describe("at a waypoint", () => {
  const gateway = document(
    "Gateway",
    "shop/waypoint",
    "| {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}], addresses: [{value: 10.0.0.9}]}",
  );
  const bound = service(
    "cart",
    "cart.shop.mesh",
    `addresses: [240.1.0.1], ${selecting("backend")}`,
    "labels: {istio.io/use-waypoint: waypoint}",
  );
  const base = [frontend, backend, gateway, entry("waypoint", "10.0.0.9"), bound];
  const target = "targetRefs: [{kind: ServiceEntry, group: networking.istio.io, name: cart}]";
  const with_ = (spec: string) => [
    ...base,
    document("AuthorizationPolicy", "shop/l7", `| {${target}, ${spec}}`),
  ];
  const decided = (spec: string, to = "cart.shop.mesh") => {
    const { waypoint } = ask(with_(spec), "shop/frontend", to);
    return [waypoint?.verdict, waypoint?.because];
  };
  const byRule = "allowed by AuthorizationPolicy shop/l7";
  const none = "no rule of AuthorizationPolicy shop/l7 matches, whatever is requested";

  test("without policies, by the name of the service or by its address", () => {
    for (const to of ["cart.shop.mesh", "240.1.0.1:80"])
      expect(ask(base, "shop/frontend", to)).toMatchObject({
        verdict: "allowed",
        route: "HBONE to the waypoint shop/waypoint, which calls the workload by its own identity",
        waypoint: {
          ...{ workload: "shop/waypoint", known: true, policies: [], verdict: "allowed" },
          because: "no policy is for this waypoint or its service",
        },
        arrivals: [{ workload: "shop/backend", address: "10.0.0.3:8080" }],
      });
  });

  test("a port of the service decides, in a rule or in its condition, and what is of a request does not", () => {
    for (const port of [80, 81]) {
      const expected = port === 80 ? ["allowed", byRule] : ["denied", none];
      expect(decided(`rules: [{to: [{operation: {ports: ["${port}"]}}]}]`)).toEqual(expected);
      expect(decided(`rules: [{when: [{key: destination.port, values: ["${port}"]}]}]`)).toEqual(expected);
      expect(decided(`rules: [{to: [{operation: {ports: ["${port}"]}}]}]`, "240.1.0.1:80")).toEqual(expected);
    }
    const method = 'rules: [{to: [{operation: {ports: ["80"], methods: [GET]}}]}]';
    expect(decided(method)).toEqual(["depends", "each request is decided by AuthorizationPolicy shop/l7"]);
    expect(decided('rules: [{from: [{source: {principals: ["*"]}}]}]')).toEqual(["allowed", byRule]);
  });

  test("tokens are of each request", () => {
    const tokens = document(
      "RequestAuthentication",
      "shop/tokens",
      `| {${target}, jwtRules: [{issuer: "https://issuer.example", jwksUri: "https://issuer.example/keys"}]}`,
    );
    const { waypoint } = ask([...base, tokens], "shop/frontend", "cart.shop.mesh");
    expect([waypoint?.verdict, waypoint?.because, waypoint?.policies]).toEqual([
      "depends",
      "each request is decided by RequestAuthentication shop/tokens",
      [],
    ]);
  });

  test("nothing beyond it takes the port", () => {
    const alone = base.filter((text) => text !== backend);
    expect(ask(alone, "shop/frontend", "cart.shop.mesh")).toMatchObject({
      verdict: "denied",
      arrivals: [],
      refusal: "no healthy endpoint takes this port",
    });
  });

  test("a test of a policy says what the waypoint says, and what is never reached", () => {
    const tried = (texts: readonly string[], spec: string) =>
      runSteps(
        runPolicyTests(
          mesh([
            ...texts,
            document("PolicyTest", "shop/t", `| {tests: [${spec}]}`).replace(
              "security.istio.io/v1",
              "fairlead.dev/v1",
            ),
          ]),
        ),
      ).map(({ message }) => message);
    const others = "rules: [{from: [{source: {namespaces: [other]}}]}]";
    expect(tried(with_(others), "{to: cart.shop.mesh, allowed: [shop/frontend]}")).toEqual([
      `shop/frontend → cart.shop.mesh:80 must be allowed, and is denied: ${none}`,
    ]);
    expect(tried(base, "{to: 'cart.shop.mesh:81', allowed: [shop/frontend]}")[0]).toContain(
      "and is denied: no ",
    );
    // The waypoint lets it pass, and the workload does not let the waypoint in.
    const strict = document(
      "AuthorizationPolicy",
      "shop/callers",
      "| {selector: {matchLabels: {app: backend}}, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/frontend]}}]}]}",
    );
    expect(tried([...base, strict], "{to: cart.shop.mesh, allowed: [shop/frontend]}")[0]).toMatch(
      /is denied: no rule of the ALLOW policy shop\/callers matches .* at shop\/backend$/,
    );
    expect(tried([...shop, cart], "{to: shop/legacy, port: 80, denied: [shop/frontend]}")).toEqual([
      "shop/frontend → shop/legacy:80 must be denied, and is allowed: no policy decides there, since it has no tunnel at shop/legacy",
    ]);
    const root = document(
      "PolicyTest",
      "istio-system/t",
      "| {tests: [{to: 'example.com:443', denied: [shop/frontend]}]}",
    );
    expect(
      runSteps(runPolicyTests(mesh([...shop, root.replace("security.istio.io/v1", "fairlead.dev/v1")]))).map(
        ({ message }) => message,
      ),
    ).toEqual(["shop/frontend → example.com:443 must be denied, and is allowed: it is outside of the mesh"]);
  });
});

describe("what would have to change", () => {
  const traced = (policies: readonly Authorization[], asked = connection(), at: Partial<Workload> = {}) =>
    tracePolicies(new PolicySet(policies), workload(at), asked, "deny");
  const onPort = (port: number) => rule([match({ destinationPorts: [port] })]);
  const plain = connection({ sourceIdentity: null });

  test("plain text that a rule about something else refuses gains nothing by an identity", () => {
    const one = policy({ action: "DENY", rules: [onPort(connection().destinationPort)] });
    expect(traced([one], plain).change).toEqual(["narrow or remove rule 0 of shop/policy"]);
    const named = policy({ rules: [rule([match({ principals: [string("td/ns/shop/sa/cart")] })])] });
    expect(traced([named], plain).change).toEqual([
      'rule 0 of shop/policy would allow it if the caller had an identity (principals "td/ns/shop/sa/cart")',
    ]);
  });

  test("of rules that are as near the first is told, and one that can never match is not", () => {
    const never = rule([match({})]);
    const one = policy({
      rules: [
        never,
        onPort(1),
        onPort(2),
        rule([match({ destinationPorts: [3] })], [match({ sourceIps: [prefix("1.1.1.1/32")] })]),
      ],
    });
    expect(traced([one]).change).toEqual([
      'rule 1 of shop/policy would allow it if ports listed "8080" (it has "1")',
    ]);
    const either = policy({
      rules: [rule([match({ destinationPorts: [5] }), match({ destinationPorts: [6] })])],
    });
    expect(traced([either]).change[0]).toContain('(it has "5")');
    const only = policy({ rules: [never] });
    expect(traced([only]).change).toEqual(["add a rule that allows it to shop/policy"]);
    const address = policy({ rules: [rule([match({ notDestinationIps: [prefix("0.0.0.0/0")] })])] });
    expect(traced([address]).change[0]).toStartWith(
      "rule 0 of shop/policy would allow it if destination.ip (notValues) did not list",
    );
  });

  test("four names are listed, and the others counted", () => {
    const many = (count: number) =>
      traced(Array.from({ length: count }, (_, index) => policy({ name: `p${index}`, rules: [onPort(1)] })))
        .because;
    const four = "denied: no rule of the ALLOW policies shop/p0, shop/p1, shop/p2, shop/p3";
    expect([many(4), many(5)]).toEqual([`${four} matches`, `${four} and 1 more matches`]);
  });

  test("what dry runs would have done: let in, where an ALLOW policy is lacking, and nothing against a DENY", () => {
    const port = connection().destinationPort;
    const allowing = policy({ name: "dry", dryRun: true, rules: [onPort(port)] });
    const others = policy({ rules: [onPort(1)] });
    const denying = policy({ name: "no", action: "DENY", rules: [onPort(port)] });
    expect(traced([others, allowing]).dryRuns).toEqual(["would have been allowed by rule 0 of shop/dry"]);
    expect(traced([denying, allowing]).dryRuns).toEqual([]);
    expect(traced([others, { ...denying, dryRun: true }]).dryRuns).toEqual([]);
    expect(traced([others, { ...others, name: "dry", dryRun: true }]).dryRuns).toEqual([]);
    expect(traced([{ ...denying, dryRun: true }]).dryRuns).toEqual([
      "would have been denied by rule 0 of shop/no",
    ]);
    expect(traced([others]).dryRuns).toEqual([]);
  });
});

test("a workload on another network is behind its gateway, which is as far as it goes", () => {
  const far = document(
    "WorkloadEntry",
    "shop/far",
    `${tunnel}} | {address: 10.1.0.3, network: far, serviceAccount: far, ${tunnel}, app: far}}`,
  );
  const gateway = document(
    "WorkloadEntry",
    "istio-system/far-gateway",
    "annotations: {fairlead.dev/gateway-for-network: far} | {address: 192.0.2.9, serviceAccount: gateway}",
  );
  const farService = service(
    "far",
    "far.shop.mesh",
    `addresses: [240.1.0.3], subjectAltNames: ["spiffe://cluster.local/ns/shop/sa/far"], ${selecting("far")}`,
  );
  expect(ask([frontend, far, gateway, farService], "shop/frontend", "far.shop.mesh")).toEqual({
    ...head,
    to: "far.shop.mesh:80",
    verdict: "denied",
    route: "none",
    arrivals: [],
    refusal: "it is on another network, behind a gateway, which this version does not reach",
  });
});

test("a workload whose address is nowhere is asked about by its service", () => {
  const nowhere = document(
    "WorkloadEntry",
    "shop/nowhere",
    `${tunnel}} | {address: nowhere.example.com, serviceAccount: nowhere, ${tunnel}, app: nowhere}}`,
  );
  expect(() => ask([frontend, nowhere], "shop/frontend", "shop/nowhere", 80)).toThrow(
    "shop/nowhere has no address; ask about its service",
  );
});

test("a port of which no target is known is none that could be meant", () => {
  const { documents } = parseDocuments([{ path: "mesh.yaml", text: [...shop, cart].join("---\n") }]);
  const state = convertDocuments(documents, context);
  const services = state.services.map((one) => {
    const [port] = one.ports.values();
    expect(port).toBeDefined();
    const unknown = port === undefined ? [] : [[90, { ...port, servicePort: 90, targetPort: 0 }] as const];
    return { ...one, ports: new Map([...one.ports, ...unknown]) };
  });
  const words = {
    missingPolicy: "deny",
    rootNamespace: context.rootNamespace,
    documents,
    layer7: null,
  } as const;
  const { parties, ...rest } = runSteps(explainedState({ ...state, services }, words));
  const question = { from: "shop/frontend", to: "shop/backend", port: null };
  expect(explain({ parties, ...rest }, question).to).toBe("shop/backend:8080");
});

test("a fault of the program's own is no answer of a PolicyTest", () => {
  const testOf = document(
    "PolicyTest",
    "shop/t",
    '| {tests: [{to: "shop/backend:8080", allowed: [shop/frontend]}]}',
  ).replace("security.istio.io/v1", "fairlead.dev/v1");
  const asked = mesh([...shop, testOf]);
  expect(runSteps(runPolicyTests(asked))).toMatchObject([{ passed: true }]);
  const faulty = Object.assign(Object.create(asked.parties), {
    called: () => {
      throw new TypeError("a fault");
    },
  });
  expect(() => runSteps(runPolicyTests({ ...asked, parties: faulty }))).toThrow("a fault");
});
