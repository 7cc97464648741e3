import { expect, test } from "bun:test";
import { grpcTimeoutMs, timeLimit } from "./time_left.ts";

const head = (...fields: string[]) => ({
  method: "POST",
  scheme: "http" as const,
  authority: "backend.shop",
  path: "/",
  fields,
  version: "2" as const,
  protocol: null,
});

test("grpc-timeout: every unit, and nothing for what is no timeout", () => {
  const values = ["2H", "3M", "4S", "5m", "6u", "7n", "0m", "99999999S"];
  expect(values.map(grpcTimeoutMs)).toEqual([7_200_000, 180_000, 4_000, 5, 6e-3, 7e-6, 0, 99_999_999_000]);
  const wrong = [null, "", "5", "m", "-5m", "5 m", "5s", "123456789m", "5m,5m", "1.5S"];
  expect(wrong.map(grpcTimeoutMs)).toEqual(wrong.map(() => null));
});

test("the shorter of route and deadline counts, and says whose it is", () => {
  const limit = (routeMs: number | null, timeout: string, isGrpc = true) =>
    timeLimit(routeMs, head("grpc-timeout", timeout), isGrpc);
  expect(limit(2_000, "1S")).toEqual({ ms: 1_000, isDeadline: true });
  expect(limit(2_000, "3S")).toEqual({ ms: 2_000, isDeadline: false });
  expect(limit(1_000, "1S")).toEqual({ ms: 1_000, isDeadline: false });
  for (const none of [null, 0]) {
    expect(limit(none, "3S")).toEqual({ ms: 3_000, isDeadline: true });
    expect(timeLimit(none, head(), true)).toBeNull();
  }
  // The header means nothing outside gRPC.
  expect(limit(2_000, "1S", false)).toEqual({ ms: 2_000, isDeadline: false });
  expect(limit(null, "1S", false)).toBeNull();
});
