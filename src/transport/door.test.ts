import { describe, expect, test } from "bun:test";
import { MeshError } from "../base/errors.ts";
import { IpAddress } from "../base/ip.ts";
import { doorLimits } from "../base/limits/door.ts";
import { hostLimits } from "../base/limits/host.ts";
import { silentLogger } from "../base/log.ts";
import { MetricRegistry } from "../base/metrics.ts";
import { writeMetrics } from "../base/metrics_text.ts";
import type { Clock, Socket } from "../host/host.ts";
import { FakeSocket } from "../host/testing/fake_socket.ts";
import { Door, type DoorLimits, type Visit } from "./door.ts";

class Caller extends FakeSocket {
  override readonly remote;
  spoke = false;

  constructor(text: string) {
    super();
    const ip = IpAddress.parse(text);
    if (ip === null) throw new Error(text);
    this.remote = { ip, port: 1 };
  }
}

function opened(limits: Partial<DoorLimits> = {}) {
  let now = 0;
  const deferred: (() => void)[] = [];
  const clock: Clock = {
    now: () => now,
    wallMs: () => 0,
    defer: (callback) => void deferred.push(callback),
    setTimer: () => ({ cancel: () => {} }),
  };
  const metrics = new MetricRegistry();
  const door = new Door({
    clock,
    net: { speech: (socket: Socket) => (socket instanceof Caller ? () => socket.spoke : null) },
    logger: silentLogger,
    metrics,
    name: "test",
    limits: { maxUnproven: 100, maxUnprovenPerAddress: 100, maxUnprovenPerNeighbourhood: 100, ...limits },
  });
  const enter = async (text: string, spoke = false) => {
    const caller = new Caller(text);
    const visit = await door.enter(caller);
    caller.spoke = spoke;
    return visit;
  };
  const pass = (ms: number) => {
    now += ms;
  };
  const turn = () => {
    for (const callback of deferred.splice(0)) callback();
  };
  return { door, enter, pass, turn, metrics };
}

const out = (visits: readonly Visit[]) => visits.map(({ signal }) => signal.aborted);
const code = (promise: Promise<unknown>) =>
  promise.then(
    () => null,
    (error: unknown) => (error instanceof MeshError ? error.code : error),
  );

describe("who makes room", () => {
  test("the oldest that has not said a word, at once; those who spoke only when they have had their time", async () => {
    const { door, enter, pass } = opened({ maxUnproven: 3 });
    const visits = [await enter("10.0.0.1", true), await enter("10.0.1.1"), await enter("10.0.2.1")];
    visits.push(await enter("10.0.3.1", true));
    expect(out(visits)).toEqual([false, true, false, false]);
    visits.push(await enter("10.0.4.1", true));
    expect(out(visits)).toEqual([false, true, true, false, false]);
    expect(await code(enter("10.0.5.1"))).toBe("limit_reached");
    pass(doorLimits.graceMs);
    visits.push(await enter("10.0.5.1"));
    expect(out(visits)).toEqual([true, true, true, false, false, false]);
    expect(door.size).toBe(3);
  });

  test("so many are asked whether they spoke; behind those that did a silent one is found when it comes to its turn", async () => {
    for (const [spoken, evicted] of [
      [doorLimits.maxAsked - 1, true],
      [doorLimits.maxAsked, false],
    ] as const) {
      const { door, enter } = opened({ maxUnproven: spoken + 1 });
      for (let index = 0; index < spoken; index++) await enter(`10.1.${index}.1`, true);
      const silent = await enter("10.2.0.1");
      expect(await code(enter("10.3.0.1", true))).toBe(evicted ? null : "limit_reached");
      expect(silent.signal.aborted).toBe(evicted);
      // Those that were asked need not be asked again.
      expect(await code(enter("10.4.0.1", true))).toBe(evicted ? "limit_reached" : null);
      expect([silent.signal.aborted, door.size]).toEqual([true, spoken + 1]);
    }
  });

  test("one of the same address, of the same /24 and of the same /48 where those are too many", async () => {
    const address = opened({ maxUnprovenPerAddress: 1 });
    const [other, first] = [await address.enter("10.0.0.1"), await address.enter("10.0.0.2")];
    await address.enter("10.0.0.2");
    expect(out([other, first])).toEqual([false, true]);
    for (const [one, neighbour, stranger] of [
      ["10.0.0.1", "10.0.0.200", "10.0.1.1"],
      ["2001:db8:1:1::1", "2001:db8:1:2::1", "2001:db8:2:1::1"],
    ] as const) {
      const { enter } = opened({ maxUnprovenPerNeighbourhood: 1 });
      const visits = [await enter(stranger), await enter(one)];
      await enter(neighbour);
      expect(out(visits)).toEqual([false, true]);
    }
  });

  test("no caller that is proven, and one that had to make room is not proven any more", async () => {
    const { door, enter } = opened({ maxUnproven: 1 });
    const proven = await enter("10.0.0.1");
    proven.proven();
    const late = await enter("10.0.0.2");
    await enter("10.0.0.3");
    expect(out([proven, late])).toEqual([false, true]);
    expect(() => late.proven()).toThrow(MeshError);
    late.leave();
    expect(door.size).toBe(1);
  });
});

test("who made room and who found none are counted apart", async () => {
  const { enter, metrics } = opened({ maxUnproven: 2 });
  await enter("10.0.0.1");
  await enter("10.0.1.1", true);
  await enter("10.0.2.1", true);
  for (let index = 0; index < 3; index++) expect(await code(enter(`10.1.${index}.1`))).toBe("limit_reached");
  const text = writeMetrics(metrics, "prometheus");
  expect(text).toContain('fairlead_unproven_connections_total{door="test",outcome="closed"} 1\n');
  expect(text).toContain('fairlead_unproven_connections_total{door="test",outcome="refused"} 3\n');
});

test("whoever had to make room while it waited for its turn is not begun with", async () => {
  const { door, enter, pass, turn } = opened({ maxUnproven: 1 });
  const silent = await enter("10.0.0.1");
  await door.begin(silent, async () => pass(hostLimits.turnMs));
  // Both wait for a turn that has time: the newcomer, who takes the place, and the handshake of who has it.
  const newcomer = enter("10.0.1.1");
  let isBegun = false;
  const begun = door.begin(silent, async () => {
    isBegun = true;
  });
  turn();
  await newcomer;
  expect([await code(begun), isBegun]).toEqual(["limit_reached", false]);
});

test("a crowd is looked at as turns have time, and what is too much of it is refused at once", async () => {
  const { door, enter, pass, turn } = opened({ maxUnproven: 10_000, maxUnprovenPerAddress: 10_000 });
  const visit = await enter("10.0.0.1");
  const slow = door.begin(visit, async () => pass(hostLimits.turnMs));
  const waiting = Array.from({ length: doorLimits.maxWaiting }, () => enter("10.9.0.1"));
  await slow;
  expect(door.size).toBe(1);
  expect(await code(enter("10.0.0.1"))).toBe("limit_reached");
  turn();
  await Promise.all(waiting.slice(0, 90));
  expect(door.size).toBeGreaterThan(90);
  for (const one of waiting) one.catch(() => {});
});
