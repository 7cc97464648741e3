import { describe, expect, test } from "bun:test";
import { meshLimits } from "../../base/limits/mesh.ts";
import { runSteps } from "../../base/turns/time_slice.ts";
import { convertDocuments } from "../../mesh/convert/convert_documents.ts";
import { parseDocuments } from "../../mesh/documents/parse.ts";
import { context, document } from "../../mesh/testing/convert_text.ts";
import { type ExplainedMesh, explain } from "./explain.ts";
import { explainedState } from "./explained_mesh.ts";
import { runPolicyTests } from "./policy_tests.ts";

function workload(name: string, ip: string, labels = "", tunnel = true): string {
  const all = [`app: ${name.split("/")[1]}`, ...(tunnel ? ["networking.istio.io/tunnel: http"] : []), labels];
  const words = all.filter((each) => each !== "").join(", ");
  return document(
    "WorkloadEntry",
    name,
    `labels: {${words}} | {address: ${ip}, serviceAccount: ${name.split("/")[1]}, labels: {${words}}}`,
  );
}

function service(name: string, host: string, vip: string, rest = "", meta = ""): string {
  const app = name.split("/")[1];
  return document(
    "ServiceEntry",
    name,
    `${meta === "" ? "" : `${meta} `}| {hosts: [${host}], addresses: [${vip}], ports: [{number: 80, name: a, protocol: HTTP, targetPort: 8080}${rest}], resolution: STATIC, workloadSelector: {labels: {app: ${app}}}}`,
  );
}

function mesh(texts: readonly string[], withDocuments = true): ExplainedMesh {
  const { documents, errors } = parseDocuments([{ path: "mesh.yaml", text: texts.join("---\n") }]);
  expect(errors).toEqual([]);
  const words = {
    missingPolicy: "deny",
    rootNamespace: context.rootNamespace,
    documents: withDocuments ? documents : null,
    layer7: null,
  } as const;
  return runSteps(explainedState(convertDocuments(documents, context), words));
}

const frontend = workload("shop/frontend", "10.0.0.1");
const reports = workload("shop/reports", "10.0.0.2");
const backend = workload("shop/backend", "10.0.0.3");
const legacy = workload("shop/legacy", "10.0.0.4", "", false);
const backendService = service("shop/backend", "backend.shop.mesh", "240.1.0.1");
const onlyFrontend = document(
  "AuthorizationPolicy",
  "shop/callers",
  "| {selector: {matchLabels: {app: backend}}, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/frontend]}}]}]}",
);
const strict = document("PeerAuthentication", "istio-system/strict", "| {mtls: {mode: STRICT}}");
const shop = [frontend, reports, backend, legacy, backendService];

function ask(texts: readonly string[], from: string, to: string, port: number | null = null) {
  return explain(mesh(texts), { from, to, port });
}

describe("who may reach what", () => {
  test("a service by its name, its entry, its address, and by a workload's own", () => {
    for (const to of ["backend.shop.mesh", "240.1.0.1:80", "shop/backend:8080", "10.0.0.3:8080"]) {
      const allowed = ask([...shop, onlyFrontend], "shop/frontend", to);
      expect([to, allowed.verdict, allowed.arrivals.length]).toEqual([to, "allowed", 1]);
      const denied = ask([...shop, onlyFrontend], "spiffe://cluster.local/ns/shop/sa/reports", to);
      expect([to, denied.verdict]).toEqual([to, "denied"]);
      expect(denied.arrivals[0]?.trace?.because).toMatch(/shop\/callers matches \(mesh\.yaml:\d+:1\)$/);
    }
  });

  test("the port that policy sees is the workload's own", () => {
    const byPort = document(
      "AuthorizationPolicy",
      "shop/p",
      '| {rules: [{to: [{operation: {ports: ["8080"]}}]}]}',
    );
    expect(ask([...shop, byPort], "shop/frontend", "backend.shop.mesh:80").verdict).toBe("allowed");
    expect(ask([...shop, byPort], "shop/frontend", "shop/backend", 80).verdict).toBe("denied");
  });

  test("plain text has no identity, and goes around the mesh", () => {
    const open = ask(shop, "outside", "shop/backend");
    expect([open.verdict, open.identity]).toEqual(["allowed", null]);
    const closed = ask([...shop, strict], "outside", "backend.shop.mesh");
    expect(closed.verdict).toBe("denied");
    expect(closed.arrivals[0]?.trace?.change[0]).toContain("must come through the mesh");
    // A workload without a tunnel is no better.
    expect(ask([...shop, strict], "shop/legacy", "shop/backend").verdict).toBe("denied");
    expect(ask([...shop, strict], "shop/frontend", "shop/backend").verdict).toBe("allowed");
  });

  test("nothing decides at a workload without a tunnel, nor outside of the mesh", () => {
    const inMesh = ask([...shop, strict], "outside", "shop/legacy", 80);
    expect([inMesh.verdict, inMesh.arrivals[0]?.trace]).toEqual(["allowed", null]);
    for (const to of ["192.0.2.77:443", "example.com:443"]) {
      const away = ask(shop, "shop/frontend", to);
      expect([away.verdict, away.route.includes("outside of the mesh")]).toEqual(["allowed", true]);
    }
  });

  test("endpoints that decide otherwise are told apart", () => {
    const second = workload("shop/backend-2", "10.0.0.5", "part: two").replaceAll(
      "app: backend-2",
      "app: backend",
    );
    const found = ask(
      [
        ...[frontend, reports, backend, second, backendService],
        document(
          "AuthorizationPolicy",
          "shop/two",
          "| {selector: {matchLabels: {part: two}}, action: DENY, rules: [{}]}",
        ),
      ],
      "shop/frontend",
      "backend.shop.mesh",
    );
    expect(found.verdict).toBe("mixed");
    expect(found.arrivals.map(({ workload: name, trace }) => [name, trace?.allowed])).toEqual([
      ["shop/backend", true],
      ["shop/backend-2", false],
    ]);
  });

  test("a service without a healthy endpoint, and a port it has not, are never reached", () => {
    const lonely = service("shop/lonely", "lonely.shop.mesh", "240.1.0.9");
    const found = ask([...shop, lonely], "shop/frontend", "lonely.shop.mesh");
    expect([found.verdict, found.refusal]).toEqual(["denied", "no healthy endpoint for 240.1.0.9:80"]);
    expect(ask(shop, "shop/frontend", "backend.shop.mesh:81").verdict).toBe("denied");
    expect(ask(shop, "outside", "backend.shop.mesh:81").verdict).toBe("denied");
  });

  const unclear: readonly (readonly [from: string, to: string, port: number | null, words: string])[] = [
    ["shop/nobody", "shop/backend", null, "no workload of the mesh is called shop/nobody"],
    ["shop", "shop/backend", null, "shop is no caller"],
    ["shop/frontend", "shop/nothing", null, "no workload and no service of the mesh is called shop/nothing"],
    ["shop/frontend", "a/b/c", null, "a/b/c is nothing to call"],
    ["shop/frontend", "backend", null, "no service of the mesh is called backend"],
    ["shop/frontend", "10.0.0.3", null, "give --port"],
    ["shop/frontend", "shop/backend:80", 81, "name different ports"],
    ["", "", null, "is no caller"],
  ];
  for (const [from, to, port, words] of unclear)
    test(`${from} to ${to} is not clear`, () => expect(() => ask(shop, from, to, port)).toThrow(words));

  test("of several ports one must be said", () => {
    const two = service("shop/backend", "b.shop.mesh", "240.1.0.2", ", {number: 81, name: b, protocol: TCP}");
    expect(() => ask([frontend, backend, two], "shop/frontend", "b.shop.mesh")).toThrow("has 80, 81");
  });

  test("what a policy in dry run would have done is told, and changes nothing", () => {
    const dry = onlyFrontend.replace(
      "namespace: shop}",
      "namespace: shop, annotations: {istio.io/dry-run: 'true'}}",
    );
    const found = ask([...shop, dry], "shop/reports", "shop/backend");
    expect(found.verdict).toBe("allowed");
    expect(found.arrivals[0]?.trace?.dryRuns[0]).toContain("would have been denied: no rule of shop/callers");
  });
});

describe("through a waypoint", () => {
  const gateway = document(
    "Gateway",
    "shop/waypoint",
    "| {gatewayClassName: istio-waypoint, listeners: [{name: mesh, port: 15008, protocol: HBONE}], addresses: [{value: 10.0.0.9}]}",
  );
  const instance = workload("shop/waypoint", "10.0.0.9");
  const bound = service(
    "shop/backend",
    "backend.shop.mesh",
    "240.1.0.1",
    "",
    "labels: {istio.io/use-waypoint: waypoint}",
  );
  const base = [frontend, reports, backend, gateway, instance, bound];
  const target = "targetRefs: [{kind: ServiceEntry, group: networking.istio.io, name: backend}]";

  test("without policies it lets pass, and calls by its own identity", () => {
    const found = ask(base, "shop/frontend", "backend.shop.mesh");
    expect([found.verdict, found.waypoint?.workload]).toEqual(["allowed", "shop/waypoint"]);
    // The workload sees the waypoint.
    const direct = ask([...base, onlyFrontend], "shop/frontend", "backend.shop.mesh");
    expect(direct.verdict).toBe("denied");
    expect(direct.arrivals[0]?.trace?.change[0]).toContain("sa/waypoint");
  });

  const cases: readonly (readonly [name: string, spec: string, verdict: string])[] = [
    [
      "a rule about a method depends on the request",
      "rules: [{to: [{operation: {methods: [GET]}}]}]",
      "depends",
    ],
    [
      "a rule for others denies whatever is asked",
      "rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/reports]}}], to: [{operation: {methods: [GET]}}]}]",
      "denied",
    ],
    [
      "a rule for the caller allows",
      "rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/frontend]}}]}]",
      "allowed",
    ],
    ["DENY of the caller", "action: DENY, rules: [{from: [{source: {namespaces: [shop]}}]}]", "denied"],
    ["DENY of a path depends", "action: DENY, rules: [{to: [{operation: {paths: [/admin]}}]}]", "depends"],
    ["DENY of others", "action: DENY, rules: [{from: [{source: {namespaces: [other]}}]}]", "allowed"],
    ["CUSTOM depends", "action: CUSTOM, provider: {name: x}, rules: [{}]", "depends"],
    ["a port of the service", 'rules: [{to: [{operation: {ports: ["81"]}}]}]', "denied"],
  ];
  for (const [name, spec, verdict] of cases)
    test(name, () => {
      const one = document("AuthorizationPolicy", "shop/l7", `| {${target}, ${spec}}`);
      const found = ask([...base, one], "shop/frontend", "backend.shop.mesh");
      expect([found.verdict, found.waypoint?.policies.length]).toEqual([verdict as typeof found.verdict, 1]);
    });

  test("where documents are not known, it says so and promises nothing", () => {
    const found = explain(mesh(base, false), { from: "shop/frontend", to: "backend.shop.mesh", port: null });
    expect([found.verdict, found.waypoint?.known]).toEqual(["depends", false]);
  });
});

function policyTest(name: string, spec: string): string {
  return document("PolicyTest", name, `| {tests: [${spec}]}`).replace(
    "security.istio.io/v1",
    "fairlead.dev/v1",
  );
}

function tried(texts: readonly string[]) {
  return runSteps(runPolicyTests(mesh(texts)));
}

describe("policy tests", () => {
  test("each caller is tried, and what fails says where the policy is", () => {
    const calls = tried([
      ...shop,
      onlyFrontend,
      policyTest(
        "shop/t",
        "{to: shop/backend, port: 8080, allowed: [shop/frontend, shop/reports], denied: [outside]}",
      ),
    ]);
    expect(calls.map(({ from, passed }) => [from, passed])).toEqual([
      ["shop/frontend", true],
      ["shop/reports", false],
      ["outside", true],
    ]);
    expect(calls[1]?.message).toMatch(
      /^shop\/reports → shop\/backend:8080 must be allowed, and is denied: no rule of the ALLOW policy shop\/callers matches \(mesh\.yaml:\d+:1\) at shop\/backend$/,
    );
    expect(calls[1]?.location.line).toBeGreaterThan(1);
  });

  test("a caller that is not in the mesh fails its test, whatever is expected", () => {
    for (const expected of ["allowed", "denied"])
      expect(
        tried([...shop, policyTest("shop/t", `{to: shop/backend, ${expected}: [shop/nobody]}`)])[0],
      ).toMatchObject({
        passed: false,
        message: "no workload of the mesh is called shop/nobody or runs as it",
      });
  });

  test("a tenant's tests are about its own, the root namespace's about all", () => {
    const foreign = tried([...shop, policyTest("other/t", "{to: shop/backend, allowed: [shop/frontend]}")]);
    expect(foreign[0]).toMatchObject({ passed: false });
    expect(foreign[0]?.message).toContain("is in namespace shop");
    expect(
      tried([...shop, policyTest("other/t", "{to: 'example.com:443', allowed: [shop/frontend]}")])[0]
        ?.message,
    ).toContain("is nothing of the mesh");
    expect(
      tried([...shop, policyTest("istio-system/t", "{to: shop/backend, allowed: [shop/frontend]}")])[0],
    ).toMatchObject({
      passed: true,
    });
  });

  test("a namespace has so many tested calls and no more; others are not touched by it", () => {
    const callers = Array.from({ length: meshLimits.maxTestCallers }, (_, index) => `10.9.0.${index}`).join(
      ", ",
    );
    const cases = Array.from({ length: 65 }, () => `{to: shop/backend, allowed: [${callers}]}`).join(", ");
    const calls = tried([
      ...shop,
      policyTest("shop/t", cases),
      policyTest("istio-system/u", "{to: shop/backend, allowed: [outside]}"),
    ]);
    const failed = calls.filter(({ passed }) => !passed);
    expect(failed.length).toBe(65 * meshLimits.maxTestCallers - meshLimits.maxTestedCallsPerNamespace);
    expect(failed[0]?.message).toContain("was not run");
    expect(calls.at(-1)).toMatchObject({ document: "PolicyTest istio-system/u", passed: true });
  });
});
