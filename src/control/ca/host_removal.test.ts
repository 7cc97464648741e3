import { expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { controlLimits } from "../../base/limits/control.ts";
import { outcomeOf } from "../../base/testing/rejection.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { openState } from "../state/testing/simulated_state.ts";
import { HostRemoval } from "./host_removal.ts";

const startMs = Date.parse("2026-11-22T12:00:00Z");
const day = 24 * 60 * 60_000;

async function bench(afterMs: number | null = null) {
  const clock = new FakeClock(startMs);
  const state = await openState();
  const withdrawn: string[] = [];
  const reasons: string[] = [];
  const lines: string[] = [];
  const connected = new Set<string>();
  const fault: { error: Error | null } = { error: null };
  let published = 0;
  const removal = new HostRemoval({
    clock,
    logger: {
      log: (level, _target, message, fields) =>
        void lines.push(`${level} ${message} ${JSON.stringify(fields)}`),
    },
    state,
    authority: {
      withdraw: (node, why) => {
        if (fault.error !== null) throw fault.error;
        withdrawn.push(node);
        reasons.push(`${why.reason} by ${why.byWhom} of "${why.byNamespace}"`);
      },
      publish: async () => void published++,
    },
    isConnected: (node) => connected.has(node),
    onRemoved: () => {},
    afterMs,
  });
  const join = (node: string, lastSeenMs = startMs): void =>
    state.registrations.put({
      ...{ node, binding: { kind: "group", group: "shop/vms" }, addresses: [], network: "", labels: {} },
      ...{ joinedAtMs: startMs, lastSeenMs, tokenId: null, revokedAtMs: null, revokeReason: null },
    });
  const entry = {
    ...{ atMs: startMs, actor: "ada", action: "nodes.remove", target: "edge-1", namespace: null },
    ...{ outcome: "ok" as const, detail: "", before: null, after: null },
  };
  return {
    clock,
    state,
    removal,
    join,
    entry,
    withdrawn,
    reasons,
    lines,
    connected,
    fault,
    published: () => published,
  };
}

test("a host that is removed is gone, with what it holds, and its name is free", async () => {
  const { state, removal, join, entry, withdrawn, published } = await bench();
  join("edge-1");
  state.revocations.add({ kind: "node", value: "edge-1", reason: "", byWhom: "ada", atMs: 1 });
  expect(await removal.remove("edge-1", entry, { name: "ada", namespace: "" })).toBe(true);
  expect([withdrawn, published()]).toEqual([["edge-1"], 1]);
  expect(state.registrations.byNode("edge-1")).toBeNull();
  expect(state.revocations.isRevokedNode("edge-1")).toBe(false);
  expect(state.audit.read({ limit: 10 }).at(0)).toMatchObject({ action: "nodes.remove", actor: "ada" });
  expect(await removal.remove("edge-1", entry, { name: "ada", namespace: "" })).toBe(false);
});

test("where the list has no room for what it holds, it stays as it was", async () => {
  const { state, removal, join, entry, fault } = await bench();
  join("edge-1");
  fault.error = new MeshError("limit_reached", "local", "full");
  expect(await outcomeOf(removal.remove("edge-1", entry, { name: "ada", namespace: "" }))).toThrow("full");
  expect(state.registrations.byNode("edge-1")).not.toBeNull();
  expect(state.audit.read({ limit: 10 })).toEqual([]);
});

test("hosts that were not seen for long leave by themselves; those that are connected stay, however long ago they came", async () => {
  const { clock, state, join, connected, fault, reasons, lines } = await bench(30 * day);
  join("gone", startMs - 29 * day);
  join("connected", startMs - 29 * day);
  join("fresh");
  connected.add("connected");
  await clock.advance(controlLimits.pruneIntervalMs);
  expect(state.registrations.count()).toBe(3);
  fault.error = new MeshError("disk_full", "local", "no space");
  await clock.advance(2 * day);
  expect(state.registrations.count()).toBe(3);
  fault.error = null;
  await clock.advance(controlLimits.pruneIntervalMs);
  expect(state.registrations.list().map(({ node }) => node)).toEqual(["connected", "fresh"]);
  expect(state.audit.read({ limit: 10 }).at(0)).toMatchObject({
    actor: "fairlead",
    target: "gone",
    namespace: "shop",
    outcome: "ok",
    detail: `not seen since ${new Date(startMs - 29 * day).toISOString()}`,
  });
  expect(reasons).toEqual(['removed by fairlead of ""']);
  expect(new Set(lines)).toEqual(
    new Set([
      'warn hosts that were away for too long could not be removed {"reason":"no space"}',
      'info a host was removed because it was away for too long {"node":"gone"}',
    ]),
  );
});

test("what could not be removed waits for the next sweep, like everything else", async () => {
  const { clock, join, fault, lines } = await bench(day);
  join("gone", startMs - 2 * day);
  fault.error = new MeshError("disk_full", "local", "no space");
  await clock.advance(controlLimits.pruneIntervalMs);
  expect(lines).toHaveLength(1);
  await clock.advance(controlLimits.pruneAgainMs);
  expect(lines).toHaveLength(1);
  await clock.advance(controlLimits.pruneIntervalMs - controlLimits.pruneAgainMs);
  expect(lines).toHaveLength(2);
});

test("more than one sweep takes are all gone soon", async () => {
  const { clock, state, join } = await bench(day);
  for (let index = 0; index < controlLimits.hostsPerSweep + 5; index++) join(`h-${index}`, startMs - 2 * day);
  await clock.advance(controlLimits.pruneIntervalMs);
  expect(state.registrations.count()).toBe(5);
  await clock.advance(controlLimits.pruneAgainMs);
  expect(state.registrations.count()).toBe(0);
});
