/** `explain` of a workload with the application inside its tunnel (`--l7`). */
import { describe, expect, test } from "bun:test";
import { IpAddress } from "../../base/ip.ts";
import { runSteps } from "../../base/turns/time_slice.ts";
import { convertDocuments } from "../../mesh/convert/convert_documents.ts";
import { parseDocuments } from "../../mesh/documents/parse.ts";
import type { MeshStore } from "../../mesh/store/store.ts";
import { context, document } from "../../mesh/testing/convert_text.ts";
import type { Workload } from "../../mesh/workload.ts";
import { explain } from "./explain.ts";
import { explainedState } from "./explained_mesh.ts";
import { traceInside } from "./inside_trace.ts";
import type { RequestFacts } from "./waypoint_trace.ts";

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

  test("a service account without a namespace is of the policy's own", () => {
    for (const [account, verdict] of [
      ["frontend", "depends"],
      ["shop/frontend", "depends"],
      ["reports", "denied"],
      ["far/frontend", "denied"],
    ] as const) {
      const rule = `{from: [{source: {serviceAccounts: [${account}]}}], to: [{operation: {methods: [GET]}}]}`;
      const accounts = policy("shop/accounts", `${selected}, rules: [${rule}]`);
      expect([account, ask([...shop, accounts], "shop/frontend", "shop/backend").verdict]).toEqual([
        account,
        verdict,
      ]);
    }
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
    const condition = (name: string, target: string) =>
      document(
        "AccessCondition",
        name,
        `| {targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: ${target}}], conditions: [{expression: "true"}]}`,
      ).replace(/^apiVersion: .*$/m, "apiVersion: fairlead.dev/v1");
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
        condition("shop/condition", "backend"),
        condition("shop/condition-of-others", "other"),
      ],
      "shop/frontend",
      "shop/backend",
    );
    const { policies = [], because = "" } = arrivals[0]?.requests ?? {};
    expect(policies.map(({ document: key }) => key.split(" ")[1]).sort()).toEqual([
      ...[`${context.rootNamespace}/root`, "shop/target", "shop/whole-namespace"],
    ]);
    expect(because).toContain("RequestAuthentication shop/users");
    expect(because).toContain("AccessCondition shop/condition");
    expect(because).not.toContain("condition-of-others");
  });

  test("a document with a target is for that alone, whatever the namespace, and one for a Gateway is not its own", () => {
    const found = ask(
      [
        ...shop,
        policy(
          "shop/elsewhere",
          "action: DENY, targetRefs: [{group: networking.istio.io, kind: ServiceEntry, name: other}], rules: [{}]",
        ),
        document("Telemetry", "shop/lines", "| {accessLogging: [{disabled: true}]}").replace(
          "security.istio.io",
          "telemetry.istio.io",
        ),
      ],
      "shop/frontend",
      "shop/backend",
    );
    expect([found.verdict, found.arrivals[0]?.requests?.because]).toEqual([
      "allowed",
      "no policy is for its requests",
    ]);
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

  test("only documents of its own namespace or of the service's, and for the service, are named", () => {
    const fromShop = [...shop, virtual("shop/v", "backend.shop.mesh"), virtual("far/v", "backend.shop.mesh")];
    expect(ask(fromShop, "shop/frontend", "shop/frontend").route).toEndWith("by VirtualService shop/v");
    const other = route
      .replace("shop/r", "shop/r2")
      .replace("kind: ServiceEntry, name: backend", "kind: ServiceEntry, name: other");
    expect(other).not.toBe(route);
    expect(ask([...shop, other], "shop/frontend", "shop/frontend").route).toEndWith(
      "no route is for the service",
    );
    // A caller of another namespace: its own counts, and a third one's does not.
    const far = workload("frontend", "10.0.0.9").replace("shop", "far");
    const texts = [
      ...shop,
      far,
      ...["shop/v", "far/v", "third/v"].map((name) => virtual(name, "backend.shop.mesh")),
    ];
    expect(ask(texts, "far/frontend", "far/frontend").route).toEndWith(
      "by VirtualService shop/v, VirtualService far/v",
    );
  });

  test("a workload that is called by its own, and calls of others, have no such words", () => {
    expect(ask(shop, "shop/frontend", "shop/frontend", { to: "shop/backend:8080" }).route).toBe(
      "HBONE (mutual TLS) to the workload",
    );
    expect(ask(shop, "shop/reports", "shop/frontend").route).toEndWith("to its endpoint");
  });
});

test("a policy that the control plane has attached is for the workload, though its labels are not told", () => {
  const { documents } = parseDocuments([{ path: "mesh.yaml", text: [onlyGet].join("---\n") }]);
  const of = (authorizationPolicies: readonly string[]) => {
    const workload = { namespace: "shop", labels: new Map(), services: new Map(), authorizationPolicies };
    const call = { caller: null, callerIp: IpAddress.fromBytes(Uint8Array.of(10, 0, 0, 9)), port: 80 };
    return traceInside(
      documents,
      {} as MeshStore,
      "istio-system",
      workload as unknown as Workload,
      call as RequestFacts,
    ).verdict;
  };
  expect([of(["shop/only-get"]), of([])]).toEqual(["denied", "allowed"]);
});
