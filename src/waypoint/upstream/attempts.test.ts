import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { waypointLimits } from "../../base/limits/waypoint.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import { MeshStore } from "../../mesh/store/store.ts";
import { ip, service, workload } from "../../mesh/testing/fixture.ts";
import {
  type DestinationPlan,
  type DestinationPolicy,
  defaultConnectionPool,
  defaultDestinationPolicy,
} from "../../mesh/traffic/destination_policy.ts";
import { defaultRetryPolicy, type RetryPolicy } from "../../mesh/traffic/route_plan.ts";
import { Body } from "../body.ts";
import { type Endpoint, field } from "../exchange.ts";
import type { Attempt, Forward, Outcome, Verdict } from "../stages.ts";
import { exchangeOf, ruleOf } from "../testing/exchanges.ts";
import { Attempts } from "./attempts.ts";
import { Clusters } from "./clusters.ts";

/** What the upstream does at each attempt: an outcome, or nothing until it is cancelled. */
type Script = readonly (Outcome | "silent")[];

const answer = (status: number, fields: string[] = []): Outcome => ({
  kind: "answered",
  head: { status, fields },
  body: null,
});
const fail = (flag: "UF" | "UC" | "UR" = "UF", mayHaveActed = false): Outcome => ({
  kind: "failed",
  error: new MeshError("connect_refused", "upstream", "refused"),
  flag,
  mayHaveActed,
});

interface Given {
  readonly script: Script;
  readonly retries?: RetryPolicy | null;
  readonly timeoutMs?: number;
  readonly method?: string;
  readonly fields?: string[];
  readonly body?: string;
  readonly policy?: Partial<DestinationPolicy>;
  readonly endpoints?: number;
}

const fromPolicy = (fields: Partial<RetryPolicy>): RetryPolicy => ({ ...defaultRetryPolicy, ...fields });

function stage(given: Given) {
  const world = new MemoryWorld(1);
  const { clock } = world.host("waypoint", { addresses: ["10.0.0.1"] });
  const store = new MeshStore();
  const workloads = Array.from({ length: given.endpoints ?? 2 }, (_, i) =>
    workload(`cart-${i}`, {
      addresses: [ip(`10.0.1.${i + 1}`)],
      services: new Map([["shop/cart.shop", new Map()]]),
    }),
  );
  store.apply({ services: { upsert: [service("cart", { 80: 8080 })] }, workloads: { upsert: workloads } });
  const policy = { ...defaultDestinationPolicy, ...given.policy };
  const plan: DestinationPlan = {
    service: "shop/cart.shop",
    ports: new Map([[80, policy]]),
    subsets: new Map(),
    locations: [],
  };
  const clusters = new Clusters({
    clock,
    store,
    plan: () => plan,
    labels: () => new Map(),
    events: { onEjected: () => {}, onReturned: () => {} },
  });
  const attempts = new Attempts({
    clock,
    random: () => 0.5,
    clusters,
    hash: () => null,
    session: () => null,
    answered: () => {},
    mirror: () => {},
  });
  const sent: { at: number; to: string; body: string }[] = [];
  let cancelled = 0;
  let next = 0;
  const forward: Forward = (exchange, endpoint: Endpoint): Attempt => {
    const record = { at: world.nowMs, to: endpoint.workload.name, body: "" };
    sent.push(record);
    exchange.body?.pipe({
      write: (bytes) => {
        record.body += new TextDecoder().decode(bytes);
        return true;
      },
      end: () => {},
      fail: () => {},
    });
    const step = given.script[next++] ?? "silent";
    let settle: (outcome: Outcome) => void = () => {};
    const outcome =
      step === "silent" ? new Promise<Outcome>((resolve) => (settle = resolve)) : Promise.resolve(step);
    return {
      tell: (onOutcome) => void outcome.then(onOutcome),
      cancel: (error) => {
        cancelled++;
        settle({ kind: "failed", error, flag: "UR", mayHaveActed: true });
      },
    };
  };
  const begin = () => {
    const body = given.body === undefined ? null : new Body({ onResume: () => {}, onCancel: () => {} });
    const exchange = exchangeOf({
      request: { method: given.method ?? "GET", fields: given.fields ?? [], version: "2" },
      downstream: { service: store.serviceByKey("shop/cart.shop") },
      ...(body === null ? {} : { body }),
      startedAtMs: world.nowMs,
    });
    exchange.rule = ruleOf({ retries: given.retries ?? null, timeoutMs: given.timeoutMs ?? null });
    body?.push(new TextEncoder().encode(given.body));
    body?.finish(null);
    let verdict: Verdict | "waiting" = "waiting";
    attempts.run(exchange, forward).then((value) => {
      verdict = value;
    });
    return { exchange, verdict: () => verdict };
  };
  return { world, attempts, clusters, sent, begin, cancelled: () => cancelled };
}

async function play(given: Given) {
  const scene = stage(given);
  const { exchange, verdict } = scene.begin();
  await scene.world.run(60_000);
  return { ...scene, exchange, verdict: verdict() };
}

/** Whatever happened, nothing is held when the exchange is over. */
function expectAllGivenBack({ attempts, clusters, exchange }: Awaited<ReturnType<typeof play>>) {
  attempts.ended(exchange);
  attempts.ended(exchange);
  expect(attempts.size).toBe(0);
  for (const cluster of clusters.all.values()) {
    expect(cluster.circuit.held("requests")).toBe(0);
    expect(cluster.circuit.held("retries")).toBe(0);
    expect(cluster.hosts.map(({ active }) => active)).toEqual(cluster.hosts.map(() => 0));
  }
}

describe("attempts", () => {
  test("the first answer is passed on, and its host is busy until the end", async () => {
    const played = await play({ script: [answer(200)], retries: defaultRetryPolicy });
    expect(played.verdict).toBeNull();
    expect(played.exchange.response?.status).toBe(200);
    expect(played.exchange.attempts).toBe(1);
    const [cluster] = played.clusters.all.values();
    expect(cluster?.hosts.reduce((sum, { active }) => sum + active, 0)).toBe(1);
    expectAllGivenBack(played);
  });

  test("a failure is tried again at another endpoint, after a while", async () => {
    const played = await play({ script: [fail(), answer(200)], retries: defaultRetryPolicy });
    expect(played.verdict).toBeNull();
    expect(new Set(played.sent.map(({ to }) => to)).size).toBe(2);
    expect((played.sent[1]?.at ?? 0) - (played.sent[0]?.at ?? 0)).toBeCloseTo(12.5, 0);
    expectAllGivenBack(played);
  });

  test("as often as the policy says, then the last failure is the answer, and says so", async () => {
    const played = await play({ script: [fail(), fail(), fail(), fail()], retries: defaultRetryPolicy });
    expect(played.sent).toHaveLength(3);
    expect(played.verdict).toMatchObject({ status: 503, flag: "UF,URX" });
    expectAllGivenBack(played);
  });

  test("an error answer that is not tried again is passed on as it is", async () => {
    const played = await play({ script: [answer(503)], retries: defaultRetryPolicy });
    expect(played.exchange.response?.status).toBe(503);
    expect(played.sent).toHaveLength(1);
    expectAllGivenBack(played);
  });

  test("without retries, once", async () => {
    const played = await play({ script: [fail()], retries: null });
    expect(played.sent).toHaveLength(1);
    expectAllGivenBack(played);
  });

  test("content is sent again whole", async () => {
    const played = await play({
      script: [fail(), answer(200)],
      retries: defaultRetryPolicy,
      method: "POST",
      body: "hello",
    });
    expect(played.sent.map(({ body }) => body)).toEqual(["hello", "hello"]);
  });

  test("content up to the bound is sent again, one byte more is sent once", async () => {
    for (const [extra, times] of [
      [0, 2],
      [1, 1],
    ] as const) {
      const body = "x".repeat(waypointLimits.retryBodyBytes + extra);
      const played = await play({
        script: [fail(), answer(200)],
        retries: defaultRetryPolicy,
        method: "POST",
        body,
      });
      expect(played.sent).toHaveLength(times);
      expectAllGivenBack(played);
    }
  });

  test("a POST that may have been done is not done twice", async () => {
    const played = await play({
      script: [fail("UC", true), answer(200)],
      retries: defaultRetryPolicy,
      method: "POST",
    });
    expect(played.sent).toHaveLength(1);
    expect(played.verdict).toMatchObject({ status: 503, flag: "UC" });
  });

  test("no endpoints: 503 with UH", async () => {
    const played = await play({ script: [], endpoints: 0 });
    expect(played.verdict).toMatchObject({ status: 503, flag: "UH" });
    expectAllGivenBack(played);
  });
});

describe("time", () => {
  test("one try has its time, then the next begins", async () => {
    const retries = fromPolicy({ perTryTimeoutMs: 100, retryOn: ["5xx"] });
    const played = await play({ script: ["silent", answer(200)], retries });
    expect(played.exchange.response?.status).toBe(200);
    expect(played.cancelled()).toBe(1);
    expect(played.sent[1]?.at).toBeGreaterThan(100);
    expectAllGivenBack(played);
  });

  test("the route's time ends all tries", async () => {
    const retries = fromPolicy({ attempts: 10, perTryTimeoutMs: 100, retryOn: ["5xx"] });
    const played = await play({ script: [], retries, timeoutMs: 350 });
    expect(played.verdict).toMatchObject({ status: 504, flag: "UT" });
    expect(played.sent.length).toBeLessThan(5);
    expectAllGivenBack(played);
  });

  test("it ends an answer that is on its way, too", async () => {
    const scene = stage({ script: [answer(200)], timeoutMs: 1000 });
    const { exchange } = scene.begin();
    await scene.world.run(999);
    expect(exchange.error).toBeNull();
    await scene.world.run(1001);
    expect(exchange.error?.code).toBe("idle_timeout");
  });

  test("an exchange that is over is not ended again when its time would have been", async () => {
    const scene = stage({ script: [answer(200)], timeoutMs: 1000 });
    const { exchange } = scene.begin();
    await scene.world.run(500);
    scene.attempts.ended(exchange);
    await scene.world.run(2000);
    expect(exchange.error).toBeNull();
  });

  test("a gRPC deadline that is shorter wins, and is told as such", async () => {
    const fields = ["content-type", "application/grpc", "grpc-timeout", "50m"];
    const played = await play({ script: [], fields, timeoutMs: 1000 });
    expect(played.verdict).toMatchObject({ status: 504, grpcStatus: 4 });
    const route = await play({ script: [], fields: [...fields.slice(0, 3), "5S"], timeoutMs: 1000 });
    expect(route.verdict).toMatchObject({ status: 504, grpcStatus: null });
  });

  test("a client that leaves while the next try waits ends it", async () => {
    const scene = stage({
      script: [fail(), answer(200)],
      retries: fromPolicy({ backoff: { baseMs: 1000, maxMs: 1000 } }),
    });
    const { exchange, verdict } = scene.begin();
    await scene.world.run(100);
    exchange.abort(new MeshError("connection_closed", "peer", "the client is gone"));
    await scene.world.run(200);
    expect(verdict()).toBeNull();
    expect(scene.sent).toHaveLength(1);
    expectAllGivenBack({ ...scene, exchange, verdict: null });
  });
});

describe("circuits", () => {
  test("one request more than there may be is refused, and the next after an end is not", async () => {
    const pool = { ...defaultConnectionPool, maxRequests: 2 };
    const scene = stage({ script: [answer(200), answer(200), answer(200)], policy: { pool } });
    const [first, second, third] = [scene.begin(), scene.begin(), scene.begin()];
    await scene.world.run(10);
    expect([first.verdict(), second.verdict()]).toEqual([null, null]);
    const refused = third.verdict();
    expect(refused).toMatchObject({ status: 503, flag: "UO" });
    expect(
      refused === null || refused === "waiting" ? null : field(refused.fields, "x-envoy-overloaded"),
    ).toBe("true");
    scene.attempts.ended(first.exchange);
    const fourth = scene.begin();
    await scene.world.run(20);
    expect(fourth.verdict()).toBeNull();
  });

  test("retries that would be too many at one time are not made", async () => {
    const pool = { ...defaultConnectionPool, maxRetries: 0 };
    const played = await play({
      script: [fail(), answer(200)],
      retries: defaultRetryPolicy,
      policy: { pool },
    });
    expect(played.sent).toHaveLength(1);
    expect(played.verdict).toMatchObject({ status: 503 });
    expectAllGivenBack(played);
  });

  test("an endpoint that fails is left out for the next requests", async () => {
    const outlier = {
      consecutive5xx: 1,
      consecutiveGatewayErrors: 0,
      consecutiveLocalOriginFailures: 5,
      splitLocalOrigin: false,
      intervalMs: 10_000,
      baseEjectionMs: 30_000,
      maxEjectionPercent: 100,
      minHealthPercent: 0,
      httpErrorCodes: null,
    };
    const script = [answer(503), ...Array.from({ length: 20 }, () => answer(200))];
    const scene = stage({ script, policy: { outlier } });
    for (let i = 0; i < 21; i++) {
      const { exchange } = scene.begin();
      await scene.world.run(scene.world.nowMs + 1);
      scene.attempts.ended(exchange);
    }
    const [bad, ...rest] = scene.sent.map(({ to }) => to);
    expect(rest).not.toContain(bad ?? "");
  });
});
