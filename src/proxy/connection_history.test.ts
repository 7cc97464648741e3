import { expect, test } from "bun:test";
import { proxyLimits } from "../base/limits/proxy.ts";
import { ConnectionHistory, type EndedConnection } from "./connection_history.ts";

const party = { address: "10.0.0.1:1", workload: null, identity: null };

function ended(id: number, error: string | null): EndedConnection {
  return {
    id,
    endedAtMs: 0,
    durationMs: 0,
    direction: "inbound",
    source: party,
    destination: party,
    policy: null,
    dryRun: null,
    error,
    asked: null,
  };
}

test("so many that ended are remembered, and a refusal is not pushed out by those that ended well", () => {
  const history = new ConnectionHistory();
  const half = proxyLimits.maxEndedConnections / 2;
  history.add(ended(1, "policy_denied: x"));
  for (let id = 2; id <= half + 2; id++) history.add(ended(id, null));
  expect(history.find(1)?.error).toBe("policy_denied: x");
  expect([history.find(2), history.find(3)?.id, history.find(half + 2)?.id]).toEqual([null, 3, half + 2]);
  for (let id = 10_000; id < 10_000 + half; id++) history.add(ended(id, "x"));
  expect([history.find(1), history.find(10_000)?.id]).toEqual([null, 10_000]);
});
