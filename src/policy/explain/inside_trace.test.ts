/** `explain` of a workload with the application inside its tunnel (`--l7`). */
import { describe, expect, test } from "bun:test";
import { runSteps } from "../../base/time_slice.ts";
import { convertDocuments } from "../../mesh/convert/convert_documents.ts";
import { parseDocuments } from "../../mesh/documents/parse.ts";
import { context, document } from "../../mesh/testing/convert_text.ts";
import { explain } from "./explain.ts";
import { explainedState } from "./explained_mesh.ts";

const tunnel = "networking.istio.io/tunnel: http";
function workload(name: string, ip: string): string {
  const labels = `{app: ${name}, ${tunnel}}`;
  return document(
    "WorkloadEntry",
    `shop/${name}`,
    `labels: ${labels} | {address: ${ip}, serviceAccount: ${name}, labels: ${labels}}`,
  );
}

const service = document(
  "ServiceEntry",
  "shop/backend",
  "| {hosts: [backend.shop.mesh], addresses: [240.1.0.1], ports: [{number: 80, name: a, protocol: HTTP, targetPort: 8080}], resolution: STATIC, workloadSelector: {labels: {app: backend}}}",
);
const shop = [
  workload("frontend", "10.0.0.1"),
  workload("reports", "10.0.0.2"),
  workload("backend", "10.0.0.3"),
  service,
];
const policy = (name: string, spec: string) => document("AuthorizationPolicy", name, `| {${spec}}`);
const selected = "selector: {matchLabels: {app: backend}}";
const onlyGet = policy(
  "shop/only-get",
  `${selected}, rules: [{from: [{source: {principals: [cluster.local/ns/shop/sa/frontend]}}], to: [{operation: {methods: [GET]}}]}]`,
);

function ask(
  texts: readonly string[],
  from: string,
  layer7: string | null,
  { to = "backend.shop.mesh", hasDocuments = true } = {},
) {
  const { documents, errors } = parseDocuments([{ path: "mesh.yaml", text: texts.join("---\n") }]);
  expect(errors).toEqual([]);
  const words = { missingPolicy: "deny", rootNamespace: context.rootNamespace, layer7 } as const;
  const state = convertDocuments(documents, context);
  const mesh = runSteps(explainedState(state, { ...words, documents: hasDocuments ? documents : null }));
  return explain(mesh, { from, to, port: null });
}

describe("into a workload with the application inside", () => {
  test("a rule of methods is decided request by request; any other tunnel allows nothing by it", () => {
    expect(ask([...shop, onlyGet], "shop/frontend", null).verdict).toBe("denied");
    const found = ask([...shop, onlyGet], "shop/frontend", "shop/backend");
    expect(found.verdict).toBe("depends");
    expect(found.arrivals).toMatchObject([
      {
        trace: { allowed: true },
        requests: {
          because: "each request is decided by AuthorizationPolicy shop/only-get",
          policies: [{ document: "AuthorizationPolicy shop/only-get", outcome: "depends on the request" }],
        },
      },
    ]);
  });

  test("who is in no rule is denied whatever the request is, and so is plain text", () => {
    for (const from of ["shop/reports", "outside"]) {
      const { verdict, arrivals } = ask([...shop, onlyGet], from, "shop/backend");
      expect([verdict, arrivals[0]?.requests?.verdict]).toEqual(["denied", "denied"]);
    }
    const notReports = policy(
      "shop/not-reports",
      `action: DENY, ${selected}, rules: [{from: [{source: {notPrincipals: [cluster.local/ns/shop/sa/frontend]}}]}]`,
    );
    expect(ask([...shop, notReports], "outside", "shop/backend").verdict).toBe("denied");
    expect(ask([...shop, notReports], "shop/frontend", "shop/backend").verdict).toBe("allowed");
  });

  test("PeerAuthentication decides on the connection, before requests", () => {
    const strict = document("PeerAuthentication", "shop/strict", "| {mtls: {mode: STRICT}}");
    const { verdict, arrivals } = ask([...shop, strict], "outside", "shop/backend");
    expect(verdict).toBe("denied");
    expect(arrivals).toMatchObject([{ trace: { allowed: false }, requests: { verdict: "allowed" } }]);
    expect(ask([...shop, strict], "shop/frontend", "shop/backend").verdict).toBe("allowed");
  });

  test("documents count by selector, root namespace and target; those of others do not", () => {
    const named = (name: string, spec: string) =>
      policy(name, `action: DENY, ${spec}rules: [{to: [{operation: {paths: [/a]}}]}]`);
    const users = document(
      "RequestAuthentication",
      "shop/users",
      `| {${selected}, jwtRules: [{issuer: i, jwksUri: "https://i.example/keys"}]}`,
    );
    const { arrivals } = ask(
      [
        ...shop,
        users,
        named("shop/whole-namespace", ""),
        named(`${context.rootNamespace}/root`, ""),
        named(
          "shop/target",
          "targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: backend}], ",
        ),
        named("shop/others", "selector: {matchLabels: {app: reports}}, "),
        named("foreign/foreign", ""),
      ],
      "shop/frontend",
      "shop/backend",
    );
    const { policies = [], because = "" } = arrivals[0]?.requests ?? {};
    expect(policies.map(({ document: key }) => key.split(" ")[1]).sort()).toEqual([
      ...[`${context.rootNamespace}/root`, "shop/target", "shop/whole-namespace"],
    ]);
    expect(because).toContain("RequestAuthentication shop/users");
  });

  test("without the documents it is not known, and said", () => {
    const found = ask([...shop, onlyGet], "shop/frontend", "shop/backend", { hasDocuments: false });
    expect(found.verdict).toBe("depends");
    expect(found.arrivals).toMatchObject([
      { trace: null, requests: { because: expect.stringContaining("not here yet") } },
    ]);
  });

  test("another workload of the mesh is judged as ever", () => {
    const found = ask([...shop, onlyGet], "shop/frontend", "shop/reports");
    expect([found.verdict, found.arrivals[0]?.requests]).toEqual(["denied", null]);
  });
});

/** The apiVersion is not that of policies. */
function traffic(kind: "VirtualService" | "HTTPRoute", name: string, spec: string): string {
  const version = kind === "HTTPRoute" ? "gateway.networking.k8s.io/v1" : "networking.istio.io/v1";
  return document(kind, name, spec).replace(/^apiVersion: .*$/m, `apiVersion: ${version}`);
}

describe("out of a workload with the application inside", () => {
  const virtual = (name: string, host: string) =>
    traffic(
      "VirtualService",
      name,
      `| {hosts: [${host}], http: [{route: [{destination: {host: backend.shop.mesh}}]}]}`,
    );
  const route = traffic(
    "HTTPRoute",
    "shop/r",
    "| {parentRefs: [{group: networking.istio.io, kind: ServiceEntry, name: backend}], rules: [{backendRefs: [{group: networking.istio.io, kind: Hostname, name: backend.shop.mesh, port: 80}]}]}",
  );

  test("its calls are routed on its own host, by the documents for the service", () => {
    const texts = [
      ...shop,
      virtual("shop/v", "backend.shop.mesh"),
      virtual("shop/w", "other.shop.mesh"),
      route,
    ];
    expect(ask(texts, "shop/frontend", "shop/frontend").route).toBe(
      "service shop/backend.shop.mesh, HBONE (mutual TLS) to its endpoint; each request is routed on its own host, by VirtualService shop/v, HTTPRoute shop/r",
    );
    expect(ask(shop, "shop/frontend", "shop/frontend").route).toEndWith("no route is for the service");
    expect(ask(texts, "shop/frontend", "shop/frontend", { hasDocuments: false }).route).toEndWith(
      "by documents that are not known here",
    );
  });

  test("a workload that is called by its own, and calls of others, have no such words", () => {
    expect(ask(shop, "shop/frontend", "shop/frontend", { to: "shop/backend:8080" }).route).toBe(
      "HBONE (mutual TLS) to the workload",
    );
    expect(ask(shop, "shop/reports", "shop/frontend").route).toEndWith("to its endpoint");
  });
});
