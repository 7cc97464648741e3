import { describe, expect, test } from "bun:test";
import { MemoryWorld } from "../../host/memory/world.ts";
import type { RateLimitRule } from "../../mesh/traffic/rate_limit.ts";
import { H2Link } from "../../transport/h2_link.ts";
import { describeMethod } from "../../wire/grpc/method.ts";
import { GrpcService } from "../../wire/grpc/server.ts";
import {
  RateLimitResponse_Code as Code,
  type RateLimitRequest,
  type RateLimitResponse,
  RateLimitResponseSchema,
  RateLimitService,
} from "../../wire/messages/envoy_ratelimit.gen.ts";
import { newMessage } from "../../wire/messages/message.ts";
import { RlsClient } from "./rls_client.ts";

const rule: RateLimitRule = {
  name: "each",
  location: { file: "f", line: 1, column: 1 },
  matches: [],
  routes: [],
  keys: [{ by: "peer" }, { by: "header", name: "x-key" }, { by: "claim", path: ["org", "id"] }],
  limit: { requests: 1, periodMs: 1000, burst: 1 },
};

function scene(answer: (request: RateLimitRequest) => RateLimitResponse | Promise<RateLimitResponse>) {
  const world = new MemoryWorld(1);
  const machine = world.machine("limits", { addresses: ["10.0.0.2"] });
  const host = machine.start();
  const service = new GrpcService<null>();
  const asked: RateLimitRequest[] = [];
  service.unary(describeMethod(RateLimitService.method.shouldRateLimit), async (request) => {
    asked.push(request);
    return await answer(request);
  });
  let connections = 0;
  host.net.listen({ address: machine.at(8081) }, (socket) => {
    connections++;
    const link = new H2Link(
      host.clock,
      socket,
      { role: "server" },
      {
        onRequest: (stream, headers, endStream) => void service.handle(stream, headers, endStream, null),
      },
    );
    link.start();
  });
  const client = new RlsClient(world.host("waypoint", { addresses: ["10.0.0.1"] }), {
    address: { host: "10.0.0.2", port: 8081 },
    secure: null,
    domain: "shop",
    timeoutMs: 100,
  });
  const take = async (): Promise<unknown> => {
    let result: unknown;
    let isDone = false;
    client.take(rule, "key", ["spiffe://a", "k", '"o"']).then(
      (verdict) => {
        result = verdict;
        isDone = true;
      },
      (error: unknown) => {
        result = error;
        isDone = true;
      },
    );
    await world.runUntil(() => isDone, world.nowMs + 10_000);
    return result;
  };
  return { world, take, asked, connections: () => connections };
}

const response = (overallCode: Code, left = 0, seconds = 0) =>
  newMessage(RateLimitResponseSchema, {
    overallCode,
    statuses: [
      {
        code: overallCode,
        limitRemaining: left,
        durationUntilReset: { seconds: BigInt(seconds), nanos: 500_000_000 },
      },
    ],
  });

describe("a service of Envoy's rate limit protocol", () => {
  test("is told the rule and the values of its keys, and its verdict counts", async () => {
    const { take, asked, connections } = scene(() => response(Code.OK, 7, 3));
    expect(await take()).toEqual({ allowed: true, remaining: 7, retryAfterMs: 0, resetMs: 3_500 });
    expect(asked[0]).toMatchObject({ domain: "shop", hitsAddend: 1 });
    expect(asked[0]?.descriptors[0]?.entries.map(({ key, value }) => `${key}=${value}`)).toEqual([
      "rule=each",
      "peer=spiffe://a",
      "header:x-key=k",
      'claim:org.id="o"',
    ]);
    await take();
    expect(connections()).toBe(1);
  });

  test("refuses, and says for how long", async () => {
    const { take } = scene(() => response(Code.OVER_LIMIT, 0, 20));
    expect(await take()).toEqual({ allowed: false, remaining: 0, retryAfterMs: 20_500, resetMs: 20_500 });
  });

  test("that gives no verdict, or none in time, is away; the next request costs nothing", async () => {
    for (const answer of [() => response(Code.UNKNOWN), () => new Promise<RateLimitResponse>(() => {})]) {
      const { take, world } = scene(answer);
      expect(await take()).toMatchObject({ blame: "upstream" });
      const before = world.nowMs;
      expect(await take()).toMatchObject({ message: expect.stringContaining("failed a moment ago") });
      expect(world.nowMs).toBe(before);
    }
  });
});
