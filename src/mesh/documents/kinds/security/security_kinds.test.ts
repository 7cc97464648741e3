import { describe, expect, test } from "bun:test";
import { authLimits } from "../../../../base/limits/auth.ts";
import type {
  AccessConditionDocument,
  AuthorizationPolicyDocument,
  MeshConfigDocument,
  MeshDocument,
  RequestAuthenticationDocument,
} from "../../document.ts";
import { parseDocument, parseDocuments } from "../../parse.ts";
import { parseDuration } from "../duration.ts";

function one(kind: string, spec: string, group = "security.istio.io"): MeshDocument {
  const { documents, errors } = parseDocuments([{ path: "f", text: text(kind, spec, group) }]);
  expect(errors).toEqual([]);
  const [document] = documents;
  if (document === undefined) throw new Error("no document");
  return document;
}

function text(kind: string, spec: string, group = "security.istio.io"): string {
  const metadata = kind === "MeshConfig" ? "name: default" : "name: d, namespace: shop";
  return `apiVersion: ${group}/v1\nkind: ${kind}\nmetadata: {${metadata}}\nspec:\n${spec.replace(/^/gm, "  ")}\n`;
}

function errorsOf(kind: string, spec: string, group?: string): readonly string[] {
  return parseDocuments([{ path: "f", text: text(kind, spec, group) }]).errors.map(
    ({ location, message }) => `${location.line}:${location.column} ${message}`,
  );
}

const jwt = (fields: string): string => `jwtRules:\n- ${fields}`;

describe("RequestAuthentication", () => {
  test("with every field that Istio has", () => {
    const document = one(
      "RequestAuthentication",
      `targetRefs: [{kind: Service, name: reviews}]
jwtRules:
- issuer: https://issuer.example
  audiences: [a, b]
  jwksUri: https://issuer.example/keys
  fromHeaders: [{name: X-Token, prefix: "Token "}, {name: x-plain}]
  fromParams: [token]
  fromCookies: [session]
  forwardOriginalToken: true
  outputPayloadToHeader: X-Payload
  outputClaimToHeaders: [{header: X-Sub, claim: sub}, {header: x-team, claim: org.team}]
  spaceDelimitedClaims: [roles]
  timeout: 1.5s
- issuer: other
  jwks: '{"keys": [{"kty": "RSA"}]}'
- issuer: https://third.example
`,
    ) as RequestAuthenticationDocument;
    expect(document.targetRefs.map(({ value }) => value)).toEqual(["Service reviews"]);
    const [full, inline, discovered] = document.rules;
    expect(full).toMatchObject({
      issuer: "https://issuer.example",
      audiences: ["a", "b"],
      keys: { kind: "uri", uri: "https://issuer.example/keys" },
      fromHeaders: [
        { name: "x-token", prefix: "Token " },
        { name: "x-plain", prefix: "" },
      ],
      fromParams: ["token"],
      fromCookies: ["session"],
      forwardOriginalToken: true,
      outputPayloadToHeader: "x-payload",
      outputClaimToHeaders: [
        { header: "x-sub", claim: ["sub"] },
        { header: "x-team", claim: ["org", "team"] },
      ],
      spaceDelimitedClaims: ["roles"],
      timeoutMs: 1500,
    });
    expect(inline).toMatchObject({
      keys: { kind: "inline" },
      spaceDelimitedClaims: ["permission", "scope"],
      timeoutMs: authLimits.keySetTimeoutMs,
      forwardOriginalToken: false,
    });
    expect(discovered?.keys).toEqual({ kind: "discovery" });
  });

  const refusals: readonly (readonly [what: string, spec: string, message: string])[] = [
    ["an issuer that is missing", jwt("audiences: [a]"), "issuer is missing"],
    ["two sources of keys", jwt("issuer: a\n  jwks: '{}'\n  jwksUri: https://a/k"), "exclude each other"],
    ["keys that are no JSON", jwt("issuer: a\n  jwks: '{'"), "is not JSON"],
    ["keys that are no set", jwt(`issuer: a\n  jwks: '{"kty": "RSA"}'`), "is no JSON Web Key Set"],
    ["an empty set of keys", jwt(`issuer: a\n  jwks: '{"keys": []}'`), "holds no key"],
    ["a URI of another scheme", jwt("issuer: a\n  jwksUri: file:///etc/passwd"), "must begin with https://"],
    ["a URI with a password", jwt("issuer: a\n  jwksUri: https://u:p@a/k"), "must not hold a user name"],
    [
      "a header that is none",
      jwt('issuer: a\n  fromHeaders: [{name: "a b"}]'),
      "is not the name of a header",
    ],
    ["an output that frames", jwt("issuer: a\n  outputPayloadToHeader: Content-Length"), "may set"],
    [
      "an output that routes",
      jwt("issuer: a\n  outputClaimToHeaders: [{header: host, claim: a}]"),
      "may set",
    ],
    ["presence", jwt("issuer: a\n  presence: REQUIRED"), "to require a token, deny notRequestPrincipals"],
    ["a duration that is none", jwt("issuer: a\n  timeout: soon"), "is not a duration"],
    ["a duration of nothing", jwt("issuer: a\n  timeout: 0s"), "must be at least 1 ms"],
    ["a misspelt field", jwt("issuer: a\n  audience: [b]"), "did you mean audiences?"],
    [
      "a selector beside targets",
      "selector: {matchLabels: {a: b}}\ntargetRefs: [{kind: Service, name: a}]",
      "exclude each other",
    ],
  ];
  for (const [what, spec, message] of refusals) {
    test(`${what} is refused with its place`, () => {
      const errors = errorsOf("RequestAuthentication", spec);
      expect(errors.join("\n")).toContain(message);
      expect(errors[0]).toMatch(/^[5-9]:\d+ /);
    });
  }

  test("bounds: rules, and characters of an inline set", () => {
    const rules = (count: number) => `jwtRules: [${"{issuer: a}, ".repeat(count)}]`;
    expect(errorsOf("RequestAuthentication", rules(authLimits.maxJwtRules))).toEqual([]);
    expect(errorsOf("RequestAuthentication", rules(authLimits.maxJwtRules + 1)).join()).toContain(
      "Istio takes",
    );
  });
});

describe("AuthorizationPolicy", () => {
  test("keeps what only HTTP can say, beside its names for a tunnel", () => {
    const document = one(
      "AuthorizationPolicy",
      `action: CUSTOM
provider: {name: opa}
rules:
- from: [{source: {remoteIpBlocks: [10.0.0.0/8], notRemoteIpBlocks: [10.1.0.0/16]}}]
  to: [{operation: {hosts: ["*.example"], notMethods: [GET], paths: ["/a/{*}"]}}]
  when:
  - {key: "request.headers[X-A]", values: [b]}
  - {key: remote.ip, notValues: [10.0.0.1]}
`,
    ) as AuthorizationPolicyDocument;
    expect(document.provider).toBe("opa");
    const [rule] = document.rules;
    expect(rule?.from[0]?.layer7).toEqual(["remoteIpBlocks", "notRemoteIpBlocks"]);
    expect(rule?.from[0]?.remoteIpBlocks.notValues[0]?.value.length).toBe(16);
    expect(rule?.to[0]?.layer7).toEqual(["hosts", "notMethods", "paths"]);
    expect(rule?.to[0]?.methods.notValues[0]?.value).toBe("GET");
    expect(rule?.when[0]).toMatchObject({ name: "request.headers[X-A]", is: { header: "x-a" } });
    expect(rule?.when[1]).toMatchObject({ name: "remote.ip", is: { key: "remote.ip" } });
  });

  test("nested claims are a path", () => {
    const document = one(
      "AuthorizationPolicy",
      `rules: [{when: [{key: "request.auth.claims[a.b][c]", values: [x]}]}]`,
    ) as AuthorizationPolicyDocument;
    expect(document.rules[0]?.when[0]).toMatchObject({ is: { claim: ["a.b", "c"] } });
  });
});

describe("AccessCondition", () => {
  const spec = (fields: string): string => `targetRefs: [{kind: Service, name: a}]\n${fields}`;
  test("is read with the place of each expression", () => {
    const document = one(
      "AccessCondition",
      spec(`conditions: [{expression: "request.method == 'GET'", message: only reading}]\ndryRun: true`),
      "fairlead.dev",
    ) as AccessConditionDocument;
    expect(document.dryRun).toBe(true);
    expect(document.conditions[0]).toMatchObject({
      expression: { value: "request.method == 'GET'", at: { line: 6, column: 29 } },
      message: "only reading",
    });
  });

  test("without targets, or conditions, or too long, is refused", () => {
    const errors = (fields: string) => errorsOf("AccessCondition", fields, "fairlead.dev").join();
    expect(errors("conditions: [{expression: 'true'}]")).toContain("targetRefs is missing");
    expect(errors(spec("conditions: []"))).toContain("at least one condition");
    const long = (chars: number) => spec(`conditions: [{expression: "${"x".repeat(chars)}"}]`);
    expect(errors(long(authLimits.maxExpressionChars))).toBe("");
    expect(errors(long(authLimits.maxExpressionChars + 1))).toContain("it may have 1024");
  });
});

describe("MeshConfig", () => {
  test("has Istio's words", () => {
    const document = one(
      "MeshConfig",
      `pathNormalization: {normalization: DECODE_AND_MERGE_SLASHES}
trustDomainAliases: [old.example]
defaultConfig: {gatewayTopology: {numTrustedProxies: 2}}
privateKeySetHosts: ["keys.internal:8080"]
extensionProviders:
- name: http
  envoyExtAuthzHttp:
    service: shop/authz.example
    port: 8000
    pathPrefix: /check
    timeout: 250ms
    statusOnError: "503"
    failOpen: true
    includeRequestHeadersInCheck: [X-Token, "x-b3-*"]
    includeAdditionalHeadersInCheck: {X-Mesh: fairlead}
    headersToUpstreamOnAllow: [X-User]
    headersToDownstreamOnDeny: [Set-Cookie]
    headersToDownstreamOnAllow: [x-ok]
    includeRequestBodyInCheck: {maxRequestBytes: 1024, allowPartialMessage: true}
- name: grpc
  envoyExtAuthzGrpc: {service: authz.example, port: 9000}
`,
      "fairlead.dev",
    ) as MeshConfigDocument;
    expect(document).toMatchObject({
      pathNormalization: "DECODE_AND_MERGE_SLASHES",
      trustDomainAliases: ["old.example"],
      trustedProxies: 2,
      privateKeySetHosts: ["keys.internal:8080"],
    });
    const [http, grpc] = document.authorizers;
    expect(http).toMatchObject({
      kind: "http",
      statusOnError: 503,
      failOpen: true,
      timeoutMs: 250,
      includeRequestHeadersInCheck: ["x-token", "x-b3-*"],
      body: { maxBytes: 1024, allowPartial: true, packAsBytes: false },
    });
    expect(grpc).toMatchObject({ kind: "grpc", failOpen: false, statusOnError: 403, body: null });
  });

  test("what cannot be meant is refused", () => {
    const errors = (fields: string) => errorsOf("MeshConfig", fields, "fairlead.dev").join();
    expect(errors("pathNormalization: {normalization: MERGE}")).toContain("must be one of");
    expect(errors("extensionProviders: [{name: a, zipkin: {}}]")).toContain("only external authorizers");
    expect(errors("extensionProviders: [{name: a}]")).toContain("must have one of envoyExtAuthzHttp");
    const grpc = (fields: string) => `extensionProviders: [{name: a, envoyExtAuthzGrpc: {${fields}}}]`;
    expect(errors(grpc("service: a"))).toContain("port is missing");
    expect(errors(grpc("service: a, port: 1, statusOnError: '99'"))).toContain("from 200 to 599");
    expect(errors(grpc("service: a, port: 1, includeRequestBodyInCheck: {}"))).toContain(
      "maxRequestBytes is missing",
    );
    expect(errors(grpc("service: a, port: 1, clearRouteCache: true"))).toBe("");
    expect(errors(grpc("service: a, port: 1, clearRouteCache: false"))).toContain("must be true");
    const body = (bytes: number) =>
      grpc(`service: a, port: 1, includeRequestBodyInCheck: {maxRequestBytes: ${bytes}}`);
    expect(errors(body(authLimits.maxCheckedBodyBytes))).toBe("");
    expect(errors(body(authLimits.maxCheckedBodyBytes + 1))).toContain("must be from 1 to");
    const proxies = (count: number) => `defaultConfig: {gatewayTopology: {numTrustedProxies: ${count}}}`;
    expect(errors(proxies(authLimits.maxTrustedProxies + 1))).toContain("must be from 0 to");
  });

  test("a mesh has one", () => {
    const other = text("MeshConfig", "trustDomainAliases: [a]", "fairlead.dev").replace("default", "second");
    expect(parseDocuments([{ path: "f", text: other }]).errors[0]?.message).toContain('called "default"');
  });
});

test("of what is refused, a waypoint knows which requests it may be about", () => {
  const refused = (kind: string, spec: string, group?: string) =>
    parseDocument({ file: "f", firstLine: 1, text: text(kind, spec, group) })[0]?.refusedForWaypoint;
  const targets =
    "targetRefs: [{kind: Service, name: a}, {group: gateway.networking.k8s.io, kind: Gateway, name: w}]";
  expect(refused("RequestAuthentication", `${targets}\njwtRules: [{}]`)).toMatchObject({
    key: "RequestAuthentication shop/d",
    namespace: "shop",
    targetRefs: ["Service a", "Gateway w"],
  });
  expect(refused("AuthorizationPolicy", `${targets}\nacton: DENY`)?.targetRefs).toEqual([
    "Service a",
    "Gateway w",
  ]);
  expect(refused("AuthorizationPolicy", "targetRefs: [{kind: Servce, name: a}]")?.targetRefs).toBeNull();
  // For workloads, it is nothing to a waypoint, and a tunnel that has the application inside has to know.
  expect(refused("AuthorizationPolicy", "acton: DENY")).toMatchObject({
    targetRefs: [],
    workloads: { selector: null },
  });
  expect(refused("AuthorizationPolicy", "action: AUDIT\nacton: DENY")).toBeNull();
  expect(refused("RequestAuthentication", "selector: {matchLabels: {a: b}}\njwtRules: [{}]")).toMatchObject({
    targetRefs: [],
    workloads: { selector: new Map([["a", { value: "b" }]]) },
  });
  expect(refused("RequestAuthentication", "selector: {matchLabls: {a: b}}\njwtRules: [{}]")).toMatchObject({
    workloads: { selector: null },
  });
  expect(refused("AccessCondition", "conditions: [{}]", "fairlead.dev")?.targetRefs).toBeNull();
  expect(refused("MeshConfig", "what: ever", "fairlead.dev")).toMatchObject({
    namespace: "",
    targetRefs: null,
  });
});

test("durations are Go's", () => {
  const cases: readonly (readonly [string, number | null])[] = [
    ["5s", 5_000],
    ["1h30m", 5_400_000],
    ["1.5s", 1_500],
    ["250ms", 250],
    ["10us", 0.01],
    ["0", 0],
    ["5", null],
    ["", null],
    ["-1s", null],
    ["1 s", null],
    [`${"1".repeat(60)}s`, null],
  ];
  for (const [written, expected] of cases) expect(parseDuration(written)).toBe(expected);
});
