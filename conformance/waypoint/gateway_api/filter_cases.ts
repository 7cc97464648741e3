/** What a rule does with a request and its answer. */
import type { AskedRequest } from "../route_cases.ts";
import { type GatewayCase, type GatewayRequest, get, http, to } from "./gateway_case.ts";

const preflight = (
  path: string,
  origin: string,
  method: string,
  expect: AskedRequest["expect"],
): GatewayRequest => ({
  line: `OPTIONS ${path}`,
  headers: { Origin: origin, "Access-Control-Request-Method": method },
  expect,
});

export const filterCases: readonly GatewayCase[] = [
  {
    name: "RequestRedirect",
    documents: http(
      [
        ["/host", "hostname: new.example"],
        ["/scheme", "scheme: https"],
        ["/both", "scheme: https, hostname: new.example, statusCode: 301"],
        ["/port", "port: 8443, statusCode: 302"],
        ["/own", "scheme: http, port: 80, hostname: new.example"],
        ["/tls", "scheme: https, port: 443"],
        ["/odd", "scheme: https, port: 80"],
        ["/full", "path: {type: ReplaceFullPath, replaceFullPath: /all/of/it}"],
        ["/prefix", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /there}"],
        ["/slash", "path: {type: ReplacePrefixMatch, replacePrefixMatch: /}"],
      ]
        .map(
          ([path, redirect]) =>
            `- matches: [{path: {value: ${path}}}]\n  filters: [{type: RequestRedirect, requestRedirect: {${redirect}}}]`,
        )
        .join("\n"),
    ),
    requests: [
      ...["/host/x?q=1", "/scheme", "/port/a", "/own", "/tls"].map((path) => get(path, 302)),
      ...["/full/x?q", "/prefix", "/prefix/", "/prefix/x?q", "/slash", "/slash/", "/slash/x?q"].map((path) =>
        get(path, 302),
      ),
      get("/both", 301),
      {
        ...get("/odd", 302),
        envoy: {
          expect: 302,
          location: "https://web.example/odd",
          reason:
            "it leaves out 80 and 443 whatever the scheme; HTTPRequestRedirectFilter.port: 80 is left out of http, 443 of https",
        },
      },
    ],
  },
  {
    name: "URLRewrite of the path's prefix",
    documents: http(
      [
        ["/old", "/new"],
        ["/strip", "/"],
        ["/deep/er", "/flat/"],
        ["/tail/", "/t"],
      ]
        .map(
          ([path, value]) =>
            `- matches: [{path: {value: ${path}}}]
  filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: ${value}}}}]
  ${to("v1")}`,
        )
        .join("\n"),
    ),
    requests: [
      ...["/old", "/old/", "/old/x?q=/old", "/strip", "/strip/", "/strip/x?q", "/deep/er", "/deep/er/x"].map(
        (path) => get(path, "v1"),
      ),
      ...["/tail", "/tail/", "/tail/x", "/tail?q"].map((path) => get(path, "v1")),
      get("/older", 404),
    ],
  },
  {
    name: "URLRewrite of the whole path, and of the host",
    documents: http(`- matches: [{path: {value: /full}}]
  filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /all}}}]
  ${to("v1")}
- matches: [{path: {value: /host}}]
  filters: [{type: URLRewrite, urlRewrite: {hostname: inner.example}}]
  ${to("v1")}
- matches: [{path: {value: /both}}]
  filters: [{type: URLRewrite, urlRewrite: {hostname: inner.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /b}}}]
  ${to("v2")}`),
    requests: [
      ...["/full", "/full/x", "/full?q=1", "/full/x?q=1", "/host", "/host/x"].map((path) => get(path, "v1")),
      get("/both/x", "v2"),
    ],
  },
  {
    name: "RequestHeaderModifier",
    documents: http(`- filters:
  - type: RequestHeaderModifier
    requestHeaderModifier: {set: [{name: X-Set, value: "1"}], add: [{name: x-add, value: "2"}], remove: [X-Gone]}
  ${to("v1")}`),
    requests: [
      get("/", "v1"),
      get("/", "v1", { "x-set": "old", "x-add": "old", "x-gone": "old", "x-a": "kept" }),
      get("/", "v1", { "X-SET": "old", "X-ADD": "" }),
    ],
  },
  {
    name: "ResponseHeaderModifier",
    documents: http(`- filters:
  - type: ResponseHeaderModifier
    responseHeaderModifier: {set: [{name: X-Version, value: changed}], add: [{name: x-more, value: "3"}], remove: [x-secret]}
  ${to("v1")}`),
    requests: [get("/", "v1")],
  },
  {
    name: "header changes of a backend",
    documents: http(`- backendRefs:
  - name: v1
    port: 80
    filters:
    - {type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: x-set, value: backend}], remove: [x-gone]}}
    - {type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: x-more, value: backend}]}}`),
    requests: [get("/", "v1"), get("/", "v1", { "x-set": "old", "x-gone": "old" })],
  },
  {
    name: "header changes on a redirect",
    documents: http(`- filters:
  - {type: ResponseHeaderModifier, responseHeaderModifier: {set: [{name: x-more, value: "1"}]}}
  - {type: RequestRedirect, requestRedirect: {hostname: new.example}}`),
    requests: [get("/", 302)],
  },
  {
    name: "timeouts",
    documents: http(`- matches: [{path: {value: /slow/request}}]
  timeouts: {request: 300ms}
  ${to("v1")}
- matches: [{path: {value: /slow/backend}}]
  timeouts: {backendRequest: 300ms}
  ${to("v1")}
- matches: [{path: {value: /slow/both}}]
  timeouts: {request: 400ms, backendRequest: 300ms}
  ${to("v1")}
- timeouts: {request: 30s}
  ${to("v1")}`),
    requests: [
      get("/slow/request", 504),
      get("/slow/backend", 504),
      get("/slow/both", 504),
      get("/quick", "v1"),
    ],
  },
  {
    name: "RequestMirror",
    documents: http(`- filters: [{type: RequestMirror, requestMirror: {backendRef: {name: v2, port: 80}}}]
  ${to("v1")}`),
    requests: [{ ...get("/mirrored?q", "v1", { "x-a": "kept" }), mirrored: "v2" }],
  },
  {
    name: "CORS",
    documents: http(`- matches: [{path: {value: /all}}]
  filters: [{type: CORS, cors: {allowOrigins: ["*"], allowMethods: [GET, PUT]}}]
  ${to("v1")}
- filters:
  - type: CORS
    cors:
      allowOrigins: [https://shop.example, "https://*.dev.example"]
      allowMethods: [GET, PUT]
      allowHeaders: [x-a]
      exposeHeaders: [x-b]
      allowCredentials: true
      maxAge: 600
  ${to("v1")}`),
    requests: [
      ...[
        preflight("/", "https://shop.example", "PUT", 200),
        preflight("/", "https://a.dev.example", "PUT", 200),
      ],
      preflight("/all", "https://any.example", "PUT", 200),
      get("/", "v1", { Origin: "https://shop.example" }),
      get("/", "v1", { Origin: "https://a.dev.example" }),
      get("/", "v1", { Origin: "https://evil.example" }),
      get("/all", "v1", { Origin: "https://any.example" }),
      get("/", "v1"),
    ],
  },
];
