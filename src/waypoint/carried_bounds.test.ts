import { expect, test } from "bun:test";
import type { MeshError } from "../base/errors.ts";
import { rejectionOf } from "../base/testing/rejection.ts";
import { workload } from "../mesh/testing/fixture.ts";
import { defaultConnectionPool, defaultDestinationPolicy } from "../mesh/traffic/destination_policy.ts";
import { FakeClock } from "../pki/testing/fake_clock.ts";
import { boundCarried } from "./carried_bounds.ts";
import type { Endpoint } from "./exchange.ts";

function scene(pool: Partial<typeof defaultConnectionPool>, room = 1) {
  const clock = new FakeClock(0);
  const held = { connections: 0, pending: 0 };
  const circuit = {
    take: (kind: "connections" | "pending") => {
      if (held[kind] >= room) return false;
      held[kind]++;
      return true;
    },
    give: (kind: "connections" | "pending") => void held[kind]--,
  };
  const policy = { ...defaultDestinationPolicy, pool: { ...defaultConnectionPool, ...pool } };
  const endpoint: Endpoint = {
    ...{ workload: workload("db"), port: 5432, service: null, servicePort: 5432 },
    ...{ policy, circuit },
  };
  const aborted: MeshError[] = [];
  const carried = { carriedBytes: 0, abort: (error: MeshError) => void aborted.push(error) };
  return { clock, held, endpoint, carried, aborted };
}

test("a connection that is carried is one of those that may be open, until it is over, once", async () => {
  const { clock, held, endpoint, carried } = scene({});
  const over = boundCarried(clock, endpoint, carried);
  expect(held.connections).toBe(1);
  const another = (async () => boundCarried(clock, endpoint, carried))();
  expect(await rejectionOf(another)).toMatchObject({ code: "limit_reached", blame: "upstream" });
  over();
  over();
  expect(held.connections).toBe(0);
  boundCarried(clock, endpoint, carried)();
  expect([held.connections, clock.timers]).toEqual([0, 0]);
});

test("it is cut when nothing was said for as long as may be, and each byte begins that time again", async () => {
  const { clock, endpoint, carried, aborted } = scene({ tcpIdleTimeoutMs: 1_000 });
  const over = boundCarried(clock, endpoint, carried);
  carried.carriedBytes = 7;
  await clock.advance(1_000);
  expect(aborted).toEqual([]);
  await clock.advance(999);
  expect(aborted).toEqual([]);
  await clock.advance(1);
  expect(aborted.map(({ code, blame }) => [code, blame])).toEqual([["idle_timeout", "peer"]]);
  over();
  expect(clock.timers).toBe(0);
});

test("it is cut at its age, whatever is said; over, it leaves no timer behind", async () => {
  const { clock, endpoint, carried, aborted } = scene({
    maxConnectionDurationMs: 5_000,
    tcpIdleTimeoutMs: 0,
  });
  const over = boundCarried(clock, endpoint, carried);
  for (let second = 0; second < 4; second++) {
    carried.carriedBytes++;
    await clock.advance(1_000);
  }
  expect(aborted).toEqual([]);
  await clock.advance(1_000);
  expect(aborted.map(({ code, blame }) => [code, blame])).toEqual([["idle_timeout", "local"]]);
  over();
  boundCarried(clock, endpoint, carried)();
  expect(clock.timers).toBe(0);
});
