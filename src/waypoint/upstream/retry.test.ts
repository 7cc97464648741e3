import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { defaultRetryPolicy, type RetryPolicy } from "../../mesh/traffic/route_plan.ts";
import { type AttemptEnd, mayRetry, retryDelayMs } from "./retry.ts";

const answered = (status: number, fields: string[] = []): AttemptEnd => ({
  kind: "answered",
  head: { status, fields },
  body: null,
});
const failed = (flag: "UF" | "UC" | "UR", mayHaveActed: boolean): AttemptEnd => ({
  kind: "failed",
  error: new MeshError("connection_closed", "upstream", "gone"),
  flag,
  mayHaveActed,
});
const on = (...retryOn: RetryPolicy["retryOn"]): RetryPolicy => ({ ...defaultRetryPolicy, retryOn });

describe("each condition is met by what Envoy says it is met by, and by nothing else", () => {
  const ends: Record<string, AttemptEnd> = {
    ok: answered(200),
    conflict: answered(409),
    error: answered(500),
    gateway: answered(503),
    limited: answered(429, ["x-envoy-ratelimited", "true"]),
    unavailable: answered(200, ["grpc-status", "14"]),
    cancelled: answered(200, ["grpc-status", "1"]),
    notConnected: failed("UF", false),
    refused: failed("UR", false),
    early: failed("UC", false),
    late: failed("UC", true),
    timeout: { kind: "timeout" },
  };
  const noAnswer = ["notConnected", "refused", "early", "late", "timeout"];
  const table: Record<string, readonly string[]> = {
    "5xx": ["error", "gateway", ...noAnswer],
    "gateway-error": ["gateway", ...noAnswer],
    reset: noAnswer,
    "reset-before-request": ["refused", "early"],
    "connect-failure": ["notConnected"],
    "refused-stream": ["refused", "early"],
    "envoy-ratelimited": ["limited"],
    "retriable-4xx": ["conflict"],
    unavailable: ["unavailable"],
    cancelled: ["cancelled"],
    "deadline-exceeded": [],
  };
  for (const [condition, met] of Object.entries(table))
    test(condition, () => {
      const policy = on(condition as RetryPolicy["retryOn"][number]);
      const found = Object.keys(ends).filter((name) => mayRetry(policy, "GET", ends[name] as AttemptEnd));
      expect(found).toEqual(Object.keys(ends).filter((name) => met.includes(name)));
    });

  test('an error of a gateway is 502, 503 or 504 (Envoy "gateway-error"), and of servers all from 500 on', () => {
    const met = (condition: "gateway-error" | "5xx") =>
      [499, 500, 501, 502, 503, 504, 505, 599].filter((status) =>
        mayRetry(on(condition), "GET", answered(status)),
      );
    expect(met("gateway-error")).toEqual([502, 503, 504]);
    expect(met("5xx")).toEqual([500, 501, 502, 503, 504, 505, 599]);
  });

  test("each status of gRPC by its own number", () => {
    const numbers = {
      cancelled: 1,
      "deadline-exceeded": 4,
      "resource-exhausted": 8,
      internal: 13,
      unavailable: 14,
    };
    for (const [condition, number] of Object.entries(numbers)) {
      const met = Array.from({ length: 17 }, (_, status) => status).filter((status) =>
        mayRetry(
          on(condition as RetryPolicy["retryOn"][number]),
          "GET",
          answered(200, ["grpc-status", String(status)]),
        ),
      );
      expect([condition, met]).toEqual([condition, [number]]);
    }
  });

  test("statuses that the policy names", () => {
    const policy = { ...on(), retriableStatuses: [418] };
    expect(mayRetry(policy, "GET", answered(418))).toBe(true);
    expect(mayRetry(policy, "GET", answered(419))).toBe(false);
  });
});

describe("what may not be repeated is not, unless a policy says so", () => {
  test("a POST that may have been done is not repeated by the default policy", () => {
    expect(mayRetry(defaultRetryPolicy, "POST", answered(200, ["grpc-status", "14"]))).toBe(false);
    expect(mayRetry(defaultRetryPolicy, "GET", answered(200, ["grpc-status", "14"]))).toBe(true);
  });

  test("a POST that cannot have been done is", () => {
    expect(mayRetry(defaultRetryPolicy, "POST", failed("UF", false))).toBe(true);
    expect(mayRetry(defaultRetryPolicy, "POST", failed("UR", false))).toBe(true);
    expect(mayRetry(defaultRetryPolicy, "POST", failed("UC", false))).toBe(true);
    expect(mayRetry(defaultRetryPolicy, "POST", failed("UC", true))).toBe(false);
  });

  test("a policy of their own repeats what it says", () => {
    expect(mayRetry(on("5xx"), "POST", answered(503))).toBe(true);
  });
});

test("delays double from the base to the bound, with full jitter", () => {
  const policy = { ...on(), backoff: { baseMs: 100, maxMs: 500 } };
  expect([1, 2, 3, 4, 100].map((attempt) => retryDelayMs(policy, attempt, 1))).toEqual([
    100, 200, 400, 500, 500,
  ]);
  expect(retryDelayMs(policy, 3, 0.25)).toBe(100);
  expect(retryDelayMs(on(), 9, 1)).toBe(250);
});
