import { describe, expect, test } from "bun:test";
import type {
  HeaderValue,
  HeaderVariable,
  HttpMatch,
  PathMatch,
  PathRewrite,
  Redirect,
} from "../../mesh/traffic/route_plan.ts";
import type { RequestHead } from "../exchange.ts";
import { exchangeOf } from "../testing/exchanges.ts";
import { redirectLocation } from "./redirect.ts";
import { changedFields, pathRewriter } from "./rewrite.ts";

function matching(path: PathMatch | null): HttpMatch {
  return {
    path,
    ignorePathCase: false,
    method: null,
    scheme: null,
    authority: null,
    headers: [],
    withoutHeaders: [],
    query: [],
    location: { file: "f", line: 1, column: 1 },
  };
}

function rewritten(target: string, match: PathMatch | null, rewrite: PathRewrite): string {
  return pathRewriter(rewrite)(target, match === null ? null : matching(match));
}

describe("Gateway API, HTTPPathModifier: ReplacePrefixMatch", () => {
  // The table of the specification, whole.
  test.each([
    ["/foo/bar", "/foo", "/xyz", "/xyz/bar"],
    ["/foo/bar", "/foo", "/xyz/", "/xyz/bar"],
    ["/foo/bar", "/foo/", "/xyz", "/xyz/bar"],
    ["/foo/bar", "/foo/", "/xyz/", "/xyz/bar"],
    ["/foo", "/foo", "/xyz", "/xyz"],
    ["/foo/", "/foo", "/xyz", "/xyz/"],
    ["/foo/bar", "/foo", "", "/bar"],
    ["/foo/", "/foo", "", "/"],
    ["/foo", "/foo", "", "/"],
    ["/foo/", "/foo", "/", "/"],
    ["/foo", "/foo", "/", "/"],
    ["/foo?a=/foo", "/foo", "/x", "/x?a=/foo"],
    ["/bar", "/", "/x", "/x/bar"],
  ])("%s with the prefix %s and %j becomes %s", (target, prefix, value, expected) => {
    expect(rewritten(target, { kind: "segments", value: prefix }, { kind: "segments", value })).toBe(
      expected,
    );
  });
});

describe("Istio, HTTPRewrite.uri", () => {
  test.each([
    ["/foobar", { kind: "prefix", value: "/foo" }, "/new", "/newbar"],
    ["/foo/bar?q", { kind: "prefix", value: "/foo/" }, "/", "/bar?q"],
    ["/foo", { kind: "exact", value: "/foo" }, "/new", "/new"],
    ["/any/thing", { kind: "regex", value: ".*" }, "/new", "/new"],
    ["/any", null, "/new/", "/new/any"],
  ] as const)("%s, matched by %j, with %s becomes %s", (target, match, value, expected) => {
    expect(rewritten(target, match, { kind: "prefix", value })).toBe(expected);
  });

  test("by an expression, with groups; the query is kept", () => {
    const rewrite = {
      kind: "regex",
      pattern: "^/service/([^/]+)(/.*)$",
      substitution: "\\2/instance/\\1",
    } as const;
    expect(rewritten("/service/foo/v1/api?a=b", null, rewrite)).toBe("/v1/api/instance/foo?a=b");
    expect(rewritten("/other", null, rewrite)).toBe("/other");
  });

  test("what is made of a path is always one", () => {
    expect(rewritten("/a", null, { kind: "prefix", value: "evil.example" })).toBe("/evil.examplea");
    expect(rewritten("/a?b", null, { kind: "regex", pattern: ".*", substitution: "" })).toBe("/?b");
    expect(rewritten("/a", { kind: "exact", value: "/a" }, { kind: "full", value: "x" })).toBe("/x");
  });

  test("the whole path; a query that is written takes the place of the request's", () => {
    expect(rewritten("/a/b?c", null, { kind: "full", value: "/x" })).toBe("/x?c");
    expect(rewritten("/a/b?c", null, { kind: "full", value: "/x?d" })).toBe("/x?d");
  });
});

describe("redirects", () => {
  const bare: Redirect = { status: 301, scheme: null, host: null, port: null, path: null };
  const head = (authority: string, scheme: "http" | "https" = "http"): RequestHead => ({
    method: "GET",
    scheme,
    authority,
    path: "/a/b?q=1",
    fields: [],
    version: "1.1",
    protocol: null,
  });
  test.each([
    ["cart:8080", {}, "http://cart:8080/a/b?q=1"],
    ["cart:8080", { scheme: "https" }, "https://cart:8080/a/b?q=1"],
    ["cart:80", { scheme: "https" }, "https://cart/a/b?q=1"],
    ["cart:8080", { host: "shop.example" }, "http://shop.example/a/b?q=1"],
    ["cart:8080", { host: "shop.example:99" }, "http://shop.example:99/a/b?q=1"],
    ["cart:8080", { port: 8443 }, "http://cart:8443/a/b?q=1"],
    ["cart:8080", { port: 80 }, "http://cart/a/b?q=1"],
    ["cart:8080", { scheme: "https", port: 443 }, "https://cart/a/b?q=1"],
    ["cart", { host: "x", port: "request" }, "http://x:7777/a/b?q=1"],
    ["cart:8080", { port: "scheme" }, "http://cart/a/b?q=1"],
    ["[::1]:8080", { port: 81 }, "http://[::1]:81/a/b?q=1"],
    ["[::1]", { port: 81 }, "http://[::1]:81/a/b?q=1"],
    ["cart", { path: { kind: "full", value: "/x" } }, "http://cart/x?q=1"],
    ["cart", { path: { kind: "segments", value: "/x" } }, "http://cart/x/b?q=1"],
  ] as const)("%s with %j leads to %s", (authority, redirect, expected) => {
    const match = matching({ kind: "segments", value: "/a" });
    expect(redirectLocation({ ...bare, ...redirect }, head(authority), match, 7777)).toBe(expected);
  });
});

test("headers are removed, then set, then added", () => {
  const fields = ["a", "1", "b", "2", "a", "3", "c", "4"];
  const ops = {
    remove: ["b"],
    set: [["a", "new"]],
    add: [
      ["c", "5"],
      ["b", "6"],
    ],
  } as const;
  expect(changedFields(fields, ops, exchangeOf())).toEqual(["c", "4", "a", "new", "c", "5", "b", "6"]);
  expect(fields).toHaveLength(8);
});

describe("variables in values", () => {
  const variable = (
    operator: HeaderVariable["operator"],
    names: string[] = [],
    maxLength: number | null = null,
  ) => ({
    ...{ operator, names, maxLength, text: "" },
  });
  const set = (value: HeaderValue) => {
    const exchange = exchangeOf({ request: { fields: ["x-tenant", "acme", "x", "forged"] } });
    exchange.response = { status: 207, fields: ["x-v", "1"] };
    return changedFields(["x", "forged"], { remove: [], set: [["x", value]], add: [] }, exchange);
  };

  test("say what the request, its peer and its answer are", () => {
    expect(set(["a ", variable("REQ", ["x-tenant"]), "!"])).toEqual(["x", "a acme!"]);
    expect(set([variable("REQ", ["x-none", ":method"])])).toEqual(["x", "GET"]);
    expect(set([variable("REQ", ["x-tenant"], 2)])).toEqual(["x", "ac"]);
    expect(set([variable("RESP", ["x-v"]), variable("RESPONSE_CODE")])).toEqual(["x", "1207"]);
    expect(set([variable("DOWNSTREAM_PEER_URI_SAN")])).toEqual([
      "x",
      "spiffe://cluster.local/ns/shop/sa/web",
    ]);
    expect(set([variable("DOWNSTREAM_REMOTE_ADDRESS"), " ", variable("DOWNSTREAM_LOCAL_ADDRESS")])).toEqual([
      "x",
      "10.0.0.9:4000 10.96.0.1:80",
    ]);
    expect(set([variable("PROTOCOL"), variable("DOWNSTREAM_LOCAL_PORT")])).toEqual(["x", "HTTP/1.180"]);
  });

  test("that say nothing leave the header out, and what the client sent under its name does not stay", () => {
    expect(set([variable("REQ", ["x-none"])])).toEqual([]);
    expect(set([variable("REQUESTED_SERVER_NAME")])).toEqual([]);
  });
});
