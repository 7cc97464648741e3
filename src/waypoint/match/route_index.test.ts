import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { cpuTimer } from "../../base/testing/cpu_time.ts";
import { type HttpMatch, type HttpRule, noHeaderChanges } from "../../mesh/traffic/route_plan.ts";
import type { RequestHead } from "../exchange.ts";
import { RouteIndex } from "./route_index.ts";
import { linearMatch } from "./testing/linear_match.ts";

const location = { file: "f", line: 1, column: 1 };

function rule(name: string, matches: readonly HttpMatch[]): HttpRule {
  return {
    name,
    location,
    matches,
    action: { kind: "forward", destinations: [] },
    rewrite: null,
    headers: noHeaderChanges,
    timeoutMs: null,
    retries: null,
    fault: null,
    mirrors: [],
    cors: null,
    session: null,
  };
}

const any: HttpMatch = {
  path: null,
  ignorePathCase: false,
  method: null,
  scheme: null,
  authority: null,
  headers: [],
  withoutHeaders: [],
  query: [],
  location,
};

function request(path: string, head: Partial<RequestHead> = {}): RequestHead {
  return {
    method: "GET",
    scheme: "http",
    authority: "cart",
    path,
    fields: [],
    version: "1.1",
    protocol: null,
    ...head,
  };
}

const segment = fc.constantFrom("a", "b", "ab", "A", "", "aa");
const path = fc.array(segment, { minLength: 1, maxLength: 3 }).map((parts) => `/${parts.join("/")}`);
const value = fc.constantFrom("x", "y", "xy", "");
const text = fc.oneof(
  fc.record({ kind: fc.constant("exact" as const), value }),
  fc.record({ kind: fc.constant("prefix" as const), value: fc.constantFrom("x", "xy") }),
  fc.record({ kind: fc.constant("regex" as const), value: fc.constantFrom("x.*", "[xy]+", "x|y", ".*") }),
  fc.constant({ kind: "present" as const }),
);
const named = fc.array(fc.record({ name: fc.constantFrom("h", "g"), match: text }), { maxLength: 2 });
const rare = <T>(one: fc.Arbitrary<T>) => fc.option(one, { freq: 2 });
const match: fc.Arbitrary<HttpMatch> = fc.record({
  path: fc.option(
    fc.oneof(
      fc.record({
        kind: fc.constantFrom("exact" as const, "prefix" as const, "segments" as const),
        value: path,
      }),
      fc.record({
        kind: fc.constant("regex" as const),
        value: fc.constantFrom("/a.*", "/a/b", "/[ab]+", "/(a|b)/.*", ".*", "/ab?", "/a/(?:b|A)"),
      }),
    ),
    { freq: 8 },
  ),
  ignorePathCase: fc.boolean(),
  method: rare(
    fc.constantFrom({ kind: "exact" as const, value: "GET" }, { kind: "exact" as const, value: "POST" }),
  ),
  scheme: rare(fc.constant({ kind: "exact" as const, value: "https" })),
  authority: rare(
    fc.constantFrom({ kind: "exact" as const, value: "cart" }, { kind: "prefix" as const, value: "c" }),
  ),
  headers: named,
  withoutHeaders: fc.oneof(fc.constant([]), named),
  query: fc.oneof(
    fc.constant([]),
    fc.array(fc.record({ name: fc.constantFrom("q", "p"), match: text }), { maxLength: 1 }),
  ),
  location: fc.constant(location),
});
const head: fc.Arbitrary<RequestHead> = fc
  .record({
    path,
    query: fc.constantFrom("", "?", "?q=x", "?q", "?p=xy&q=y", "?qq=x&q=&q=x", "?&&q=x"),
    method: fc.constantFrom("GET", "POST"),
    authority: fc.constantFrom("cart", "other"),
    fields: fc
      .array(fc.tuple(fc.constantFrom("h", "g", "i"), value), { maxLength: 3 })
      .map((pairs) => pairs.flat()),
  })
  .map(({ path: one, query, ...rest }) => request(one + query, rest));

test("the index finds the very match that reading all rules in order finds", () => {
  fc.assert(
    fc.property(
      fc.array(fc.array(match, { maxLength: 3 }), { maxLength: 12 }),
      fc.array(head, { minLength: 4, maxLength: 12 }),
      (all, heads) => {
        const rules = all.map((matches, i) => rule(String(i), matches));
        const index = new RouteIndex(rules);
        for (const one of heads) {
          const expected = linearMatch(rules, one);
          const found = index.find(one);
          const at = found === null ? null : Number(found.rule.name);
          expect(at).toBe(expected?.rule ?? null);
          const which = found?.match ?? null;
          expect(which === null ? -1 : (rules[at ?? 0]?.matches.indexOf(which) ?? -2)).toBe(
            expected?.match ?? -1,
          );
        }
      },
    ),
    { numRuns: 1_500 },
  );
}, 300_000);

describe("each kind of match", () => {
  const find = (one: Partial<HttpMatch>, head: RequestHead) =>
    new RouteIndex([rule("r", [{ ...any, ...one }])]).find(head) !== null;
  test.each([
    ["/a", true],
    ["/a/", true],
    ["/a/b", true],
    ["/a?x", true],
    ["/ab", false],
    ["/", false],
  ])("the prefix by segments /a takes %s: %p", (target, expected) => {
    expect(find({ path: { kind: "segments", value: "/a" } }, request(target))).toBe(expected);
    expect(find({ path: { kind: "segments", value: "/a/" } }, request(target))).toBe(expected);
  });

  test("names of HTTP/2's pseudo-headers are looked at as such", () => {
    const byMethod = { headers: [{ name: ":method", match: { kind: "exact" as const, value: "PUT" } }] };
    expect(find(byMethod, request("/", { method: "PUT" }))).toBe(true);
    expect(find(byMethod, request("/"))).toBe(false);
  });

  test("several lines of one header are one list", () => {
    const both = { headers: [{ name: "x", match: { kind: "exact" as const, value: "1,2" } }] };
    expect(find(both, request("/", { fields: ["x", "1", "y", "0", "x", "2"] }))).toBe(true);
    expect(find(both, request("/", { fields: ["x", "1"] }))).toBe(false);
  });

  test("* is matched by what asks for no path alone", () => {
    expect(find({}, request("*", { method: "OPTIONS" }))).toBe(true);
    expect(find({ path: { kind: "prefix", value: "/" } }, request("*", { method: "OPTIONS" }))).toBe(false);
  });
});

test("five hundred routes cost what ten do", () => {
  const rulesOf = (count: number) =>
    Array.from({ length: count }, (_, i) =>
      rule(String(i), [
        { ...any, path: { kind: "segments", value: `/api/v${i % 7}/thing-${i}` } },
        { ...any, path: { kind: "exact", value: `/exact/${i}` }, method: { kind: "exact", value: "GET" } },
        { ...any, path: { kind: "regex", value: `/users-${i}/[0-9]+/cart` } },
        { ...any, headers: [{ name: "x-tenant", match: { kind: "exact", value: `t${i}` } }] },
      ]),
    );
  const looked = (count: number): number => {
    const index = new RouteIndex(rulesOf(count));
    const last = count - 1;
    const heads = [
      request(`/api/v${last % 7}/thing-${last}/x`),
      request(`/exact/${last}`),
      request(`/users-${last}/77/cart`),
      request("/none", { fields: ["x-tenant", `t${last}`] }),
    ];
    for (const one of heads) expect(index.find(one)?.rule.name).toBe(String(last));
    let best = Number.POSITIVE_INFINITY;
    for (let round = 0; round < 20; round++) {
      const cpuMs = cpuTimer();
      for (let i = 0; i < 2_000; i++) for (const one of heads) index.find(one);
      best = Math.min(best, cpuMs());
    }
    return best;
  };
  looked(10);
  // A scan would be fifty times as slow.
  expect(looked(500)).toBeLessThan(looked(10) * 8);
});
