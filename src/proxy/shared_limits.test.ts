import { expect, test } from "bun:test";
import { doorLimits } from "../base/limits/door.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import { sharedLimits } from "./shared_limits.ts";

test("one process has all of it", () => {
  const { door, ...limits } = sharedLimits(1);
  expect(proxyLimits).toMatchObject(limits);
  expect(door).toEqual(doorLimits);
});

test("shares are a host's bounds together, and none is nothing", () => {
  const { door, ...limits } = sharedLimits(4);
  expect(limits).toEqual({
    maxConnections: proxyLimits.maxConnections / 4,
    maxConnectionsPerPeer: proxyLimits.maxConnectionsPerPeer / 4,
    maxTunnelsPerSource: proxyLimits.maxTunnelsPerSource / 4,
  });
  expect([door.maxUnproven, door.maxUnprovenPerAddress, door.maxUnprovenPerNeighbourhood]).toEqual([
    doorLimits.maxUnproven / 4,
    doorLimits.maxUnprovenPerAddress / 4,
    doorLimits.maxUnprovenPerNeighbourhood / 4,
  ]);
  expect(sharedLimits(1_000_000).door.maxUnproven).toBe(1);
});
