import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { otlpLimits } from "../../base/limits/otlp.ts";
import { Counter, MetricRegistry } from "../../base/metrics.ts";
import type { HttpRequest, HttpResponse } from "../../host/host.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import { HttpCollector } from "./http_collector.ts";
import { MetricExport } from "./metric_export.ts";
import { OtlpQueue } from "./otlp_queue.ts";

type Answer = (request: HttpRequest) => HttpResponse | Promise<HttpResponse>;

const answer = (status: number, headers: Record<string, string> = {}, body = ""): HttpResponse => ({
  status,
  headers,
  body: new TextEncoder().encode(body),
});

function scene(reply: Answer, maxQueued: number = otlpLimits.maxQueuedSpans) {
  const world = new MemoryWorld(1);
  const { clock, random, files } = world.host("waypoint", { addresses: ["10.0.0.1"] });
  const asked: { readonly atMs: number; readonly text: string; readonly request: HttpRequest }[] = [];
  const said: string[] = [];
  const collector = new HttpCollector({
    http: {
      send: async (request) => {
        asked.push({ atMs: world.nowMs, text: new TextDecoder().decode(request.body), request });
        return await reply(request);
      },
    },
    files,
    url: "http://collector/v1/logs",
    encoding: "json",
    headersPath: null,
    rootPath: null,
  });
  const logger = {
    log: (level: string, _target: string, message: string) => said.push(`${level} ${message}`),
  };
  const [sent, lost] = [new Counter(), new Counter()];
  const options = { clock, random, logger, collector, sent, lost };
  const queue = new OtlpQueue<number>({
    ...options,
    what: "spans",
    maxQueued,
    encode: (items) => new TextEncoder().encode(items.join(",")),
  });
  const counts = () => ({ sent: sent.value, lost: lost.value, waiting: queue.waiting });
  return { world, options, queue, asked, said, counts };
}

describe("a queue toward a collector", () => {
  test("the first waits for others, a full batch for none", async () => {
    const { world, queue, asked, counts } = scene(() => answer(200));
    queue.add(1);
    queue.add(2);
    await world.run(otlpLimits.delayMs - 1);
    expect(asked.length).toBe(0);
    await world.run(otlpLimits.delayMs + 1);
    expect(asked.map(({ text }) => text)).toEqual(["1,2"]);
    for (let i = 0; i < otlpLimits.batch; i++) queue.add(i);
    expect(asked.length).toBe(2);
    await world.run(world.nowMs + 1);
    expect(counts()).toEqual({ sent: 2 + otlpLimits.batch, lost: 0, waiting: 0 });
  });

  test("one that is away is tried again with growing delays, five times for one batch, and said once", async () => {
    const { world, queue, asked, said, counts } = scene(() => {
      throw new Error("no way there");
    });
    queue.add(1);
    await world.run(200_000);
    expect(asked.map(({ text }) => text)).toEqual(new Array(otlpLimits.maxAttempts).fill("1"));
    const delays = asked.slice(1).map(({ atMs }, index) => atMs - (asked[index]?.atMs ?? 0));
    for (const [index, delay] of delays.entries())
      expect(Math.abs(delay - 1_000 * 2 ** index)).toBeLessThanOrEqual(
        1_000 * 2 ** index * otlpLimits.backoffJitter,
      );
    expect(counts()).toEqual({ sent: 0, lost: 1, waiting: 0 });
    expect(said).toEqual(["warn spans cannot be sent; those beyond a bound are lost meanwhile"]);
  });

  test.each([otlpLimits.maxQueuedSpans, otlpLimits.maxQueuedLogs])(
    "it costs a queue of %d while it is away, and takes what is there when it is back",
    async (maxQueued) => {
      let status = 503;
      const { world, queue, said, counts } = scene(() => answer(status), maxQueued);
      const held = maxQueued + otlpLimits.batch;
      for (let i = 0; i < held; i++) queue.add(i);
      expect(counts()).toEqual({ sent: 0, lost: 0, waiting: held });
      queue.add(held);
      expect(counts()).toEqual({ sent: 0, lost: 1, waiting: held });
      status = 200;
      await world.run(60_000);
      expect(counts()).toEqual({ sent: held, lost: 1, waiting: 0 });
      expect(said.at(-1)).toBe("info the collector takes spans again");
    },
  );

  test("one that hangs is not asked twice, and nothing but the bound is kept", async () => {
    const { world, queue, asked, counts } = scene(() => new Promise(() => {}));
    for (let i = 0; i < 10_000; i++) queue.add(i);
    await world.run(120_000);
    expect(asked.length).toBe(1);
    expect(counts().waiting).toBe(otlpLimits.maxQueuedSpans + otlpLimits.batch);
  });

  test("Retry-After is kept to, within a bound", async () => {
    let headers: Record<string, string> = { "retry-after": "20" };
    const { world, queue, asked } = scene(() => answer(429, headers));
    queue.add(1);
    await world.run(otlpLimits.delayMs + 1);
    headers = { "retry-after": "999999" };
    await world.run(otlpLimits.delayMs + 19_000);
    expect(asked.length).toBe(1);
    await world.run(otlpLimits.delayMs + 21_000);
    expect(asked.length).toBe(2);
    await world.run(otlpLimits.delayMs + 21_000 + otlpLimits.maxRetryAfterMs);
    expect(asked.length).toBe(3);
  });

  test("what is refused for good is not sent again, and a part that is refused is counted", async () => {
    const refusing = scene(() => answer(400));
    refusing.queue.add(1);
    await refusing.world.run(60_000);
    expect(refusing.asked.length).toBe(1);
    expect(refusing.counts()).toEqual({ sent: 0, lost: 1, waiting: 0 });
    const partial = scene(() => answer(200, {}, '{"partialSuccess":{"rejectedLogRecords":"2"}}'));
    for (const item of [1, 2, 3]) partial.queue.add(item);
    await partial.world.run(60_000);
    expect(partial.counts()).toEqual({ sent: 1, lost: 2, waiting: 0 });
  });
});

test("headers and roots are read for each request; a file that is not there is a collector that is away", async () => {
  const texts = new Map<string, string>();
  const files = {
    readText: async (path: string) => {
      const text = texts.get(path);
      if (text === undefined) throw new MeshError("io", "local", `${path}: no such file`);
      return text;
    },
  };
  const seen: HttpRequest[] = [];
  const collector = new HttpCollector({
    http: {
      send: async (request) => {
        seen.push(request);
        return answer(200);
      },
    },
    files,
    url: "https://collector/v1/logs",
    encoding: "protobuf",
    headersPath: "/etc/headers",
    rootPath: null,
  });
  expect(await collector.send(new Uint8Array(1))).toMatchObject({ kind: "later" });
  texts.set("/etc/headers", "# key\nAuthorization: Bearer x\n");
  expect(await collector.send(new Uint8Array(1))).toEqual({ kind: "taken", rejected: 0 });
  expect(seen[0]?.headers).toEqual({ authorization: "Bearer x", "content-type": "application/x-protobuf" });
  const many = (count: number) =>
    Array.from({ length: count }, (_, index) => `X-${index}: secret`).join("\n");
  texts.set("/etc/headers", many(otlpLimits.maxHeaders));
  expect(await collector.send(new Uint8Array(1))).toMatchObject({ kind: "taken" });
  texts.set("/etc/headers", many(otlpLimits.maxHeaders + 1));
  const refused = await collector.send(new Uint8Array(1));
  expect(refused.kind === "later" ? refused.reason : "").toBe("/etc/headers has more than 32 headers");
  texts.set("/etc/headers", "secret");
  const malformed = await collector.send(new Uint8Array(1));
  expect(malformed.kind === "later" ? malformed.reason : "").toBe('/etc/headers, line 1: not "Name: value"');
  expect(seen.length).toBe(2);
});

interface Point {
  readonly attributes: unknown;
  readonly startTimeUnixNano: string;
  readonly timeUnixNano: string;
}

/** Of all metrics of one request in JSON. */
function pointsOf(text: string): readonly Point[] {
  const [{ scopeMetrics }] = JSON.parse(text).resourceMetrics;
  return scopeMetrics[0].metrics.flatMap((each: Record<string, { readonly dataPoints: readonly Point[] }>) =>
    ["sum", "gauge", "histogram"].flatMap((kind) => each[kind]?.dataPoints ?? []),
  );
}

describe("metrics toward a collector", () => {
  function exporting(reply: Answer, series = 3) {
    const made = scene(reply);
    const metrics = new MetricRegistry();
    const family = metrics.counter("calls", "Calls.", ["who"]);
    for (let i = 0; i < series; i++) family.with({ who: `a"\\\n${i}` }).add(i + 1);
    const took = metrics.histogram("took", "Took.", [], [1, 10]).with({});
    took.observe(5, { traceId: "a".repeat(32), spanId: "b".repeat(16), wallMs: 1_000 });
    took.observe(50);
    const source = { resource: { "service.name": "w.shop" }, scope: "s", version: "1" };
    new MetricExport({ ...made.options, metrics, source, intervalMs: 60_000 });
    return { ...made, family };
  }

  test("go there from time to time, as sums, with exemplars", async () => {
    const { world, asked, counts } = exporting(() => answer(200));
    await world.run(60_001);
    expect(asked.length).toBe(1);
    const [{ scopeMetrics }] = JSON.parse(asked[0]?.text ?? "").resourceMetrics;
    const [{ metrics }] = scopeMetrics;
    expect(metrics[0]).toMatchObject({
      name: "calls",
      sum: { isMonotonic: true, aggregationTemporality: 2 },
    });
    expect(metrics[0].sum.dataPoints[1]).toMatchObject({
      asDouble: 2,
      attributes: [{ key: "who", value: { stringValue: 'a"\\\n1' } }],
    });
    expect(metrics[1].histogram.dataPoints[0]).toMatchObject({
      count: "2",
      sum: 55,
      bucketCounts: ["0", "1", "1"],
      explicitBounds: [1, 10],
      exemplars: [{ asDouble: 5, traceId: "a".repeat(32), timeUnixNano: "1000000000" }],
    });
    expect(counts()).toMatchObject({ sent: 4, lost: 0 });
    await world.run(120_002);
    expect(asked.length).toBe(2);
  });

  test("many of them go in parts, and a part that fails ends the round", async () => {
    let status = 200;
    const { world, asked, counts, said } = exporting(() => answer(status), 1_000);
    await world.run(60_100);
    expect(asked.length).toBe(Math.ceil(1_001 / otlpLimits.pointsPerRequest));
    expect(counts()).toMatchObject({ sent: 1_001, lost: 0 });
    // Each point is in one of the parts, and in no two of them.
    const parts = asked.map(({ text }) => pointsOf(text));
    for (const part of parts) expect(part.length).toBeLessThanOrEqual(otlpLimits.pointsPerRequest);
    const values = parts.flat().map((point) => point.attributes);
    expect(new Set(values.map((each) => JSON.stringify(each))).size).toBe(1_001);
    expect(values.length).toBe(1_001);
    status = 503;
    const before = asked.length;
    await world.run(120_200);
    // Who has just refused the first is not asked to take the others.
    expect(asked.length).toBe(before + 1);
    expect(counts()).toMatchObject({ sent: 1_001, lost: otlpLimits.pointsPerRequest });
    expect(said).toEqual(["warn metrics cannot be sent; they are counted on"]);
  });

  test("are sums since the start, whenever they are sent", async () => {
    const { world, options, asked } = exporting(() => answer(200));
    const startMs = options.clock.wallMs();
    await world.run(120_002);
    expect(asked.length).toBe(2);
    for (const [round, { text }] of asked.entries())
      for (const { startTimeUnixNano, timeUnixNano } of pointsOf(text)) {
        expect(startTimeUnixNano).toBe(`${BigInt(startMs) * 1_000_000n}`);
        expect(BigInt(timeUnixNano) - BigInt(startTimeUnixNano)).toBe(BigInt(round + 1) * 60_000_000_000n);
      }
  });

  test("that a collector says it did not take are lost, and never more than it was given", async () => {
    let rejected = 3;
    const { world, counts } = exporting(() =>
      answer(200, {}, JSON.stringify({ partialSuccess: { rejectedDataPoints: String(rejected) } })),
    );
    await world.run(60_001);
    expect(counts()).toMatchObject({ sent: 1, lost: 3 });
    rejected = 100;
    await world.run(120_002);
    expect(counts()).toMatchObject({ sent: 1, lost: 7 });
  });

  test("a collector that hangs is not asked twice", async () => {
    const { world, asked } = exporting(() => new Promise(() => {}));
    await world.run(600_000);
    expect(asked.length).toBe(1);
  });
});
