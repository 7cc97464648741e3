/** Which rule takes a request, and which of its backends. */
import { type GatewayCase, get, http, to, withMethod } from "./gateway_case.ts";

export const matchCases: readonly GatewayCase[] = [
  {
    name: "path Exact",
    documents: http(`- matches: [{path: {type: Exact, value: /exact}}]
  ${to("v2")}
- ${to("v1")}`),
    requests: [
      ...[get("/exact", "v2"), get("/exact?q=/x", "v2"), get("/exact/", "v1"), get("/Exact", "v1")],
      ...[get("/exact/more", "v1"), get("/exac", "v1")],
    ],
  },
  {
    name: "path PathPrefix, by segments",
    documents: http(`- matches: [{path: {type: PathPrefix, value: /foo}}]
  ${to("v2")}
- matches: [{path: {value: /bar/}}]
  ${to("v2")}`),
    requests: [
      ...[get("/foo", "v2"), get("/foo/", "v2"), get("/foo/bar?x", "v2"), get("/foobar", 404)],
      ...[get("/bar", "v2"), get("/bar/", "v2"), get("/bar/x", "v2"), get("/barx", 404), get("/", 404)],
    ],
  },
  {
    name: "path RegularExpression",
    documents: http(`- matches: [{path: {type: RegularExpression, value: "/users/[0-9]+(/cart)?"}}]
  ${to("v2")}`),
    requests: [
      get("/users/12", "v2"),
      get("/users/12/cart?x", "v2"),
      get("/users/x", 404),
      get("/a/users/1", 404),
    ],
  },
  {
    name: "method",
    documents: http(`- matches: [{method: POST}, {method: DELETE, path: {value: /gone}}]
  ${to("v2")}
- matches: [{method: GET}]
  ${to("v1")}`),
    requests: [
      ...[withMethod("POST", "/", "v2"), withMethod("DELETE", "/gone/x", "v2"), get("/", "v1")],
      ...[withMethod("DELETE", "/", 404), withMethod("PUT", "/", 404)],
    ],
  },
  {
    name: "headers Exact, all of a match, any of several",
    documents:
      http(`- matches: [{headers: [{name: X-A, value: one}, {name: x-b, value: two}]}, {headers: [{name: x-c, value: three}]}]
  ${to("v2")}
- ${to("v1")}`),
    requests: [
      ...[get("/", "v1", { "x-a": "one" }), get("/", "v2", { "x-a": "one", "X-B": "two" })],
      ...[get("/", "v2", { "x-c": "three" }), get("/", "v1", { "x-c": "Three" }), get("/", "v1")],
    ],
  },
  {
    name: "headers RegularExpression",
    documents: http(`- matches: [{headers: [{type: RegularExpression, name: x-a, value: "a+b?"}]}]
  ${to("v2")}
- ${to("v1")}`),
    requests: [
      get("/", "v2", { "x-a": "aab" }),
      get("/", "v1", { "x-a": "aabb" }),
      get("/", "v1", { "x-a": "" }),
    ],
  },
  {
    name: "a header that is named twice: the first counts",
    documents: http(`- matches: [{headers: [{name: x-a, value: one}, {name: X-A, value: two}]}]
  ${to("v2")}
- ${to("v1")}`),
    requests: [
      {
        ...get("/", "v2", { "x-a": "one" }),
        envoy: {
          expect: "v1",
          reason:
            "it wants both where names differ by case; HTTPHeaderMatch.name: the others MUST be ignored",
        },
      },
      get("/", "v1", { "x-a": "two" }),
    ],
  },
  {
    name: "query parameters",
    documents: http(`- matches: [{queryParams: [{name: a, value: one}]}]
  ${to("v2")}
- matches: [{queryParams: [{type: RegularExpression, name: b, value: "[0-9]+"}]}]
  ${to("v2")}
- ${to("v1")}`),
    requests: [
      ...[get("/?a=one", "v2"), get("/?x&a=one&y", "v2"), get("/?a=ones", "v1"), get("/?A=one", "v1")],
      ...[get("/?b=12", "v2"), get("/?b=12x", "v1"), get("/?b", "v1"), get("/", "v1")],
    ],
  },
  {
    name: "a rule without matches takes everything",
    documents: http(`- ${to("v2")}`),
    requests: [get("/", "v2"), get("/any/thing?x", "v2"), withMethod("PATCH", "/", "v2")],
  },
  {
    name: "precedence: exact, then the longest prefix, whatever the order in the document",
    documents: http(`- matches: [{path: {value: /}}]
  ${to("v1")}
- matches: [{path: {value: /a}}]
  ${to("v1")}
- matches: [{path: {value: /a/b}}]
  ${to("v2")}
- matches: [{path: {type: Exact, value: /a}}]
  ${to("v2")}`),
    requests: [get("/a", "v2"), get("/a/", "v1"), get("/a/b/c", "v2"), get("/a/bc", "v1"), get("/z", "v1")],
  },
  {
    name: "precedence: a method before headers, headers before query parameters",
    documents:
      http(`- matches: [{path: {value: /m}, headers: [{name: x-a, value: "1"}, {name: x-b, value: "1"}]}]
  ${to("v1")}
- matches: [{path: {value: /m}, method: GET}]
  ${to("v2")}
- matches: [{path: {value: /h}, queryParams: [{name: q, value: "1"}, {name: r, value: "1"}]}]
  ${to("v1")}
- matches: [{path: {value: /h}, headers: [{name: x-a, value: "1"}]}]
  ${to("v2")}`),
    requests: [
      {
        ...get("/m", "v2", { "x-a": "1", "x-b": "1" }),
        envoy: {
          expect: "v1",
          reason:
            "it counts a method as one header more; HTTPRouteRule.matches: a method comes before their number",
        },
      },
      get("/h?q=1&r=1", "v2", { "x-a": "1" }),
      ...[get("/h?q=1&r=1", "v1"), get("/h?q=1", 404)],
    ],
  },
  {
    name: "precedence: more headers, more query parameters, then the first in the document",
    documents: http(`- matches: [{path: {value: /h}, headers: [{name: x-a, value: "1"}]}]
  ${to("v1")}
- matches: [{path: {value: /h}, headers: [{name: x-a, value: "1"}, {name: x-b, value: "1"}]}]
  ${to("v2")}
- matches: [{path: {value: /q}, queryParams: [{name: a, value: "1"}]}]
  ${to("v1")}
- matches: [{path: {value: /q}, queryParams: [{name: a, value: "1"}, {name: b, value: "1"}]}]
  ${to("v2")}
- matches: [{path: {value: /same}}]
  ${to("v2")}
- matches: [{path: {value: /same}}]
  ${to("v1")}`),
    requests: [
      ...[get("/h", "v1", { "x-a": "1" }), get("/h", "v2", { "x-a": "1", "x-b": "1" })],
      ...[get("/q?a=1", "v1"), get("/q?a=1&b=1", "v2"), get("/same", "v2")],
    ],
  },
  {
    name: "precedence of two documents: the more specific one, then the older one",
    documents: `${http(
      `- matches: [{path: {value: /same}}, {path: {value: /deep}}]
  ${to("v1")}`,
      "NAME-a",
      "2026-02-02T00:00:00Z",
    )}---
${http(
  `- matches: [{path: {value: /same}}, {path: {value: /deep/er}}]
  ${to("v2")}`,
  "NAME-b",
  "2026-01-01T00:00:00Z",
)}`,
    requests: [
      {
        ...get("/same", "v2"),
        envoy: {
          expect: "v1",
          reason:
            "egctl reads no creationTimestamp from a file (its controller has it), and goes by the name",
        },
      },
      ...[get("/deep", "v1"), get("/deep/er", "v2")],
    ],
  },
  {
    name: "precedence of two documents of one age: by name",
    documents: `${http(`- ${to("v1")}`, "NAME-y", "2026-01-01T00:00:00Z")}---
${http(`- ${to("v2")}`, "NAME-x", "2026-01-01T00:00:00Z")}`,
    requests: [get("/", "v2")],
  },
  {
    name: "weights",
    documents: http(`- backendRefs: [{name: v1, port: 80, weight: 3}, {name: v2, port: 80, weight: 1}]`),
    requests: [get("/", 200)],
    share: { times: 200, v2: 0.25 },
  },
  {
    name: "a weight of zero",
    documents: http(`- backendRefs: [{name: v1, port: 80, weight: 1}, {name: v2, port: 80, weight: 0}]`),
    requests: [get("/", "v1")],
    share: { times: 40, v2: 0 },
  },
  {
    name: "backends that are not there, and none",
    documents: http(`- matches: [{path: {value: /missing}}]
  ${to("v9")}
- matches: [{path: {value: /port}}]
  backendRefs: [{name: v1, port: 81}]
- matches: [{path: {value: /none}}]
- ${to("v1")}`),
    requests: [get("/missing", 500), get("/port", 500), get("/none", 500), get("/", "v1")],
  },
  {
    name: "an expression beside prefixes",
    documents: http(`- matches: [{path: {value: /files}}]
  ${to("v1")}
- matches: [{path: {type: RegularExpression, value: "/files/[a-z]+[.]txt"}}]
  ${to("v2")}`),
    requests: [
      get("/files", "v1"),
      {
        ...get("/files/a.txt", "v1"),
        envoy: {
          expect: "v2",
          reason:
            "the specification leaves the place of expressions open; ours come last, as Istio's do, Envoy Gateway's before prefixes",
        },
      },
    ],
  },
];
