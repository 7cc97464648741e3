/** Documents with every field that a waypoint's kinds take, beside `completeDocuments`: the other choices, and the kinds about who may. */
const networking = "networking.istio.io/v1";
const gateway = "gateway.networking.k8s.io/v1";
const security = "security.istio.io/v1";
const telemetry = "telemetry.istio.io/v1";
const fairlead = "fairlead.dev/v1";

function document(apiVersion: string, kind: string, spec: string, annotations = ""): string {
  const metadata = `{name: ${kind.toLowerCase()}, namespace: shop${annotations === "" ? "" : `, annotations: {${annotations}}`}}`;
  return `apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: ${kind === "MeshConfig" ? "{name: default}" : metadata}\nspec: ${spec}\n`;
}

const target = "{group: networking.istio.io, kind: ServiceEntry, name: web}";
const toBoth = `targetRefs: [${target}, {kind: Service, name: w}]`;
const toOne = `targetRef: ${target}`;

const virtualService = (spec: string) =>
  document(networking, "VirtualService", `{hosts: [reviews.shop.mesh], ${spec}}`);
const match = (spec: string) =>
  virtualService(`http: [{match: [${spec}], route: [{destination: {host: b.mesh}}]}]`);
const action = (spec: string) => virtualService(`http: [{route: [{destination: {host: b.mesh}}], ${spec}}]`);
const l4 = (own: string) =>
  `{match: [{gateways: [mesh, other/one], sourceLabels: {app: a}, sourceNamespace: shop, ${own}}], route: [{weight: 40, destination: {host: b.mesh, subset: v1, port: {number: 27017}}}, {weight: 60, destination: {host: mirror.mesh}}]}`;
const destinationRule = (policy: string) =>
  document(
    networking,
    "DestinationRule",
    `{host: reviews.shop.mesh, exportTo: ["."], trafficPolicy: {${policy}}, subsets: [{name: v1, labels: {version: v1}}]}`,
  );
const subsetRule = (policy: string) =>
  document(
    networking,
    "DestinationRule",
    `{host: reviews.shop.mesh, subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {${policy}}}]}`,
  );

const parent = "{group: networking.istio.io, kind: ServiceEntry, name: outside, namespace: shop, port: 80}";
const backend =
  "{group: networking.istio.io, kind: Hostname, name: reviews.other.mesh, namespace: shop, port: 9080, weight: 3}";
const modifier = "set: [{name: x-s, value: s}], add: [{name: x-a, value: a}], remove: [x-r]";
const modifiers = `{type: RequestHeaderModifier, requestHeaderModifier: {${modifier}}}, {type: ResponseHeaderModifier, responseHeaderModifier: {${modifier}}}`;
const mirrored =
  "{type: RequestMirror, requestMirror: {backendRef: {group: networking.istio.io, kind: Hostname, name: mirror.mesh, namespace: shop, port: 80}, fraction: {numerator: 1, denominator: 7}}}";
const session = "sessionPersistence: {sessionName: s, type: Header, idleTimeout: 7m}";
const route = (kind: string, spec: string) => document(gateway, kind, `{parentRefs: [${parent}], ${spec}}`);

const redisTls = "tls: {caFile: /a, certificateFile: /b, keyFile: /c, serverName: d.example}";
const limited = (spec: string) =>
  document(fairlead, "RateLimit", `{${toOne}, rules: [{limit: {requests: 7, unit: HOUR}}], ${spec}}`);

export const fieldDocuments: readonly string[] = [
  match(
    "{scheme: {prefix: h}, method: {exact: GET}, authority: {exact: a}, headers: {a: {prefix: b}, c: {regex: d.*}}, withoutHeaders: {e: {exact: f}, g: {prefix: h}}, queryParams: {i: {prefix: j}, k: {regex: l.*}}}",
  ),
  match("{scheme: {regex: h.*}, method: {prefix: P}, authority: {regex: a.*}, uri: {exact: /a}}"),
  action(
    "headers: {request: {set: {a: b}, add: {c: d}, remove: [e]}, response: {set: {a: b}, add: {c: d}, remove: [e]}}",
  ),
  virtualService(
    "http: [{route: [{destination: {host: b.mesh}, headers: {request: {set: {a: b}, add: {c: d}, remove: [e]}, response: {set: {a: b}, add: {c: d}, remove: [e]}}}]}]",
  ),
  action(
    "rewrite: {uri: /b}, fault: {delay: {fixedDelay: 3s, percent: 7}, abort: {httpStatus: 418, percentage: {value: 9}}}",
  ),
  action("mirror: {host: mirror.mesh, subset: v1, port: {number: 443}}, mirrorPercent: 17"),
  action(
    "mirrors: [{destination: {host: mirror.mesh, subset: v1, port: {number: 443}}, percentage: {value: 7}}]",
  ),
  action("corsPolicy: {allowOrigins: [{prefix: https://a}], maxAge: 3s}"),
  action("corsPolicy: {allowOrigin: [https://a.example]}"),
  virtualService("http: [{redirect: {port: 8080, prefixRewrite: /x}, match: [{uri: {prefix: /a}}]}]"),
  virtualService("http: [{directResponse: {status: 418, body: {bytes: YWJj}}}]"),
  virtualService(
    `tls: [${l4("sniHosts: [reviews.shop.mesh], port: 443, destinationSubnets: [10.0.0.0/8]")}]`,
  ),
  virtualService(`tcp: [${l4("port: 27017, destinationSubnets: [10.0.0.0/8]")}]`),
  ...["httpHeaderName: x-user", "useSourceIp: true", "httpQueryParameterName: u"].map((by) =>
    destinationRule(`loadBalancer: {consistentHash: {${by}, ringHash: {minimumRingSize: 77}}}`),
  ),
  destinationRule("loadBalancer: {consistentHash: {httpHeaderName: x, minimumRingSize: 77}}"),
  destinationRule("loadBalancer: {simple: RANDOM, warmupDurationSecs: 17s}"),
  destinationRule("loadBalancer: {simple: RANDOM, localityLbSetting: {failover: [{from: a, to: b}]}}"),
  destinationRule(
    "loadBalancer: {simple: RANDOM, localityLbSetting: {enabled: true, failoverPriority: [x]}}",
  ),
  destinationRule("connectionPool: {http: {useClientProtocol: true}}, proxyProtocol: {version: V1}"),
  destinationRule("tls: {mode: SIMPLE, insecureSkipVerify: true}"),
  // In the root namespace it is for those that it says; in its own it always is.
  destinationRule("loadBalancer: {simple: RANDOM}")
    .replace("namespace: shop", "namespace: root")
    .replace('exportTo: ["."]', "exportTo: [shop]"),
  subsetRule("portLevelSettings: [{port: {number: 80}, connectionPool: {http: {http2MaxRequests: 7}}}]"),
  subsetRule("outlierDetection: {interval: 3s}, retryBudget: {percent: 7}, proxyProtocol: {version: V2}"),
  route(
    "HTTPRoute",
    `rules: [{matches: [{queryParams: [{name: q, type: RegularExpression, value: v.*}]}], filters: [${modifiers}, ${mirrored}, {type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /x}}}], backendRefs: [${backend.replace("}", `, filters: [${modifiers}]}`)}], ${session}}]`,
  ),
  route(
    "HTTPRoute",
    "rules: [{matches: [{path: {type: PathPrefix, value: /a}}], filters: [{type: RequestRedirect, requestRedirect: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}}]}, {filters: [{type: RequestMirror, requestMirror: {percent: 7, backendRef: {name: mirror, port: 80}}}]}]",
  ),
  route(
    "GRPCRoute",
    `rules: [{name: r, matches: [{headers: [{name: a, type: RegularExpression, value: b.*}]}], filters: [${modifiers}, ${mirrored}], backendRefs: [${backend.replace("}", `, filters: [${modifiers}]}`)}], sessionPersistence: {sessionName: s, type: Cookie, absoluteTimeout: 3h, cookieConfig: {lifetimeType: Permanent}}}, {sessionPersistence: {type: Header, idleTimeout: 7m}}]`,
  ),
  ...["HTTPRoute", "GRPCRoute"].map((kind) => route(kind, "hostnames: [a.example], rules: [{}]")),
  route("TCPRoute", `rules: [{backendRefs: [${backend}]}]`),
  route(
    "TLSRoute",
    `hostnames: [a.example], rules: [{name: r, backendRefs: [${backend}, {name: secure-a, port: 443}]}]`,
  ),
  document(
    gateway,
    "BackendTLSPolicy",
    '{targetRefs: [{group: "", kind: Service, name: web}], validation: {hostname: a.example, caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]}}',
  ),
  limited(`store: {type: Redis, redis: {address: "a.example:6379", ${redisTls}}}`),
  limited(
    `store: {type: RLS, rls: {address: "a.example:8081", domain: d, timeout: 70ms, whenAway: Allow, ${redisTls}}}`,
  ),
  document(fairlead, "RateLimit", `{${toBoth}, rules: [{limit: {requests: 7, unit: HOUR}}]}`),
  document(
    security,
    "RequestAuthentication",
    `{${toBoth}, jwtRules: [{issuer: https://a.example, audiences: [x, y], jwksUri: https://a.example/keys, fromHeaders: [{name: x-t, prefix: "Bearer "}], fromParams: [t], fromCookies: [c], forwardOriginalToken: true, outputPayloadToHeader: x-p, outputClaimToHeaders: [{header: x-c, claim: sub}], timeout: 7s, spaceDelimitedClaims: [roles]}]}`,
  ),
  document(
    security,
    "RequestAuthentication",
    `{${toOne}, jwtRules: [{issuer: a, jwks: '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}'}, {issuer: b, jwks_uri: https://a.example/keys}]}`,
  ),
  document(security, "RequestAuthentication", "{selector: {matchLabels: {app: a}}}"),
  document(
    security,
    "AuthorizationPolicy",
    `{${toBoth}, action: DENY, rules: [{from: [{source: {principals: [cluster.local/ns/a/sa/b], notPrincipals: [cluster.local/ns/a/sa/c], requestPrincipals: [i/s], notRequestPrincipals: [i/t], namespaces: [n], notNamespaces: [m], ipBlocks: [10.0.0.0/8], notIpBlocks: [10.1.0.0/16], remoteIpBlocks: [11.0.0.0/8], notRemoteIpBlocks: [11.1.0.0/16]}}, {source: {serviceAccounts: [n/s], notServiceAccounts: [n/t]}}, {source: {trustDomains: [td], notTrustDomains: [te]}}], to: [{operation: {hosts: [h], notHosts: [g], ports: ["80"], notPorts: ["81"], methods: [GET], notMethods: [PUT], paths: [/a], notPaths: [/b]}}], when: [{key: "request.headers[x]", values: [a], notValues: [b]}]}]}`,
    'istio.io/dry-run: "true"',
  ),
  document(security, "AuthorizationPolicy", `{${toOne}, action: CUSTOM, provider: {name: opa}, rules: [{}]}`),
  document(security, "AuthorizationPolicy", "{selector: {matchLabels: {app: a}}}"),
  document(
    telemetry,
    "Telemetry",
    `{${toBoth}, accessLogging: [{match: {mode: SERVER}, providers: [{name: otel}], filter: {expression: response.code >= 400}}], tracing: [{match: {mode: SERVER}, providers: [{name: otel}], randomSamplingPercentage: 17.5, disableSpanReporting: true, enableIstioTags: false, customTags: {a: {literal: {value: b}}, c: {header: {name: x-a, defaultValue: d}}, f: {formatter: {value: "%PROTOCOL%"}}}}], metrics: [{providers: [{name: prometheus}], overrides: [{match: {metric: REQUEST_COUNT, mode: SERVER}, disabled: true}, {match: {metric: REQUEST_DURATION}, tagOverrides: {a: {value: request.host}, source_app: {operation: REMOVE}}}]}]}`,
  ),
  document(
    telemetry,
    "Telemetry",
    "{selector: {matchLabels: {app: a}}, accessLogging: [{disabled: true}], tracing: [{match: {mode: CLIENT}, randomSamplingPercentage: 3}]}",
  ),
  document(
    telemetry,
    "Telemetry",
    `{${toOne}, tracing: [{useRequestIdForTraceSampling: false, disableContextPropagation: false}]}`,
  ),
  ...[toBoth, toOne].map((targets) =>
    document(
      fairlead,
      "Middleware",
      `{${targets}, file: a.ts, order: 7, timeout: 3s, onFailure: Continue, config: {a: b}}`,
    ),
  ),
  ...[toBoth, toOne].map((targets) =>
    document(
      fairlead,
      "AccessCondition",
      `{${targets}, dryRun: true, conditions: [{expression: "true", message: m}]}`,
    ),
  ),
  document(
    fairlead,
    "MeshConfig",
    `{extensionProviders: [{name: opa, envoyExtAuthzGrpc: {service: opa.shop.example, port: 9191, timeout: 500ms, failOpen: true, statusOnError: "503", clearRouteCache: true, includeRequestBodyInCheck: {maxRequestBytes: 10, allowPartialMessage: true, packAsBytes: true}}}, {name: h, envoyExtAuthzHttp: {service: h.example, port: 80, timeout: 1s, pathPrefix: /p, failOpen: true, statusOnError: "503", clearRouteCache: true, includeRequestHeadersInCheck: [a], includeAdditionalHeadersInCheck: {b: c}, headersToUpstreamOnAllow: [d], headersToDownstreamOnDeny: [e], headersToDownstreamOnAllow: [f], includeRequestBodyInCheck: {maxRequestBytes: 10, allowPartialMessage: true, packAsBytes: true}}}, {name: old, envoyExtAuthzHttp: {service: h.example, port: 80, includeHeadersInCheck: [a]}}], pathNormalization: {normalization: MERGE_SLASHES}, trustDomainAliases: [old.example.com], defaultConfig: {gatewayTopology: {numTrustedProxies: 1}}, privateKeySetHosts: [login.internal]}`,
  ),
];

const backendFilter = (filter: string) =>
  `rules: [{backendRefs: [{name: web, port: 80, filters: [${filter}]}]}]`;
const redirected = "{type: RequestRedirect, requestRedirect: {hostname: a.example}}";
const rewritten = "{type: URLRewrite, urlRewrite: {hostname: a.example}}";
const shared = "{type: CORS, cors: {allowOrigins: [https://a.example]}}";
const extended = "{type: ExtensionRef, extensionRef: {group: a.example, kind: A, name: a}}";

/** Fields that are read so that their refusal can say more than that they are not there: where, and a document with them. */
export const refusedFields: readonly (readonly [path: RegExp, text: string])[] = [
  ...[
    "RequestAuthentication",
    "AuthorizationPolicy",
    "Telemetry",
    "Middleware",
    "AccessCondition",
    "RateLimit",
  ].map((kind): readonly [RegExp, string] => {
    const group = kind === "Telemetry" ? telemetry : /^(Req|Auth)/.test(kind) ? security : fairlead;
    const rest = kind === "Middleware" ? ", file: a.ts" : "";
    const spec = `{targetRefs: [{kind: Service, name: a, namespace: other}]${rest}}`;
    return [/^spec\.targetRefs?(\[\])?\.namespace$/, document(group, kind, spec)];
  }),
  ...["HTTPRoute", "GRPCRoute", "TCPRoute", "TLSRoute"].map((kind): readonly [RegExp, string] => [
    /^spec\.parentRefs\[\]\.sectionName$/,
    document(
      gateway,
      kind,
      "{parentRefs: [{kind: Service, group: '', name: a, sectionName: http}], rules: [{backendRefs: [{name: a, port: 80}]}]}",
    ),
  ]),
  ...["HTTPRoute", "GRPCRoute"].flatMap((kind): readonly (readonly [RegExp, string])[] => [
    [/^spec\.rules\[\]\.filters\[\]\.extensionRef$/, route(kind, `rules: [{filters: [${extended}]}]`)],
    ...[mirrored, redirected, rewritten, shared, extended].map((filter): readonly [RegExp, string] => [
      new RegExp(`^spec\\.rules\\[\\]\\.backendRefs\\[\\]\\.filters\\[\\]\\.${fieldOf(filter)}$`),
      route(kind, backendFilter(filter)),
    ]),
  ]),
  ...[redirected, rewritten, shared].map((filter): readonly [RegExp, string] => [
    new RegExp(`^spec\\.rules\\[\\]\\.filters\\[\\]\\.${fieldOf(filter)}$`),
    route("GRPCRoute", `rules: [{filters: [${filter}]}]`),
  ]),
];

function fieldOf(filter: string): string {
  return /, (\w+):/.exec(filter)?.[1] ?? "";
}
