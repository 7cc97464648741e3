import { describe, expect, test } from "bun:test";
import { IpAddress } from "../../base/ip.ts";
import { authLimits } from "../../base/limits/auth.ts";
import type { AccessConditionDocument } from "../../mesh/documents/document.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { conditionsOf, expressionFlaw, type Outcome, seenBy } from "./conditions.ts";
import type { RequestFacts } from "./request_facts.ts";

const at = { file: "f", line: 1, column: 1 };
/** A Wednesday. */
const now = Date.parse("2026-07-15T16:30:00Z");

function ip(text: string): IpAddress {
  const parsed = IpAddress.parse(text);
  if (parsed === null) throw new Error(text);
  return parsed;
}

const facts: RequestFacts = {
  peer: new SpiffeId("cluster.local", "shop", "frontend"),
  sourceIp: ip("10.1.2.3"),
  remoteIp: ip("192.0.2.7"),
  destinationIp: ip("10.9.9.9"),
  destinationPort: 8080,
  sni: "",
  http: {
    method: "POST",
    host: "reviews.shop",
    path: "/admin",
    query: "a=b",
    scheme: "http",
    fields: ["x-device-posture", "healthy", "x-twice", "1", "x-twice", "2"],
    user: {
      issuer: "https://i",
      subject: "ann",
      audiences: ["shop"],
      claims: { sub: "ann", groups: ["ops", "dev"], level: 3, org: { team: "a" }, amr: [] },
      expiresAtMs: null,
    },
  },
};

function outcome(expression: string, request: RequestFacts = facts): Outcome {
  const document: AccessConditionDocument = {
    kind: "AccessCondition",
    metadata: {
      key: "k",
      name: "n",
      namespace: "s",
      labels: new Map(),
      annotations: new Map(),
      createdMs: null,
    },
    location: at,
    warnings: [],
    targetRefs: [],
    dryRun: false,
    conditions: [{ at, expression: { value: expression, at }, message: null }],
  };
  const [condition] = conditionsOf(document);
  if (condition === undefined) throw new Error("no condition");
  return condition.evaluate(seenBy(request, now));
}

function withGroups(count: number): RequestFacts {
  const claims = { g: Array.from({ length: count }, () => "a") };
  const user = { issuer: "i", subject: "s", audiences: [], claims, expiresAtMs: null };
  return { ...facts, http: facts.http === null ? null : { ...facts.http, user } };
}

test("what an expression can look at", () => {
  const holding = [
    "request.time.getHours('UTC') < 18 && request.time.getDayOfWeek('UTC') in [1, 2, 3, 4, 5]",
    "request.time.getHours('Europe/Berlin') == 18",
    "request.time > timestamp('2026-01-01T00:00:00Z')",
    'source.address.inNetwork("10.0.0.0/8") && !remote.address.inNetwork("10.0.0.0/8")',
    'source.principal == "cluster.local/ns/shop/sa/frontend" && source.namespace == "shop"',
    'request.headers["x-device-posture"] == "healthy" && source.service_account == "frontend"',
    'request.headers["x-twice"] == "1,2"',
    '!("x-absent" in request.headers)',
    '"ops" in request.auth.claims.groups && request.auth.claims.level >= 3',
    'request.auth.claims.org.team == "a" && request.auth.principal == "https://i/ann"',
    'request.auth.claims.groups.exists(g, g.startsWith("d"))',
    'request.method == "POST" && request.path.startsWith("/admin") && request.query == "a=b"',
    'destination.port == 8080 && request.host.matches("^reviews[.]")',
  ];
  for (const expression of holding)
    expect([expression, outcome(expression)]).toEqual([expression, { holds: true, error: null }]);
});

describe("what does not come to true denies", () => {
  const anonymous: RequestFacts = {
    ...facts,
    http: facts.http === null ? null : { ...facts.http, user: null },
  };
  test.each([
    ["false", "false", facts, null],
    ["an attribute that is missing", 'request.auth.claims.groups == ["a"]', anonymous, ""],
    ["a header that is missing", 'request.headers["x-none"] == ""', facts, ""],
    ["a number", "1", facts, "it comes to something else than true or false"],
    ["a text", '"true"', facts, "it comes to something else than true or false"],
    ["an unknown name", "nonsense.here", facts, ""],
    ["an unknown function", "open('/etc/passwd') == ''", facts, ""],
    ["types that do not go together", '"a" + 1 == "a1"', facts, ""],
    ["a network that is none", 'source.address.inNetwork("10.0.0.0/99")', facts, ""],
    ["a connection that is not HTTP", 'request.path == "/admin"', { ...facts, http: null }, ""],
    ["a division by nothing", "1 / 0 == 1", facts, ""],
  ] as const)("%s", (_, expression, request, error) => {
    const result = outcome(expression, request);
    expect(result.holds).toBe(false);
    if (error === null) expect(result.error).toBeNull();
    else expect(result.error).toContain(error);
  });
});

describe("what could take long is refused before it is run", () => {
  test("a list within a list, however it is hidden", () => {
    const nested = "which could take long";
    expect(expressionFlaw("[1].all(a, [2].all(b, a < b))")).toContain(nested);
    expect(expressionFlaw(`[1].all(a, ")" == ")" && [2].exists(b, true))`)).toContain(nested);
    expect(expressionFlaw("[1].map(a, [2].map(b, b)) == []")).toContain(nested);
    expect(expressionFlaw("[1].filter(a, a > 0).all(b, b > 0)")).toBeNull();
  });

  test("bounds: characters, brackets and loops", () => {
    const { maxExpressionChars, maxExpressionDepth, maxExpressionMacros } = authLimits;
    const long = (chars: number) => `"${"x".repeat(chars - 8)}" != ""`;
    expect(expressionFlaw(long(maxExpressionChars))).toBeNull();
    expect(expressionFlaw(long(maxExpressionChars + 1))).toContain("at most 1024");
    const deep = (depth: number) => `${"(".repeat(depth)}true${")".repeat(depth)}`;
    expect(expressionFlaw(deep(maxExpressionDepth))).toBeNull();
    expect(expressionFlaw(deep(maxExpressionDepth + 1))).toContain("brackets within brackets");
    const hidden =
      `(")" + r"\\" + '''"''' == "" || `.repeat(maxExpressionDepth + 1) +
      "true" +
      ")".repeat(maxExpressionDepth + 1);
    expect(expressionFlaw(hidden)).toContain("brackets within brackets");
    expect(expressionFlaw(`"${"(".repeat(50)}" == ""`)).toBeNull();
    const loops = (count: number) => Array.from({ length: count }, () => "[1].all(a, a > 0)").join(" && ");
    expect(expressionFlaw(loops(maxExpressionMacros))).toBeNull();
    expect(expressionFlaw(loops(maxExpressionMacros + 1))).toContain("over lists 5 times");
  });

  test("the most that is taken, on the longest list that is gone over, ends soon", () => {
    const { maxExpressionMacros, maxExpressionItems } = authLimits;
    const expression = Array.from(
      { length: maxExpressionMacros },
      () => 'request.auth.claims.g.all(a, a.matches("^(a+)+$"))',
    ).join(" && ");
    // Of the processor, not of the clock, and at its best of some runs: others have it too.
    const tookMs = Array.from({ length: 8 }, () => {
      const start = process.cpuUsage();
      expect(outcome(expression, withGroups(maxExpressionItems))).toEqual({ holds: true, error: null });
      return process.cpuUsage(start).user / 1000;
    });
    expect(Math.min(...tookMs)).toBeLessThan(100);
    expect(outcome(expression, withGroups(maxExpressionItems + 1)).error).toContain("more than 256 items");
    expect(outcome('"a" in request.auth.claims.g', withGroups(8_000)).holds).toBe(true);
    expect(outcome('request.path.split("").all(c, c != "")').error).not.toBeNull();
  });

  test("a regular expression that explodes elsewhere takes linear time", () => {
    const start = process.cpuUsage();
    expect(outcome(`"${"a".repeat(60)}b".matches("^(a+)+$")`).holds).toBe(false);
    expect(process.cpuUsage(start).user / 1000).toBeLessThan(500);
  });

  test("one that cannot be used never holds, and says why", () => {
    expect(outcome("true &&")).toEqual({ holds: false, error: expect.stringContaining("cannot be read") });
    expect(outcome("[1].all(a, [1].all(b, true))").holds).toBe(false);
  });
});
