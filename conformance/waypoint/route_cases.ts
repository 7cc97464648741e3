/** What is routed: VirtualServices and routes of the Gateway API, each with requests; the same is asked of Envoy. */

export interface RouteCase {
  readonly name: string;
  /** Documents for the service `HOST`, whose subsets are v1 and v2. */
  readonly documents: string;
  readonly requests: readonly AskedRequest[];
}

export interface AskedRequest {
  /** `GET /path`. */
  readonly line: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** What must come of it whatever Envoy says: the version that saw it, or the status. */
  readonly expect: "v1" | "v2" | number;
}

export const virtual = (http: string): string => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: NAME, namespace: shop}
spec:
  hosts: [HOST]
  http:
${http.replace(/^/gm, "  ")}
`;

const route = (kind: string, rules: string): string => `apiVersion: gateway.networking.k8s.io/v1
kind: ${kind}
metadata: {name: NAME, namespace: shop}
spec:
  parentRefs: [{group: "", kind: Service, name: NAME}]
  rules:
${rules.replace(/^/gm, "  ")}
`;

const to = (subset: string): string => `route: [{destination: {host: HOST, subset: ${subset}}}]`;
const get = (
  path: string,
  expect: AskedRequest["expect"],
  headers?: Readonly<Record<string, string>>,
): AskedRequest => ({
  line: `GET ${path}`,
  expect,
  ...(headers === undefined ? {} : { headers }),
});

export const routeCases: readonly RouteCase[] = [
  {
    name: "paths: exact, prefix, expression, in the order of the document",
    documents: virtual(`- match: [{uri: {exact: /exact}}]
  ${to("v2")}
- match: [{uri: {prefix: /pre}}]
  ${to("v2")}
- match: [{uri: {regex: "/users/[0-9]+(/cart)?"}}]
  ${to("v2")}
- match: [{uri: {prefix: /}}]
  ${to("v1")}`),
    requests: [
      ...[get("/exact", "v2"), get("/exact/", "v1"), get("/exact?x=/y", "v2"), get("/Exact", "v1")],
      ...[get("/pre", "v2"), get("/prefix/more", "v2"), get("/pr", "v1"), get("/", "v1")],
      ...[
        get("/users/12", "v2"),
        get("/users/12/cart?x", "v2"),
        get("/users/12x", "v1"),
        get("/a/users/1", "v1"),
      ],
    ],
  },
  {
    name: "paths whose case does not count",
    documents:
      virtual(`- match: [{uri: {exact: /Exact}, ignoreUriCase: true}, {uri: {prefix: /PRE}, ignoreUriCase: true}]
  ${to("v2")}
- ${to("v1")}`),
    requests: [get("/eXact", "v2"), get("/prefix", "v2"), get("/exactly", "v1"), get("/pRe", "v2")],
  },
  {
    name: "spellings of a path",
    documents: virtual(`- match: [{uri: {prefix: /admin}}]
  ${to("v2")}
- ${to("v1")}`),
    requests: [
      ...["/admin", "/%61dmin", "/x/../admin", "/./admin", "/x/%2e%2e/admin", "/admin%2Fx", "/admin//x"].map(
        (path) => get(path, "v2"),
      ),
      ...["/%2Fadmin", "//admin", "/adm%2569n", "/x/admin", "/..%2Fadmin"].map((path) => get(path, "v1")),
    ],
  },
  {
    name: "headers: exact, prefix, expression, presence, absence, several lines",
    documents: virtual(`- match: [{headers: {x-a: {exact: "1"}}}]
  ${to("v2")}
- match: [{headers: {x-b: {prefix: be}}}, {headers: {x-c: {regex: "c+"}}}, {headers: {x-d: {}}}]
  ${to("v2")}
- match: [{withoutHeaders: {x-e: {}}, uri: {exact: /without}}]
  ${to("v2")}
- match: [{withoutHeaders: {x-f: {exact: "no"}}, uri: {exact: /not}}]
  ${to("v2")}
- ${to("v1")}`),
    requests: [
      ...[get("/", "v2", { "X-A": "1" }), get("/", "v1", { "X-A": "11" }), get("/", "v2", { "x-b": "best" })],
      ...[get("/", "v1", { "x-b": "a" }), get("/", "v2", { "x-c": "ccc" }), get("/", "v1", { "x-c": "ccd" })],
      ...[
        get("/", "v2", { "x-d": "anything" }),
        get("/without", "v2"),
        get("/without", "v1", { "x-e": "1" }),
      ],
      ...[get("/not", "v2"), get("/not", "v1", { "x-f": "no" }), get("/not", "v2", { "x-f": "yes" })],
    ],
  },
  {
    name: "method, authority and query",
    documents: virtual(`- match: [{method: {exact: PUT}}, {method: {regex: "DEL.*"}}]
  ${to("v2")}
- match: [{authority: {exact: special.example}}, {authority: {prefix: pre.}}]
  ${to("v2")}
- match: [{queryParams: {a: {exact: "1"}}}, {queryParams: {b: {regex: "[0-9]+"}}}, {queryParams: {c: {}}}]
  ${to("v2")}
- ${to("v1")}`),
    requests: [
      { line: "PUT /", expect: "v2" },
      { line: "DELETE /", expect: "v2" },
      { line: "PATCH /", expect: "v1" },
      ...[get("/", "v2", { Host: "special.example" }), get("/", "v1", { Host: "special.example.org" })],
      ...[
        get("/", "v2", { Host: "pre.anything" }),
        get("/?a=1", "v2"),
        get("/?a=2", "v1"),
        get("/?x=a=1", "v1"),
      ],
      ...[
        get("/?a=2&a=1", "v1"),
        get("/?b=12&z", "v2"),
        get("/?b=1x", "v1"),
        get("/?c", "v2"),
        get("/?cc=1", "v1"),
      ],
    ],
  },
  {
    name: "all of one match, any of several, none is 404",
    documents:
      virtual(`- match: [{uri: {prefix: /a}, headers: {x: {exact: "1"}}, method: {exact: GET}}, {uri: {exact: /b}}]
  ${to("v2")}`),
    requests: [
      ...[get("/a", "v2", { x: "1" }), get("/a", 404), get("/b", "v2"), get("/c", 404)],
      { line: "POST /a", headers: { x: "1", "content-length": "0" }, expect: 404 },
    ],
  },
  {
    name: "rewrites: prefix, whole path, expression, authority",
    documents: virtual(`- match: [{uri: {prefix: /old/}}]
  rewrite: {uri: /new/}
  ${to("v1")}
- match: [{uri: {prefix: /cut}}]
  rewrite: {uri: /, authority: inner.example}
  ${to("v1")}
- match: [{uri: {exact: /whole}}]
  rewrite: {uri: /other}
  ${to("v1")}
- match: [{uri: {regex: "/re/.*"}}]
  rewrite: {uriRegexRewrite: {match: "^/re/([^/]+)/(.*)$", rewrite: "/\\\\2/of/\\\\1"}}
  ${to("v1")}
- rewrite: {uriRegexRewrite: {match: "o+", rewrite: "0"}}
  ${to("v1")}`),
    requests: [
      ...["/old/a?x=/old/", "/old/", "/cut", "/cut/a", "/cutting", "/whole?q", "/re/a/b/c?d"].map((path) =>
        get(path, "v1"),
      ),
      ...["/re/nothing", "/foo/boo?too", "/plain"].map((path) => get(path, "v1")),
    ],
  },
  {
    name: "redirects",
    documents: virtual(`- match: [{uri: {prefix: /a}}]
  redirect: {uri: /new, authority: new.example, scheme: https, redirectCode: 308}
- match: [{uri: {prefix: /b/}}]
  redirect: {prefixRewrite: /c/}
- match: [{uri: {exact: /d}}]
  redirect: {authority: other.example:81, redirectCode: 302}
- match: [{uri: {exact: /e}}]
  redirect: {port: 8443, redirectCode: 307}
- match: [{uri: {exact: /f}}]
  redirect: {scheme: https, redirectCode: 303}
- match: [{uri: {exact: /g}}]
  redirect: {uri: "/q?own=1"}
- match: [{uri: {exact: /h}}]
  redirect: {authority: h.example, derivePort: FROM_PROTOCOL_DEFAULT}
- match: [{uri: {exact: /i}}]
  redirect: {scheme: https, port: 443}`),
    requests: [
      ...[
        get("/a/x?q", 308),
        get("/b/x?q", 301),
        get("/d?q", 302),
        get("/e", 307),
        get("/f", 303),
        get("/g?theirs", 301),
      ],
      ...[get("/h", 301), get("/i", 301)],
      ...[get("/e", 307, { Host: "web.example:99" }), get("/f", 303, { Host: "web.example:80" })],
      ...[
        get("/f", 303, { Host: "web.example:99" }),
        get("/b/", 301, { Host: "[::1]:80" }),
        get("/e", 307, { Host: "[::1]" }),
      ],
    ],
  },
  {
    name: "direct answers and aborts",
    documents: virtual(`- match: [{uri: {exact: /teapot}}]
  directResponse: {status: 418, body: {string: short and stout}}
- match: [{uri: {exact: /empty}}]
  directResponse: {status: 204}
- match: [{uri: {exact: /abort}}]
  fault: {abort: {httpStatus: 503, percentage: {value: 100}}}
  ${to("v1")}
- match: [{uri: {exact: /never}}]
  fault: {abort: {httpStatus: 503, percentage: {value: 0}}}
  ${to("v1")}`),
    requests: [
      get("/teapot", 418),
      get("/empty", 204),
      get("/abort", 503),
      get("/never", "v1"),
      get("/teapo", 404),
    ],
  },
  {
    name: "headers of requests and answers",
    documents: virtual(`- headers:
    request: {set: {x-set: "1"}, add: {x-add: "2"}, remove: [x-gone]}
    response: {set: {x-version: changed}, add: {x-more: "3"}, remove: [x-secret]}
  ${to("v1")}`),
    requests: [get("/", "v1"), get("/", "v1", { "x-set": "old", "x-add": "old", "x-gone": "old" })],
  },
  {
    name: "variables in headers",
    documents: virtual(`- headers:
    request:
      set: {x-way: "%REQ(:METHOD)% %REQ(:PATH)%, 100%%", x-tenant: "%REQ(X-T?X-U)%", x-short: "%REQ(X-T):2%"}
      add: {x-from: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%|%PROTOCOL%"}
    response: {set: {x-version: "%RESPONSE_CODE% %RESP(X-SECRET)%"}}
  ${to("v1")}`),
    requests: [
      get("/a?b=c", 200, { "x-t": "acme" }),
      get("/a", 200, { "x-u": "umbrella" }),
      get("/a", 200, { "x-u": "umbrella", "x-t": "" }),
    ],
  },
  {
    name: "CORS",
    documents: virtual(`- match: [{uri: {prefix: /ignore}}]
  corsPolicy: {allowOrigins: [{exact: https://shop.example}], allowMethods: [PUT], unmatchedPreflights: IGNORE}
  ${to("v1")}
- corsPolicy: {allowOrigins: [{exact: https://shop.example}, {regex: "https://.*[.]dev"}], allowMethods: [PUT, GET], allowHeaders: [x-a], exposeHeaders: [x-b], maxAge: 10m, allowCredentials: true}
  ${to("v1")}`),
    requests: [
      ...["https://shop.example", "https://a.dev"].map(
        (Origin): AskedRequest => ({
          line: "OPTIONS /",
          headers: { Origin, "Access-Control-Request-Method": "PUT" },
          expect: 200,
        }),
      ),
      {
        line: "OPTIONS /",
        headers: { Origin: "https://evil.example", "Access-Control-Request-Method": "PUT" },
        expect: "v1",
      },
      {
        line: "OPTIONS /ignore",
        headers: { Origin: "https://evil.example", "Access-Control-Request-Method": "PUT" },
        expect: 200,
      },
      { line: "OPTIONS /", headers: { Origin: "https://shop.example" }, expect: "v1" },
      get("/", "v1", { Origin: "https://shop.example" }),
      get("/", "v1", { Origin: "https://evil.example" }),
      get("/", "v1"),
    ],
  },
  {
    name: "HTTPRoute: the specification's order, prefixes by segments",
    documents: route(
      "HTTPRoute",
      `- matches: [{path: {value: /a}}]
  filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /b/}}}]
  backendRefs: [{group: networking.istio.io, kind: Hostname, name: v1.HOST, port: 80}]
- matches: [{path: {value: /a/b}}]
  backendRefs: [{group: networking.istio.io, kind: Hostname, name: v2.HOST, port: 80}]
- matches: [{path: {value: /a/b}, headers: [{name: x, value: "1"}]}]
  backendRefs: [{group: networking.istio.io, kind: Hostname, name: v1.HOST, port: 80}]
- matches: [{path: {type: Exact, value: /a}}, {path: {value: /both}, method: POST}]
  backendRefs: [{group: networking.istio.io, kind: Hostname, name: v2.HOST, port: 80}]
- matches: [{path: {value: /strip}}]
  filters: [{type: URLRewrite, urlRewrite: {hostname: inner.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /}}}]
  backendRefs: [{group: networking.istio.io, kind: Hostname, name: v1.HOST, port: 80}]
- matches: [{path: {value: /full}}]
  filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplaceFullPath, replaceFullPath: /all}}}]
  backendRefs: [{group: networking.istio.io, kind: Hostname, name: v1.HOST, port: 80}]
- matches: [{path: {value: /moved}}]
  filters: [{type: RequestRedirect, requestRedirect: {scheme: https, hostname: new.example, path: {type: ReplacePrefixMatch, replacePrefixMatch: /there}}}]`,
    ),
    requests: [
      ...[
        get("/a", "v2"),
        get("/a/", "v1"),
        get("/a/x?q", "v1"),
        get("/ab", 404),
        get("/a/b", "v2"),
        get("/a/bc", "v1"),
      ],
      ...[
        get("/a/b/c", "v2"),
        get("/a/b", "v1", { X: "1" }),
        get("/both", 404),
        get("/strip", "v1"),
        get("/strip/", "v1"),
      ],
      ...[get("/strip/x?q", "v1"), get("/full/x?q", "v1"), get("/moved/x?q", 302), get("/moved", 302)],
      { line: "POST /both", headers: { "content-length": "0" }, expect: "v2" },
    ],
  },
  {
    name: "no route of its own, and one that leads nowhere",
    documents: virtual(`- match: [{uri: {exact: /nowhere}}]
  route: [{destination: {host: nowhere.example}}]
- match: [{uri: {exact: /no-subset}}]
  ${to("v9")}
- ${to("v1")}`),
    requests: [get("/", "v1"), get("/nowhere", 503), get("/no-subset", 503)],
  },
];
