import { describe, expect, test } from "bun:test";
import { trafficLimits } from "../../../../base/limits/traffic.ts";
import { defaultConnectionPool } from "../../../traffic/destination_policy.ts";
import { defaultRetryPolicy } from "../../../traffic/route_plan.ts";
import type {
  DestinationRuleDocument,
  HttpRouteDocument,
  MeshDocument,
  RateLimitDocument,
  VirtualServiceDocument,
} from "../../document.ts";
import { parseDocuments } from "../../parse.ts";
import { completeDocuments } from "./testing/complete.ts";

function one(text: string): MeshDocument {
  const { documents, errors } = parseDocuments([{ path: "f", text }]);
  expect(errors).toEqual([]);
  const [document] = documents;
  if (document === undefined) throw new Error("no document");
  return document;
}

const complete = (kind: string): MeshDocument => one(completeDocuments[kind] ?? "");

const groups: Readonly<Record<string, string>> = {
  VirtualService: "networking.istio.io/v1",
  DestinationRule: "networking.istio.io/v1",
  RateLimit: "fairlead.dev/v1",
};
const parents = "parentRefs: [{group: '', kind: Service, name: s}]";

/** On line 5 is what is said, after four spaces of indentation fewer than Kubernetes' examples have. */
function errorsOf(kind: string, spec: string): readonly string[] {
  const group = groups[kind] ?? "gateway.networking.k8s.io/v1";
  const text = `apiVersion: ${group}\nkind: ${kind}\nmetadata: {name: d, namespace: shop}\nspec:\n${spec.replace(/^/gm, "  ")}\n`;
  return parseDocuments([{ path: "f", text }]).errors.map(
    ({ location, message }) => `${location.line}:${location.column} ${message}`,
  );
}

describe("every kind with every field that it takes", () => {
  test.each(Object.keys(completeDocuments).map((kind) => [kind]))("%s", (kind) => {
    expect(complete(kind).kind as string).toBe(kind);
  });

  test("a VirtualService as it is read", () => {
    const { spec } = complete("VirtualService") as VirtualServiceDocument;
    expect(spec.exportTo).toEqual(["shop"]);
    expect(spec.appliesToMesh).toBe(true);
    const [canary, old, teapot, team, rest] = spec.http;
    expect(canary?.matches[0]?.match).toMatchObject({
      path: { kind: "prefix", value: "/api" },
      ignorePathCase: true,
      method: { kind: "regex", value: "GET|HEAD" },
      headers: [
        { name: "end-user", match: { kind: "exact", value: "jason" } },
        { name: "x-any", match: { kind: "present" } },
        { name: ":method", match: { kind: "exact", value: "GET" } },
      ],
      withoutHeaders: [{ name: "x-not", match: { kind: "present" } }],
      query: [{ name: "v", match: { kind: "exact", value: "2" } }],
    });
    expect(canary?.matches[0]?.scope).toEqual({
      port: 80,
      appliesToMesh: true,
      sourceLabels: new Map([["app", "cart"]]),
      sourceNamespace: "shop",
    });
    expect(canary?.route.map(({ weight }) => weight)).toEqual([25, 75]);
    expect(canary?.route[0]?.headers.response).toEqual({
      remove: ["x-secret"],
      set: [],
      add: [["x-a", "100%"]],
    });
    expect(canary?.retries).toEqual({
      attempts: 3,
      perTryTimeoutMs: 500,
      retryOn: ["5xx", "connect-failure"],
      retriableStatuses: [503],
      backoff: { baseMs: 100, maxMs: 1_000 },
      avoidTried: false,
      remoteLocalities: true,
    });
    expect(canary?.fault).toEqual({
      delay: { ms: 2_000, percent: 0.1 },
      abort: { httpStatus: null, grpcStatus: 14, percent: 50 },
    });
    expect(canary?.cors).toMatchObject({ maxAgeSeconds: 86_400, unmatchedPreflights: "ignore" });
    expect(old?.redirect).toEqual({
      status: 308,
      scheme: "https",
      host: "other.mesh",
      port: "scheme",
      path: { kind: "full", value: "/new" },
    });
    expect(teapot?.answer).toEqual({ status: 418, body: new TextEncoder().encode("short and stout") });
    expect(team?.delegate).toMatchObject({ name: "team", namespace: "team" });
    expect(rest?.retries).toBe("unset");
    expect(rest?.mirrors).toMatchObject([{ percent: 1 }]);
    expect(rest?.route[0]?.weight).toBe(1);
  });

  test("a DestinationRule as it is read", () => {
    const { spec } = complete("DestinationRule") as DestinationRuleDocument;
    expect(spec.policy).toMatchObject({
      loadBalancer: { kind: "consistent-hash", table: { kind: "maglev", tableSize: 65_537 } },
      warmup: { durationMs: 60_000, minimumPercent: 5, aggression: 1.5 },
      pool: {
        maxConnections: 100,
        connectTimeoutMs: 30,
        tcpIdleTimeoutMs: 0,
        http: "upgrade",
        maxRetries: 5,
      },
      outlier: {
        consecutive5xx: 7,
        httpErrorCodes: [
          { from: 429, to: 429 },
          { from: 503, to: 503 },
        ],
      },
      tls: { mode: "mutual", sni: "a.example" },
      proxyProtocol: 2,
      retryBudget: { percent: 25.5, minConcurrency: 5, intervalMs: 10_000 },
    });
    expect(spec.policy?.ports.get(80)).toMatchObject({ loadBalancer: { kind: "least-request" }, pool: null });
    expect(spec.subsets.map(({ name }) => name)).toEqual(["v1", "v2"]);
    const bare = one(
      "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\nspec: {host: a.mesh, trafficPolicy: {connectionPool: {http: {maxRetries: 0}}, outlierDetection: {}}}\n",
    ) as DestinationRuleDocument;
    expect(bare.spec.policy?.pool).toEqual(defaultConnectionPool);
    expect(bare.spec.policy?.outlier).toEqual({
      consecutive5xx: 5,
      consecutiveGatewayErrors: 0,
      consecutiveLocalOriginFailures: 0,
      splitLocalOrigin: false,
      intervalMs: 10_000,
      baseEjectionMs: 30_000,
      maxEjectionPercent: 10,
      minHealthPercent: 0,
      httpErrorCodes: null,
    });
  });

  test("an HTTPRoute as it is read", () => {
    const { spec } = complete("HTTPRoute") as HttpRouteDocument;
    const [first, second] = spec.rules;
    expect(first).toMatchObject({
      rewrite: { path: { kind: "segments", value: "/b" }, authority: "inner.mesh" },
      mirrors: [{ percent: 12.5 }],
      timeoutMs: 10_000,
      retries: { attempts: 3, perTryTimeoutMs: 2_000, retriableStatuses: [502, 503] },
      session: { name: "s", type: "cookie", absoluteTimeoutMs: 3_600_000, lifetime: "permanent" },
    });
    expect(first?.cors?.allowOrigins[0]).toEqual({
      kind: "regex",
      value: "\\Qhttps://\\E[^/:]+\\Q.shop.example:8443\\E",
    });
    expect(second?.redirect).toEqual({
      status: 301,
      scheme: "https",
      host: "new.mesh",
      port: 8443,
      path: { kind: "full", value: "/new" },
    });
  });

  test("a RateLimit as it is read", () => {
    const { spec } = complete("RateLimit") as RateLimitDocument;
    expect(spec.rules[0]?.keys).toEqual([
      { by: "peer" },
      { by: "header", name: "x-tenant" },
      { by: "claim", path: ["org", "tenant"] },
      { by: "route" },
      { by: "service" },
      { by: "source-address" },
    ]);
    expect(spec.rules.map(({ name, limit }) => [name, limit])).toEqual([
      ["per-user", { requests: 100, periodMs: 60_000, burst: 200 }],
      ["rule-1", { requests: 5_000, periodMs: 10_000, burst: 5_000 }],
    ]);
    expect(spec.store).toMatchObject({ kind: "redis", whenAway: "deny", database: 2, timeoutMs: 50 });
  });

  test.each([
    [
      "{address: 'rediss://r.example:6380'}",
      { mode: "simple", sni: "", caCertificates: null, namespace: "shop" },
    ],
    ["{address: 'r.example:6380', tls: {}}", { mode: "simple", clientCertificate: null }],
    [
      "{address: 'rediss://[::1]:1', tls: {caFile: ca.pem, certificateFile: c.pem, keyFile: k.pem, serverName: r.example}}",
      {
        mode: "mutual",
        caCertificates: "ca.pem",
        clientCertificate: "c.pem",
        privateKey: "k.pem",
        sni: "r.example",
      },
    ],
    ["{address: 'redis://r.example:6379'}", null],
    ["{address: 'r.example:6379'}", null],
  ])("TLS to a Redis server: %s", (redis, tls) => {
    const read = one(
      `apiVersion: fairlead.dev/v1\nkind: RateLimit\nmetadata: {name: a, namespace: shop}\nspec: {targetRefs: [{kind: Service, name: a}], rules: [{limit: {requests: 1, unit: SECOND}}], store: {type: Redis, redis: ${redis}}}\n`,
    ) as RateLimitDocument;
    const { store } = read.spec;
    if (store.kind !== "redis") throw new Error(store.kind);
    if (tls === null) expect(store.tls).toBeNull();
    else expect(store.tls).toMatchObject(tls);
  });

  test("the ConfigMap of a BackendTLSPolicy is a file", () => {
    const read = one(
      "apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\nmetadata: {name: a, namespace: shop}\nspec: {targetRefs: [{group: '', kind: Service, name: a}], validation: {hostname: a.example, caCertificateRefs: [{group: '', kind: ConfigMap, name: own-ca}]}}\n",
    );
    expect(read).toMatchObject({ spec: { caCertificates: "own-ca.crt" } });
    expect(complete("BackendTLSPolicy")).toMatchObject({ spec: { caCertificates: null } });
  });

  test("retries without conditions have Istio's", () => {
    const read = one(
      "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec: {hosts: [a.mesh], http: [{route: [{destination: {host: a.mesh}}], retries: {attempts: 1}}]}\n",
    ) as VirtualServiceDocument;
    expect(read.spec.http[0]?.retries).toEqual({ ...defaultRetryPolicy, attempts: 1 });
  });
});

describe("what Istio refuses of a VirtualService is refused, where it is", () => {
  const http = (route: string): string => `hosts: [a.mesh]\nhttp:\n- ${route}`;
  const to = "route: [{destination: {host: a.mesh}}]";
  test.each([
    ["no routes", "hosts: [a.mesh]", "5:3 spec must have http, tls or tcp"],
    [
      "the host *",
      "hosts: ['*']\nhttp: [{directResponse: {status: 200}}]",
      '5:11 spec.hosts: "*" is for gateways alone',
    ],
    [
      "a host twice",
      "hosts: ['*.mesh', a.mesh]\nhttp: [{directResponse: {status: 200}}]",
      '5:21 spec.hosts: "a.mesh" is in "*.mesh" already',
    ],
    [
      "a delegate with gateways",
      "gateways: [mesh]\nhttp: [{directResponse: {status: 200}}]",
      "5:3 spec.gateways cannot be given with a VirtualService without spec.hosts, which is a delegate",
    ],
    [
      "nothing to do",
      http("timeout: 1s"),
      "7:5 spec.http[0] must have a route, a redirect, a directResponse or a delegate",
    ],
    [
      "two things to do",
      http(`{${to}, redirect: {uri: /x}}`),
      "7:6 spec.http[0] has both redirect and route",
    ],
    [
      "a fault of a redirect",
      http("{redirect: {uri: /x}, fault: {abort: {httpStatus: 500}}}"),
      "7:27 spec.http[0] has both redirect and fault",
    ],
    [
      "an unknown field",
      http(`{${to}, timeOut: 1s}`),
      "7:46 spec.http[0] has no field timeOut; did you mean timeout?",
    ],
    ["no destination", http("route: [{weight: 1}]"), "7:13 spec.http[0].route[0].destination is missing"],
    [
      "weights of nothing",
      http("route: [{destination: {host: a.mesh}, weight: 0}, {destination: {host: b.mesh}, weight: 0}]"),
      "7:5 spec.http[0].route: the weights of its destinations add up to 0",
    ],
    [
      "an empty prefix of a method",
      http(`{match: [{method: {prefix: ""}}], ${to}}`),
      "7:32 spec.http[0].match[0].method.prefix is empty; leave the match out to take everything",
    ],
    [
      "two in one match",
      http(`{match: [{uri: {exact: /a, prefix: /b}}], ${to}}`),
      "7:32 spec.http[0].match[0].uri has both exact and prefix; it takes one",
    ],
    [
      "an expression that RE2 has not",
      http(`{match: [{uri: {regex: "(?=a)"}}], ${to}}`),
      '7:28 spec.http[0].match[0].uri.regex: "(?=a)" is not a regular expression: (? begins nothing that is known (RE2 has neither look-around nor back references)',
    ],
    [
      "a header without a value",
      http(`{match: [{headers: {x: }}], ${to}}`),
      "7:25 spec.http[0].match[0].headers.x has no value; write {} to ask for its presence",
    ],
    [
      "claims",
      http(`{match: [{headers: {"@request.auth.claims.sub": {exact: a}}}], ${to}}`),
      "7:25 spec.http[0].match[0]: only gateways route by claims, as in Istio; an AuthorizationPolicy can match claims",
    ],
    [
      "no duration",
      http(`{timeout: 5, ${to}}`),
      '7:15 spec.http[0].timeout must be a string, not the number 5; write "5"',
    ],
    [
      "less than a millisecond",
      http(`{timeout: 1.5ms, ${to}}`),
      "7:15 spec.http[0].timeout has a part of a millisecond",
    ],
    [
      "an unknown condition",
      http(`{${to}, retries: {attempts: 1, retryOn: "5xx,never"}}`),
      '7:78 spec.http[0].retries.retryOn: "never" is neither a condition nor a status',
    ],
    [
      "retries of 0 attempts",
      http(`{${to}, retries: {attempts: 0, retryOn: 5xx}}`),
      "7:69 spec.http[0].retries.retryOn has no effect with 0 attempts",
    ],
    [
      "101 percent",
      http(`{${to}, fault: {abort: {httpStatus: 500, percentage: {value: 101}}}}`),
      "7:99 spec.http[0].fault.abort.percentage.value must be a number from 0 to 100",
    ],
    [
      "an unknown gRPC status",
      http(`{${to}, fault: {abort: {grpcStatus: UNAVAILBLE}}}`),
      '7:74 spec.http[0].fault.abort.grpcStatus: "UNAVAILBLE" is not a gRPC status; did you mean UNAVAILABLE?',
    ],
    [
      "an answer of 600",
      http("directResponse: {status: 600}"),
      "7:30 spec.http[0].directResponse.status must be from 200 to 599, not 600",
    ],
    [
      "a redirect to nowhere",
      http("redirect: {redirectCode: 301}"),
      "7:15 spec.http[0].redirect must give a uri, an authority, a scheme or a port",
    ],
    [
      "a redirect of 304",
      http("redirect: {uri: /x, redirectCode: 304}"),
      "7:39 spec.http[0].redirect.redirectCode must be one of 301, 302, 303, 307, 308",
    ],
    [
      "a prefix of no prefix",
      http("{match: [{uri: {exact: /a}}], redirect: {prefixRewrite: /b}}"),
      "7:61 spec.http[0].redirect.prefixRewrite needs every match of the path to be by prefix",
    ],
    [
      "a header of the connection",
      http(`{${to}, headers: {request: {set: {Connection: close}}}}`),
      '7:72 spec.http[0].headers.request.set: "Connection" belongs to the connection, and is not changed by a route',
    ],
    [
      "Host of an answer",
      http(`{${to}, headers: {response: {set: {Host: a}}}}`),
      '7:73 spec.http[0].headers.response.set: "Host" cannot be changed here; rewrite the authority instead',
    ],
    [
      "a variable that there is not",
      http(`{${to}, headers: {request: {set: {x: "%RESP(y)%"}}}}`),
      "7:75 spec.http[0].headers.request.set.x: the variable %RESP% is not supported for a request, only REQ, PROTOCOL, DOWNSTREAM_REMOTE_ADDRESS, DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT, DOWNSTREAM_LOCAL_ADDRESS, DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT, DOWNSTREAM_LOCAL_PORT, DOWNSTREAM_PEER_URI_SAN, REQUESTED_SERVER_NAME",
    ],
    [
      "a variable without its name",
      http(`{${to}, headers: {request: {set: {x: "%REQ()%"}}}}`),
      "7:75 spec.http[0].headers.request.set.x: %REQ% needs the name of a header, or two: %REQ(NAME?OTHER)%",
    ],
    [
      "a percent sign by itself",
      http(`{${to}, headers: {request: {set: {x: "100%"}}}}`),
      "7:75 spec.http[0].headers.request.set.x: a % that is not part of a variable is written %%",
    ],
    [
      "a variable in the authority",
      http(`{${to}, headers: {request: {set: {Host: "%REQ(y)%"}}}}`),
      "7:78 spec.http[0].headers.request.set.Host has a variable of Envoy's, which is not supported here; a sign of percent is written %%",
    ],
    [
      "a line in a value",
      http(`{${to}, headers: {request: {set: {x: "a\\nb"}}}}`),
      "7:75 spec.http[0].headers.request.set.x has a character that a header's value cannot have",
    ],
    [
      "the authority twice",
      http(`{${to}, rewrite: {authority: a.mesh}, headers: {request: {set: {Host: b.mesh}}}}`),
      "7:46 spec.http[0] sets the authority a second time",
    ],
    [
      "an unknown CORS method",
      http(`{${to}, corsPolicy: {allowMethods: [GTE]}}`),
      '7:74 spec.http[0].corsPolicy.allowMethods: "GTE" is not an HTTP method; did you mean GET?',
    ],
    [
      "TLS without names",
      "hosts: [a.mesh]\ntls: [{route: [{destination: {host: a.mesh}}]}]",
      "6:9 spec.tls[0].match is missing: a TLS route has to name its server names",
    ],
    [
      "TLS of another's name",
      "hosts: [a.mesh]\ntls: [{match: [{sniHosts: [b.mesh]}], route: [{destination: {host: a.mesh}}]}]",
      '6:30 spec.tls[0].match[0].sniHosts: "b.mesh" is in none of spec.hosts',
    ],
    [
      "statPrefix",
      http(`{match: [{statPrefix: x}], ${to}}`),
      "7:15 spec.http[0].match[0].statPrefix is not supported: metrics are told apart by the route's name",
    ],
    [
      "a delegate that delegates",
      "http: [{delegate: {name: b}}]",
      "5:11 spec.http[0].delegate: a delegate does not delegate on",
    ],
  ])("%s", (_name, spec, expected) => {
    expect(errorsOf("VirtualService", spec)).toContain(expected);
  });
});

describe("and of a DestinationRule", () => {
  const policy = (text: string): string => `host: a.mesh\ntrafficPolicy: ${text}`;
  test.each([
    ["no host", "subsets: []", "5:3 spec.host is missing"],
    ["an empty policy", policy("{}"), "6:18 spec.trafficPolicy is empty; remove it"],
    [
      "a tunnel",
      policy("{tunnel: {targetHost: a, targetPort: 1}}"),
      "6:19 spec.trafficPolicy.tunnel is not supported: a waypoint does not apply it, Istio's neither",
    ],
    [
      "a table of no prime",
      policy("{loadBalancer: {consistentHash: {useSourceIp: true, maglev: {tableSize: 100}}}}"),
      "6:90 spec.trafficPolicy.loadBalancer.consistentHash.maglev.tableSize must be a prime number",
    ],
    [
      "two keys",
      policy("{loadBalancer: {consistentHash: {useSourceIp: true, httpHeaderName: x}}}"),
      "6:50 spec.trafficPolicy.loadBalancer.consistentHash must have one of httpHeaderName, httpCookie, useSourceIp, httpQueryParameterName",
    ],
    [
      "shares of 90",
      policy("{loadBalancer: {localityLbSetting: {distribute: [{from: a, to: {b: 90}}]}}}"),
      "6:77 spec.trafficPolicy.loadBalancer.localityLbSetting.distribute[0].to: the weights add up to 90, not to 100",
    ],
    [
      "failover to itself",
      policy("{loadBalancer: {localityLbSetting: {failover: [{from: a, to: a}]}}}"),
      "6:79 spec.trafficPolicy.loadBalancer.localityLbSetting.failover[0] leads from a region to itself",
    ],
    [
      "local failures that are not told apart",
      policy("{outlierDetection: {consecutiveLocalOriginFailures: 1}}"),
      "6:38 spec.trafficPolicy.outlierDetection.consecutiveLocalOriginFailures has no effect without splitExternalLocalOriginErrors",
    ],
    [
      "MUTUAL without a key",
      policy("{tls: {mode: MUTUAL, clientCertificate: /c}}"),
      "6:24 spec.trafficPolicy.tls.privateKey is missing, and MUTUAL needs it",
    ],
    [
      "a Secret",
      policy("{tls: {mode: SIMPLE, credentialName: x}}"),
      "6:39 spec.trafficPolicy.tls.credentialName is not supported: Secrets are not supported; name files of the waypoint's host",
    ],
    [
      "a subset twice",
      "host: a.mesh\nsubsets: [{name: v1}, {name: v1}]",
      '6:32 spec.subsets: "v1" is given twice',
    ],
    [
      "a wrong word",
      policy("{loadBalancer: {simple: LEAST_REQESTS}}"),
      '6:42 spec.trafficPolicy.loadBalancer.simple must be one of UNSPECIFIED, LEAST_CONN, LEAST_REQUEST, ROUND_ROBIN, RANDOM, PASSTHROUGH, not "LEAST_REQESTS"; did you mean LEAST_REQUEST?',
    ],
  ])("%s", (_name, spec, expected) => {
    expect(errorsOf("DestinationRule", spec)).toContain(expected);
  });
});

describe("and what the Gateway API refuses of its routes", () => {
  const rule = (text: string): string => `${parents}\nrules:\n- ${text}`;
  test.each([
    [
      "HTTPRoute",
      "no parents",
      "rules: [{}]",
      "5:3 spec.parentRefs must name the services that the route is for",
    ],
    [
      "HTTPRoute",
      "a Gateway alone",
      "parentRefs: [{name: gw}]\nrules: [{}]",
      "5:3 spec.parentRefs has only Gateways, which this version does not support: a route for a waypoint names a Service",
    ],
    [
      "HTTPRoute",
      "a relative path",
      rule("matches: [{path: {value: a}}]"),
      "7:30 spec.rules[0].matches[0].path.value must begin with a slash",
    ],
    [
      "HTTPRoute",
      "an abnormal path",
      rule("matches: [{path: {value: /a/../b}}]"),
      '7:30 spec.rules[0].matches[0].path.value: "/a/../b" must not have "/../", which a normalized path cannot have',
    ],
    [
      "HTTPRoute",
      "an unknown filter",
      rule("filters: [{type: RequestHeaderModifer}]"),
      '7:22 spec.rules[0].filters[0].type must be one of RequestHeaderModifier, ResponseHeaderModifier, RequestMirror, RequestRedirect, URLRewrite, CORS, not "RequestHeaderModifer"; did you mean RequestHeaderModifier?',
    ],
    [
      "HTTPRoute",
      "a filter of another kind",
      rule("filters: [{type: ExtensionRef}]"),
      "7:22 spec.rules[0].filters[0].type ExtensionRef is not supported: filters of other kinds are not supported",
    ],
    [
      "HTTPRoute",
      "a redirect with backends",
      rule("{filters: [{type: RequestRedirect, requestRedirect: {}}], backendRefs: [{name: a, port: 1}]}"),
      "7:63 spec.rules[0] has both a RequestRedirect and backendRefs",
    ],
    [
      "HTTPRoute",
      "a prefix of an exact match",
      rule(
        "{matches: [{path: {type: Exact, value: /a}}], filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]}",
      ),
      "7:51 spec.rules[0].filters: replacePrefixMatch needs one match, and that by PathPrefix",
    ],
    [
      "HTTPRoute",
      "a backend without a port",
      rule("backendRefs: [{name: a}]"),
      "7:19 spec.rules[0].backendRefs[0].port is missing",
    ],
    [
      "HTTPRoute",
      "a longer try than the whole",
      rule("{timeouts: {request: 1s, backendRequest: 2s}, backendRefs: [{name: a, port: 1}]}"),
      "7:30 spec.rules[0].timeouts.backendRequest is longer than request",
    ],
    [
      "GRPCRoute",
      "a method of nothing",
      rule("matches: [{method: {}}]"),
      "7:24 spec.rules[0].matches[0].method must have a service, a method or both",
    ],
    [
      "GRPCRoute",
      "a rewrite",
      rule("filters: [{type: URLRewrite}]"),
      '7:22 spec.rules[0].filters[0].type must be one of RequestHeaderModifier, ResponseHeaderModifier, RequestMirror, not "URLRewrite"',
    ],
    [
      "TCPRoute",
      "no backends",
      rule("name: x"),
      "7:5 spec.rules[0].backendRefs must have at least one backend",
    ],
    [
      "BackendTLSPolicy",
      "no roots",
      "targetRefs: [{group: '', kind: Service, name: a}]\nvalidation: {hostname: a.example, caCertificateRefs: []}",
      "6:15 spec.validation must have wellKnownCACertificates or caCertificateRefs, one of them",
    ],
    [
      "BackendTLSPolicy",
      "roots twice",
      "targetRefs: [{group: '', kind: Service, name: a}]\nvalidation: {hostname: a.example, wellKnownCACertificates: System, caCertificateRefs: [{group: '', kind: ConfigMap, name: ca}]}",
      "6:15 spec.validation must have wellKnownCACertificates or caCertificateRefs, not both",
    ],
    [
      "BackendTLSPolicy",
      "two ConfigMaps",
      "targetRefs: [{group: '', kind: Service, name: a}]\nvalidation: {hostname: a.example, caCertificateRefs: [{group: '', kind: ConfigMap, name: a}, {group: '', kind: ConfigMap, name: b}]}",
      "6:96 spec.validation.caCertificateRefs[1] is one too many: put all certificates into one file",
    ],
    [
      "BackendTLSPolicy",
      "a name that leads elsewhere",
      "targetRefs: [{group: '', kind: Service, name: a}]\nvalidation: {hostname: a.example, caCertificateRefs: [{group: '', kind: ConfigMap, name: ../a}]}",
      '6:92 spec.validation.caCertificateRefs[0].name: "../a" is not the name of a ConfigMap',
    ],
  ])("%s: %s", (kind, _name, spec, expected) => {
    expect(errorsOf(kind, spec)).toContain(expected);
  });
});

describe("and what a RateLimit cannot say", () => {
  const target = "targetRefs: [{kind: Service, name: a}]";
  test.each([
    [
      "no target",
      "rules: [{limit: {requests: 1, unit: SECOND}}]",
      "5:3 spec.targetRefs is missing: a RateLimit says for which services or waypoints it is",
    ],
    ["no limit", `${target}\nrules: [{name: x}]`, "6:11 spec.rules[0].limit is missing"],
    [
      "two periods",
      `${target}\nrules: [{limit: {requests: 1, unit: SECOND, period: 1s}}]`,
      "6:19 spec.rules[0].limit must have either unit (SECOND, MINUTE, HOUR, DAY) or period",
    ],
    [
      "a header without a name",
      `${target}\nrules: [{keys: [{by: Header}], limit: {requests: 1, unit: SECOND}}]`,
      "6:19 spec.rules[0].keys[0].name is missing",
    ],
    [
      "TLS in plain text",
      `${target}\nrules: [{limit: {requests: 1, unit: SECOND}}]\nstore: {type: Redis, redis: {address: "redis://a:1", tls: {}}}`,
      "7:56 spec.store.redis.tls cannot be given with redis://, which is plain text",
    ],
    [
      "a certificate without its key",
      `${target}\nrules: [{limit: {requests: 1, unit: SECOND}}]\nstore: {type: Redis, redis: {address: "a:1", tls: {certificateFile: c.pem}}}`,
      "7:53 spec.store.redis.tls must have both certificateFile and keyFile, or neither",
    ],
    [
      "a scheme of the rate limit service",
      `${target}\nrules: [{limit: {requests: 1, unit: SECOND}}]\nstore: {type: RLS, rls: {domain: d, address: "rediss://a:1"}}`,
      '7:48 spec.store.rls.address: "rediss://a:1" is not host:port',
    ],
    [
      "a name twice",
      `${target}\nrules: [{name: x, limit: {requests: 1, unit: SECOND}}, {name: x, limit: {requests: 1, unit: SECOND}}]`,
      '6:59 spec.rules[1].name: "x" is given twice',
    ],
    [
      "a store without a place",
      `${target}\nrules: [{limit: {requests: 1, unit: SECOND}}]\nstore: {type: Redis}`,
      "7:10 spec.store.redis is missing",
    ],
    [
      "no address",
      `${target}\nrules: [{limit: {requests: 1, unit: SECOND}}]\nstore: {type: Redis, redis: {address: redis}}`,
      '7:41 spec.store.redis.address: "redis" is not host:port',
    ],
  ])("%s", (_name, spec, expected) => {
    expect(errorsOf("RateLimit", spec)).toContain(expected);
  });
});

describe("each bound is reached, and one less is taken", () => {
  const times = (count: number, text: (i: number) => string): string =>
    Array.from({ length: count }, (_, i) => text(i)).join(", ");
  const virtual = (rule: string): string => `hosts: [a.mesh]\nhttp: [{${rule}}]`;
  const to = "route: [{destination: {host: a.mesh}}]";
  const cases: readonly (readonly [string, number, string, (count: number) => string])[] = [
    [
      "maxRules",
      trafficLimits.maxRules,
      "VirtualService",
      (n) => `hosts: [a.mesh]\nhttp: [${times(n, () => "{directResponse: {status: 200}}")}]`,
    ],
    [
      "maxMatches",
      trafficLimits.maxMatches,
      "VirtualService",
      (n) => virtual(`match: [${times(n, () => "{}")}], ${to}`),
    ],
    [
      "maxMatchItems",
      trafficLimits.maxMatchItems,
      "VirtualService",
      (n) => virtual(`match: [{headers: {${times(n, (i) => `h${i}: {}`)}}}], ${to}`),
    ],
    [
      "maxDestinations",
      trafficLimits.maxDestinations,
      "VirtualService",
      (n) => virtual(`route: [${times(n, () => "{destination: {host: a.mesh}, weight: 1}")}]`),
    ],
    [
      "maxHeaderChanges",
      trafficLimits.maxHeaderChanges,
      "VirtualService",
      (n) => virtual(`headers: {request: {set: {${times(n, (i) => `h${i}: a`)}}}}, ${to}`),
    ],
    [
      "maxMirrors",
      trafficLimits.maxMirrors,
      "VirtualService",
      (n) => virtual(`mirrors: [${times(n, () => "{destination: {host: a.mesh}}")}], ${to}`),
    ],
    [
      "maxCorsItems",
      trafficLimits.maxCorsItems,
      "VirtualService",
      (n) => virtual(`corsPolicy: {allowHeaders: [${times(n, (i) => `h${i}`)}]}, ${to}`),
    ],
    [
      "maxHosts",
      trafficLimits.maxHosts,
      "VirtualService",
      (n) => `hosts: [${times(n, (i) => `a${i}.mesh`)}]\nhttp: [{${to}}]`,
    ],
    [
      "maxAnswerBytes",
      trafficLimits.maxAnswerBytes,
      "VirtualService",
      (n) => virtual(`directResponse: {status: 200, body: {string: ${"a".repeat(n)}}}`),
    ],
    [
      "maxValueLength",
      trafficLimits.maxValueLength,
      "VirtualService",
      (n) => virtual(`match: [{uri: {exact: ${"a".repeat(n)}}}], ${to}`),
    ],
    [
      "maxSubsets",
      trafficLimits.maxSubsets,
      "DestinationRule",
      (n) => `host: a.mesh\nsubsets: [${times(n, (i) => `{name: s${i}}`)}]`,
    ],
    [
      "maxPortPolicies",
      trafficLimits.maxPortPolicies,
      "DestinationRule",
      (n) =>
        `host: a.mesh\ntrafficPolicy: {portLevelSettings: [${times(n, (i) => `{port: {number: ${i + 1}}, loadBalancer: {}}`)}]}`,
    ],
    [
      "maxParents",
      trafficLimits.maxParents,
      "HTTPRoute",
      (n) => `parentRefs: [${times(n, () => "{group: '', kind: Service, name: s}")}]\nrules: [{}]`,
    ],
    [
      "maxGrantItems",
      trafficLimits.maxGrantItems,
      "ReferenceGrant",
      (n) =>
        `from: [${times(n, () => "{group: gateway.networking.k8s.io, kind: HTTPRoute, namespace: a}")}]\nto: [{group: '', kind: Service}]`,
    ],
    [
      "maxRateLimitRules",
      trafficLimits.maxRateLimitRules,
      "RateLimit",
      (n) =>
        `targetRefs: [{kind: Service, name: a}]\nrules: [${times(n, () => "{limit: {requests: 1, unit: SECOND}}")}]`,
    ],
    [
      "maxRateLimitKeys",
      trafficLimits.maxRateLimitKeys,
      "RateLimit",
      (n) =>
        `targetRefs: [{kind: Service, name: a}]\nrules: [{keys: [${times(n, () => "{by: Peer}")}], limit: {requests: 1, unit: SECOND}}]`,
    ],
  ];
  test.each(cases.map((one) => [...one]))("%s", (_name, bound, kind, spec) => {
    expect(errorsOf(kind as string, (spec as (n: number) => string)(bound as number))).toEqual([]);
    expect(errorsOf(kind as string, (spec as (n: number) => string)((bound as number) + 1))).not.toEqual([]);
  });
});
