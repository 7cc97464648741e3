import { describe, expect, test } from "bun:test";
import { authLimits } from "../../base/limits/auth.ts";
import { exchangeOf } from "../testing/exchanges.ts";
import { findTokens, locationsOf, removeTokens, type TokenLocation } from "./token_locations.ts";

const header = (name: string, prefix = "", isScheme = false): TokenLocation => ({
  ...{ kind: "header", name, prefix, isScheme },
});
const param = (name: string): TokenLocation => ({ kind: "param", name, prefix: "", isScheme: false });
const cookie = (name: string): TokenLocation => ({ kind: "cookie", name, prefix: "", isScheme: false });

const headOf = (fields: readonly string[], path = "/") =>
  exchangeOf({ request: { fields: [...fields], path } }).request;

const found = (fields: readonly string[], path: string, ...locations: readonly TokenLocation[]) =>
  findTokens(headOf(fields, path), locations)?.map(({ token }) => token) ?? null;

describe("tokens are found", () => {
  test("in headers behind their prefix; a scheme in either case, any other prefix as it is", () => {
    const usual = locationsOf({ fromHeaders: [], fromParams: [], fromCookies: [] } as never);
    for (const scheme of ["Bearer", "bearer", "BEARER"])
      expect(found(["authorization", `${scheme} abc`], "/", ...usual)).toEqual(["abc"]);
    expect(found(["authorization", "Basic abc"], "/", ...usual)).toEqual([]);
    expect(found(["x-token", "Jwt abc"], "/", header("x-token", "Jwt "))).toEqual(["abc"]);
    expect(found(["x-token", "jwt abc"], "/", header("x-token", "Jwt "))).toEqual([]);
  });

  test("in the query, as a form has it: what the application may take for one is one", () => {
    expect(found([], "/a?b=1&access_token=abc&c", param("access_token"))).toEqual(["abc"]);
    expect(found([], "/a?access%5Ftoken=a%62c", param("access_token"))).toEqual(["abc"]);
    expect(found([], "/a?my+token=a+c", param("my token"))).toEqual(["a c"]);
    expect(found([], "/a?t=%zz", param("t"))).toEqual(["%zz"]);
  });

  test("in cookies, in each of several fields, with and without quotes", () => {
    const fields = ["cookie", "a=1; jwt=abc", "x", "y", "cookie", 'jwt="def"; b=2'];
    expect(found(fields, "/", cookie("jwt"))).toEqual(["abc", "def"]);
  });

  test("so many of one request, and one more is too many", () => {
    const many = (count: number) => Array.from({ length: count }, (_, at) => ["x-token", String(at)]).flat();
    const { maxTokensPerRequest } = authLimits;
    expect(found(many(maxTokensPerRequest), "/", header("x-token"))?.length).toBe(maxTokensPerRequest);
    expect(found(many(maxTokensPerRequest + 1), "/", header("x-token"))).toBeNull();
  });
});

describe("tokens are taken away, and nothing else", () => {
  test("of the query every one of the name, however it is written", () => {
    const head = headOf([], "/a?b=1&access%5Ftoken=x&c&access_token=y");
    removeTokens(head, param("access_token"));
    expect(head.path).toBe("/a?b=1&c");
    removeTokens(head, param("b"));
    removeTokens(head, param("c"));
    expect(head.path).toBe("/a");
  });

  test("of cookies in every field, and the others stay in their order", () => {
    const head = headOf(["cookie", "a=1; jwt=x", "x", "y", "cookie", "jwt=z; b=2"]);
    removeTokens(head, cookie("jwt"));
    expect(head.fields).toEqual(["x", "y", "cookie", "a=1; b=2"]);
    removeTokens(head, cookie("a"));
    removeTokens(head, cookie("b"));
    expect(head.fields).toEqual(["x", "y"]);
  });

  test("of headers each one of the name", () => {
    const head = headOf(["x-token", "a", "x", "y", "x-token", "b"]);
    removeTokens(head, header("x-token"));
    expect(head.fields).toEqual(["x", "y"]);
  });
});
