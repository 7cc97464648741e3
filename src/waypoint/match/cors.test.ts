import { expect, test } from "bun:test";
import type { CorsPolicy } from "../../mesh/traffic/route_plan.ts";
import type { Fields, RequestHead } from "../exchange.ts";
import { CorsRules } from "./cors.ts";

const policy: CorsPolicy = {
  allowOrigins: [
    { kind: "exact", value: "https://shop.example" },
    { kind: "regex", value: "https://.*[.]dev" },
  ],
  allowMethods: ["GET", "PUT"],
  allowHeaders: ["x-a", "x-b"],
  exposeHeaders: ["x-c"],
  maxAgeSeconds: 600,
  allowCredentials: true,
  unmatchedPreflights: "forward",
};

function request(method: string, fields: Fields): RequestHead {
  return { method, scheme: "http", authority: "cart", path: "/", fields, version: "1.1", protocol: null };
}
const preflight = (origin: string) =>
  request("OPTIONS", ["origin", origin, "access-control-request-method", "PUT"]);

test("a preflight of an allowed origin is answered with all that is allowed", () => {
  expect(new CorsRules(policy).preflight(preflight("https://a.dev"))).toEqual({
    kind: "answer",
    fields: [
      ...["access-control-allow-origin", "https://a.dev", "access-control-allow-credentials", "true"],
      ...["access-control-expose-headers", "x-c"],
      ...["access-control-allow-methods", "GET,PUT", "access-control-allow-headers", "x-a,x-b"],
      ...["access-control-max-age", "600"],
    ],
  });
});

test("one of another origin goes on, or is answered without permission", () => {
  const foreign = preflight("https://evil.example");
  expect(new CorsRules(policy).preflight(foreign)).toEqual({ kind: "forward" });
  const ignoring = new CorsRules({ ...policy, unmatchedPreflights: "ignore" });
  expect(ignoring.preflight(foreign)).toEqual({
    kind: "answer",
    fields: [
      ...["access-control-allow-methods", "GET,PUT", "access-control-allow-headers", "x-a,x-b"],
      ...["access-control-max-age", "600"],
    ],
  });
});

test("OPTIONS that is no preflight goes on", () => {
  const rules = new CorsRules(policy);
  expect(rules.preflight(request("OPTIONS", ["origin", "https://a.dev"]))).toEqual({ kind: "forward" });
  expect(rules.preflight(request("GET", preflight("https://a.dev").fields))).toEqual({ kind: "forward" });
});

test("an answer says of an allowed origin what the policy says, not what the upstream did", () => {
  const rules = new CorsRules(policy);
  const answer = ["access-control-allow-origin", "*", "x", "1"];
  expect(rules.answered(request("GET", ["origin", "https://shop.example"]), answer)).toEqual([
    ...["x", "1", "access-control-allow-origin", "https://shop.example"],
    ...["access-control-allow-credentials", "true", "access-control-expose-headers", "x-c"],
  ]);
  expect(rules.answered(request("GET", ["origin", "https://evil.example"]), answer)).toEqual(answer);
});

test("* allows every origin", () => {
  const rules = new CorsRules({ ...policy, allowOrigins: [{ kind: "exact", value: "*" }] });
  expect(rules.preflight(preflight("https://anything")).kind).toBe("answer");
});

test("credentials, headers and an age are permitted where the policy says so, and only there", () => {
  const bare = { ...policy, allowCredentials: false, exposeHeaders: [], allowMethods: [], allowHeaders: [] };
  const rules = new CorsRules({ ...bare, maxAgeSeconds: null });
  const origin = ["access-control-allow-origin", "https://a.dev"];
  expect(rules.preflight(preflight("https://a.dev"))).toEqual({ kind: "answer", fields: origin });
  expect(rules.answered(request("GET", ["origin", "https://a.dev"]), ["x", "1"])).toEqual([
    "x",
    "1",
    ...origin,
  ]);
});
