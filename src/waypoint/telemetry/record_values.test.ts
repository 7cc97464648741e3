/** What is said of a request, and what is counted of it: each number and each word has a value of its own here, so that none can stand for another. */
import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { type LogFields, silentLogger } from "../../base/log.ts";
import { MetricRegistry } from "../../base/metrics.ts";
import { writeMetrics } from "../../base/metrics_text.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import { ip, service, workload } from "../../mesh/testing/fixture.ts";
import type { OtlpLog, OtlpSpan } from "../../wire/otlp/items.ts";
import { Body } from "../body.ts";
import { Exchange } from "../exchange.ts";
import { noTelemetryRule } from "../telemetry_rules.ts";
import { exchangeOf } from "../testing/exchanges.ts";
import { compileFormat } from "./access_format.ts";
import { RequestMetrics } from "./request_metrics.ts";
import { recordOf } from "./request_record.ts";
import { RequestTelemetry } from "./request_telemetry.ts";
import type { MetricRule } from "./telemetry_rule.ts";

const requestBytes = 3;
const responseBytes = 700;
/** Between the bounds of 25 and 50 milliseconds. */
const tookMs = 40;
const traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

function newBody(bytes: number): Body {
  const body = new Body({ onResume: () => {}, onCancel: () => {} });
  body.push(new Uint8Array(bytes));
  return body;
}

/** A request of 3 bytes to the second endpoint that was tried, with an answer of 700. */
function answered(status = 207, fields: string[] = ["traceparent", traceparent], startedAtMs = 0): Exchange {
  const exchange = exchangeOf({
    request: { method: "PUT", path: "/secret?token=1", fields },
    body: newBody(requestBytes),
    startedAtMs,
  });
  exchange.endpoint = {
    workload: workload("cart-1", { addresses: [ip("10.0.1.1")] }),
    port: 8080,
    service: service("cart", { 80: 8080 }),
    servicePort: 80,
  };
  exchange.attempts = 2;
  exchange.response = { status, fields: [] };
  exchange.responseBody = newBody(responseBytes);
  return exchange;
}

function samples(metrics: MetricRegistry): Readonly<Record<string, string>> {
  const lines = writeMetrics(metrics, "prometheus").matchAll(/^(\w+)\{(.*)\} (\S+)$/gm);
  const found: Record<string, string> = {};
  for (const [, name = "", labels = "", value = ""] of lines) {
    const bound = /le="([^"]*)"/.exec(labels)?.[1];
    found[bound === undefined ? name : `${name} ${bound}`] = value;
  }
  return found;
}

function counted(rule: MetricRule | null): Readonly<Record<string, string>> {
  const metrics = new MetricRegistry();
  const counts = new RequestMetrics(metrics);
  const record = recordOf(answered(), tookMs, 1_000_000);
  counts.count(record, rule, null);
  counts.countMessages(record, 5, 8, rule);
  return samples(metrics);
}

const expected = {
  istio_requests_total: "1",
  istio_request_duration_milliseconds_sum: "40",
  istio_request_bytes_sum: "3",
  istio_response_bytes_sum: "700",
  istio_request_messages_total: "5",
  istio_response_messages_total: "8",
};

/** Which sample is gone when a metric is switched off, by Istio's name for it. */
const metricNames = [
  ["REQUEST_COUNT", "istio_requests_total"],
  ["REQUEST_DURATION", "istio_request_duration_milliseconds_sum"],
  ["REQUEST_SIZE", "istio_request_bytes_sum"],
  ["RESPONSE_SIZE", "istio_response_bytes_sum"],
  ["GRPC_REQUEST_MESSAGES", "istio_request_messages_total"],
  ["GRPC_RESPONSE_MESSAGES", "istio_response_messages_total"],
] as const;

const noneDisabled: ReadonlySet<string> = new Set();
const tagged = () => new Map(metricNames.map(([name]) => [name, new Map([["tier", "gold"]])]));

describe("metrics", () => {
  for (const [what, rule] of [
    ["as they are", null],
    ["with labels of documents", { namespace: "shop", disabled: noneDisabled, tags: tagged }],
  ] as const)
    test(`have each their own number, ${what}`, () => {
      const found = counted(rule);
      expect(found).toMatchObject(expected);
      expect(found["istio_request_duration_milliseconds_bucket 25.0"]).toBe("0");
      expect(found["istio_request_duration_milliseconds_bucket 50.0"]).toBe("1");
    });

  for (const tags of [null, tagged])
    for (const [name, sample] of metricNames)
      test(`${name} is switched off alone, ${tags === null ? "as it is" : "with labels of documents"}`, () => {
        const found = counted({ namespace: "shop", disabled: new Set([name]), tags });
        const { [sample]: own, ...others } = expected;
        expect(found).toMatchObject(others);
        expect(found[sample] ?? "0").not.toBe(own);
      });

  test("requests of one connection are told apart by whatever is different in how they ended", () => {
    const metrics = new MetricRegistry();
    const counts = new RequestMetrics(metrics);
    const { downstream, request } = exchangeOf();
    const grpc = { ...request, fields: ["content-type", "application/grpc"] };
    const ways: ((exchange: Exchange) => void)[] = [
      () => {},
      (exchange) => {
        exchange.response = { status: 503, fields: [] };
      },
      // The same status with another flag.
      (exchange) => {
        exchange.response = { status: 503, fields: [] };
        exchange.error = new MeshError("connection_closed", "peer", "gone");
      },
      // Another service by the same connection, as a route chose it.
      (exchange) => {
        exchange.destination = { service: "shop/other.shop", port: 80, subset: null, missing: null };
        exchange.endpoint = {
          workload: workload("cart-1"),
          port: 8080,
          service: service("other", { 80: 8080 }),
          servicePort: 80,
        };
      },
      (exchange) => {
        exchange.endpoint = {
          workload: workload("cart-1"),
          port: 8080,
          service: service("cart", { 80: 8080 }),
          servicePort: 80,
        };
      },
    ];
    const shared = workload("cart-1");
    const end = (head: typeof request, way: (exchange: Exchange) => void): void => {
      const exchange = new Exchange(downstream, { ...head }, null, 0);
      exchange.response = { status: 200, fields: [] };
      way(exchange);
      if (exchange.endpoint !== null) exchange.endpoint = { ...exchange.endpoint, workload: shared };
      counts.count(recordOf(exchange, 1, 1), null, null);
    };
    for (const head of [request, grpc]) for (const way of ways) end(head, way);
    // Once more each is found again, also right behind what differs in its protocol alone.
    for (const way of ways) for (const head of [request, grpc]) end(head, way);
    const lines = writeMetrics(metrics, "prometheus").match(/^istio_requests_total\{.*\} \d+$/gm) ?? [];
    expect(lines.length).toBe(2 * ways.length);
    expect(lines.every((line) => line.endsWith("} 2"))).toBe(true);
  });
});

test("a gRPC status is the trailers', whatever the head had said before", () => {
  const exchange = answered(200, ["content-type", "application/grpc"]);
  exchange.response = { status: 200, fields: ["grpc-status", "0"] };
  exchange.responseBody?.finish(["grpc-status", "13"]);
  expect(recordOf(exchange, 1, 1).grpcStatus).toBe("13");
});

test.each([
  ["idle_timeout", "upstream", "UT"],
  ["connection_closed", "upstream", "UC"],
  ["idle_timeout", "peer", "DC"],
  ["policy_denied", "policy", "UAEX"],
] as const)("a request cut by %s of %s has the flag %s", (code, blame, flag) => {
  const exchange = answered();
  exchange.error = new MeshError(code, blame, "cut");
  expect(recordOf(exchange, 1, 1)).toMatchObject({ flags: flag, detail: `${code}: cut` });
});

test("a format tells what was received and what was sent apart", () => {
  const format = compileFormat("%BYTES_RECEIVED% %BYTES_SENT% %DURATION%");
  if (typeof format !== "function") throw new Error(format.message);
  expect(format(recordOf(answered(), tookMs, 1_000_000))).toBe("3 700 40");
});

describe("span, log record and line", () => {
  async function ended(status: number) {
    const world = new MemoryWorld(1);
    const { clock, random } = world.host("waypoint", { addresses: ["10.0.0.1"] });
    const [spans, logs, lines]: [OtlpSpan[], OtlpLog[], (LogFields | string)[]] = [[], [], []];
    const metrics = new MetricRegistry();
    const telemetry = new RequestTelemetry({
      ...{ clock, random, metrics, format: null, rule: () => noTelemetryRule },
      logger: {
        ...silentLogger,
        wants: () => true,
        log: (level, _target, _message, fields = {}) => void lines.push({ level, ...fields }),
      },
      logs: { add: (log) => void logs.push(log) },
      tracing: { spans: { add: (span) => void spans.push(span) }, samplingPercent: 0 },
    });
    const beganMs = clock.wallMs();
    const exchange = answered(status, undefined, clock.now());
    if (status === 0) exchange.response = null;
    telemetry.begin(exchange);
    await world.run(world.nowMs + tookMs);
    telemetry.end(exchange);
    return { beganMs, span: spans[0], log: logs[0], line: lines[0], metrics };
  }

  test("have the times, sizes and attempts of the request, each its own", async () => {
    const { beganMs, span, log, line, metrics } = await ended(207);
    expect(span).toMatchObject({
      traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
      parentId: "00f067aa0ba902b7",
      ...{ startedWallMs: beganMs, durationMs: tookMs, isError: false },
      attributes: {
        "http.request.body.size": requestBytes,
        "http.response.body.size": responseBytes,
        // Sent twice is once again.
        "http.request.resend_count": 1,
      },
    });
    expect(log).toMatchObject({
      wallMs: beganMs + tookMs,
      traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
      spanId: span?.spanId ?? "none",
      attributes: { bytes_recv: requestBytes, bytes_sent: responseBytes, attempts: 2, duration: "40ms" },
    });
    expect(line).toMatchObject({ bytes_recv: requestBytes, bytes_sent: responseBytes, duration: "40ms" });
    // An exemplar is of the moment at which the value was known: the end of the request.
    expect(writeMetrics(metrics, "openmetrics")).toContain(
      `} ${tookMs} ${((beganMs + tookMs) / 1000).toFixed(3)}`,
    );
  });

  test.each([
    [0, true, "error", "ERROR"],
    [404, false, "info", "INFO"],
    [499, false, "info", "INFO"],
    [500, true, "error", "ERROR"],
  ] as const)("of an answer with %d: in error %p, level %s", async (status, isError, level, severity) => {
    const { span, log, line } = await ended(status);
    expect(span?.isError).toBe(isError);
    expect(log?.severity).toBe(severity);
    expect(line).toMatchObject({ level });
  });
});
