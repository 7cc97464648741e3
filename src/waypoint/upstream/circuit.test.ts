import { expect, test } from "bun:test";
import { defaultConnectionPool } from "../../mesh/traffic/destination_policy.ts";
import { Circuit } from "./circuit.ts";

const pool = {
  ...defaultConnectionPool,
  maxConnections: 2,
  maxPendingRequests: 1,
  maxRequests: 3,
  maxRetries: 1,
};

test("each bound is reached at its number, counted, and given back", () => {
  const circuit = new Circuit({ pool, retryBudget: null });
  for (const [kind, bound] of [
    ["connections", 2],
    ["pending", 1],
    ["requests", 3],
    ["retries", 1],
  ] as const) {
    for (let i = 0; i < bound; i++) expect(circuit.take(kind)).toBe(true);
    expect(circuit.take(kind)).toBe(false);
    expect(circuit.overflows[kind]).toBe(1);
    circuit.give(kind);
    expect(circuit.take(kind)).toBe(true);
  }
});

test("what is given twice is not counted below nothing", () => {
  const circuit = new Circuit({ pool, retryBudget: null });
  circuit.give("requests");
  expect(circuit.held("requests")).toBe(0);
});

test("a retry budget is a share of what is under way, and never less than its minimum", () => {
  const retryBudget = { percent: 20, minConcurrency: 2, intervalMs: 10_000 };
  const circuit = new Circuit({ pool: { ...pool, maxRequests: 100, maxPendingRequests: 100 }, retryBudget });
  expect([circuit.take("retries"), circuit.take("retries"), circuit.take("retries")]).toEqual([
    true,
    true,
    false,
  ]);
  for (let i = 0; i < 20; i++) circuit.take("requests");
  expect([circuit.take("retries"), circuit.take("retries"), circuit.take("retries")]).toEqual([
    true,
    true,
    false,
  ]);
  // What waits for a connection is under way as well.
  for (let i = 0; i < 10; i++) circuit.take("pending");
  expect([circuit.take("retries"), circuit.take("retries"), circuit.take("retries")]).toEqual([
    true,
    true,
    false,
  ]);
});
