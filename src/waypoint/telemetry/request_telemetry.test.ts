import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { waypointLimits } from "../../base/limits/waypoint.ts";
import type { LogFields } from "../../base/log.ts";
import { MetricRegistry } from "../../base/metrics.ts";
import { writeMetrics } from "../../base/metrics_text.ts";
import type { HttpRequest } from "../../host/host.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import { ip, service, workload } from "../../mesh/testing/fixture.ts";
import { Body } from "../body.ts";
import { type Exchange, field } from "../exchange.ts";
import { localReply } from "../local_reply.ts";
import { exchangeOf, ruleOf } from "../testing/exchanges.ts";
import { MessageCount } from "./message_count.ts";
import { RequestTelemetry } from "./request_telemetry.ts";
import { SpanExport } from "./spans.ts";

function scene(samplingPercent: number | null = null, answer: () => number = () => 200) {
  const world = new MemoryWorld(1);
  const { clock, random } = world.host("waypoint", { addresses: ["10.0.0.1"] });
  const metrics = new MetricRegistry();
  const lines: { level: string; fields: LogFields }[] = [];
  const posted: unknown[] = [];
  const http = {
    send: async ({ body }: HttpRequest) => {
      posted.push(JSON.parse(new TextDecoder().decode(body)));
      return { status: answer(), headers: new Map<string, string>(), body: new Uint8Array(0) };
    },
  };
  const logger = {
    log: (level: string, _target: string, _message: string, fields: LogFields = {}) =>
      lines.push({ level, fields }),
  };
  const spans = new SpanExport({
    clock,
    http: http as never,
    logger,
    url: "http://collector/v1/traces",
    serviceName: "waypoint.shop",
    version: "1",
  });
  const telemetry = new RequestTelemetry({
    clock,
    random,
    logger,
    metrics,
    format: null,
    isLogged: () => true,
    tracing: samplingPercent === null ? null : { spans, samplingPercent: () => samplingPercent },
    disabledMetrics: () => new Set(),
  });
  return { world, telemetry, metrics, lines, posted, spans };
}

const caller = workload("web-1", {
  serviceAccount: "web",
  canonicalName: "web",
  canonicalRevision: "v1",
  workloadName: "web",
  clusterId: "west",
});
const callee = workload("cart-1", {
  namespace: "store",
  canonicalName: "cart",
  canonicalRevision: "v2",
  workloadName: "carts",
  clusterId: "east",
  addresses: [ip("10.0.1.1")],
});

function called(fields: string[] = []): Exchange {
  const cart = service(
    "cart",
    { 80: 8080 },
    { namespace: "store", hostname: "cart.store.svc", name: "cart" },
  );
  const exchange = exchangeOf({
    request: { fields, path: "/secret?token=1" },
    downstream: { sourceWorkload: caller, service: cart },
  });
  exchange.endpoint = { workload: callee, port: 8080, service: cart, servicePort: 80 };
  exchange.attempts = 1;
  return exchange;
}

describe("metrics", () => {
  test("each label has its own value, so that none can stand for another", () => {
    const { telemetry, metrics } = scene();
    const exchange = called();
    telemetry.begin(exchange);
    exchange.response = { status: 207, fields: [] };
    telemetry.end(exchange);
    telemetry.end(exchange);
    const line = writeMetrics(metrics, "prometheus")
      .split("\n")
      .find((each) => each.startsWith("istio_requests_total{"));
    const labels = Object.fromEntries(
      [...(line ?? "").matchAll(/(\w+)="([^"]*)"/g)].map(([, name, value]) => [name, value]),
    );
    expect(labels).toEqual({
      reporter: "waypoint",
      source_workload: "web",
      source_workload_namespace: "shop",
      source_principal: "spiffe://cluster.local/ns/shop/sa/web",
      source_app: "web",
      source_version: "v1",
      source_canonical_service: "web",
      source_canonical_revision: "v1",
      source_cluster: "west",
      destination_workload: "carts",
      destination_workload_namespace: "store",
      destination_principal: "spiffe://cluster.local/ns/store/sa/cart-1",
      destination_app: "cart",
      destination_version: "v2",
      destination_service: "cart.store.svc",
      destination_service_name: "cart",
      destination_service_namespace: "store",
      destination_canonical_service: "cart",
      destination_canonical_revision: "v2",
      destination_cluster: "east",
      request_protocol: "http",
      response_code: "207",
      grpc_response_status: "",
      response_flags: "-",
      connection_security_policy: "mutual_tls",
    });
    expect(line).toEndWith(" 1");
    expect(telemetry.size).toBe(0);
  });

  test("gRPC: its status from the trailers, and its messages each way", () => {
    const { telemetry, metrics } = scene();
    const body = new Body({ onResume: () => {}, onCancel: () => {} });
    const answer = new Body({ onResume: () => {}, onCancel: () => {} });
    const exchange = exchangeOf({ request: { fields: ["content-type", "application/grpc"] }, body });
    telemetry.begin(exchange);
    body.push(Uint8Array.of(0, 0, 0, 0, 1, 7, 0, 0, 0, 0, 0));
    exchange.response = { status: 200, fields: [] };
    exchange.responseBody = answer;
    telemetry.answering(exchange);
    answer.push(Uint8Array.of(0, 0, 0, 0, 2, 1));
    answer.push(Uint8Array.of(1));
    answer.finish(["grpc-status", "5"]);
    telemetry.end(exchange);
    const text = writeMetrics(metrics, "prometheus");
    expect(text).toMatch(/istio_requests_total\{.*request_protocol="grpc".*grpc_response_status="5".*\} 1/);
    expect(text).toMatch(/istio_request_messages_total\{.*\} 2/);
    expect(text).toMatch(/istio_response_messages_total\{.*\} 1/);
  });

  test("a client that left has the code 0 and the flag DC; one that was refused has its policy's", () => {
    const { telemetry, metrics, lines } = scene();
    const gone = called();
    telemetry.begin(gone);
    gone.abort(new MeshError("connection_closed", "peer", "gone"));
    telemetry.end(gone);
    const refused = called();
    telemetry.begin(refused);
    refused.reply = localReply(403, "-", "RBAC: access denied", "shop/only-web, rule 1 (policy.yaml:3:1)");
    refused.response = { status: 403, fields: [] };
    telemetry.end(refused);
    expect(writeMetrics(metrics, "prometheus")).toMatch(
      /istio_requests_total\{.*response_code="0".*response_flags="DC"/,
    );
    expect(lines.map(({ level }) => level)).toEqual(["error", "warn"]);
    expect(lines[1]?.fields.detail).toContain("policy.yaml:3:1");
  });
});

describe("the access line", () => {
  test("says who, what and how it ended, and not what is in the query", () => {
    const { telemetry, lines } = scene();
    const exchange = called();
    exchange.rule = ruleOf({ name: "cart.http.0" });
    exchange.user = {
      issuer: "https://issuer",
      subject: "ann",
      audiences: [],
      claims: {},
      expiresAtMs: null,
    };
    telemetry.begin(exchange);
    exchange.response = { status: 200, fields: [] };
    telemetry.end(exchange);
    expect(lines[0]).toMatchObject({
      level: "info",
      fields: {
        method: "GET",
        path: "/secret",
        status: 200,
        route: "cart.http.0",
        "src.identity": "spiffe://cluster.local/ns/shop/sa/web",
        "user.subject": "ann",
        "dst.workload": "cart-1",
        "dst.addr": "10.0.1.1:8080",
      },
    });
    expect(JSON.stringify(lines)).not.toContain("token");
    expect(lines[0]?.fields["request.id"]).toMatch(
      /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
    );
  });

  test("a request id that is there is kept", () => {
    const { telemetry } = scene();
    const exchange = called(["x-request-id", "mine"]);
    telemetry.begin(exchange);
    expect(exchange.request.fields).toEqual(["x-request-id", "mine"]);
  });
});

describe("traces", () => {
  const parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

  test("a caller's trace goes on: our span is its child, and the upstream's parent is ours", async () => {
    const { telemetry, posted, world } = scene(0);
    const exchange = called(["traceparent", parent]);
    telemetry.begin(exchange);
    const sent = field(exchange.request.fields, "traceparent") ?? "";
    expect(sent).toMatch(/^00-4bf92f3577b34da6a3ce929d0e0e4736-[0-9a-f]{16}-01$/);
    expect(sent).not.toBe(parent);
    exchange.response = { status: 503, fields: [] };
    telemetry.end(exchange);
    await world.run(waypointLimits.spanDelayMs + 1);
    const span = JSON.stringify(posted[0]);
    expect(span).toContain(`"spanId":"${sent.split("-")[2]}"`);
    expect(span).toContain('"parentSpanId":"00f067aa0ba902b7"');
    expect(span).toContain('"status":{"code":2}');
  });

  test("a request without one begins one, as often as the sampling says", () => {
    for (const [percent, flag] of [
      [0, "00"],
      [100, "01"],
    ] as const) {
      const { telemetry, spans } = scene(percent);
      const exchange = called();
      telemetry.begin(exchange);
      expect(field(exchange.request.fields, "traceparent")?.split("-")[3]).toBe(flag);
      telemetry.end(exchange);
      expect(spans.waiting).toBe(percent / 100);
    }
  });

  test("without a collector they pass as they came", () => {
    const { telemetry } = scene(null);
    const exchange = called(["traceparent", parent, "x-request-id", "1"]);
    telemetry.begin(exchange);
    expect(exchange.request.fields).toEqual(["traceparent", parent, "x-request-id", "1"]);
  });

  test("a collector that is away costs the bound and is said once; what comes later is sent", async () => {
    let status = 503;
    const { telemetry, spans, world, lines, posted } = scene(100, () => status);
    const some = (count: number) => {
      for (let i = 0; i < count; i++) {
        const exchange = called();
        telemetry.begin(exchange);
        telemetry.end(exchange);
      }
    };
    some(waypointLimits.spanBatch + waypointLimits.maxQueuedSpans);
    expect(spans.waiting).toBe(waypointLimits.maxQueuedSpans);
    some(1);
    expect(spans.lost).toBe(1);
    await world.run(60_000);
    expect(spans.waiting).toBe(0);
    expect(lines.filter(({ fields }) => "url" in fields)).toHaveLength(1);
    status = 200;
    some(1);
    await world.run(120_000);
    expect(spans.sent).toBe(1);
    expect(posted.length).toBeGreaterThan(1);
  });
});

test("messages are counted however their bytes are cut, empty and large ones", () => {
  const bytes = Uint8Array.of(
    0,
    0,
    0,
    0,
    0,
    1,
    0,
    0,
    1,
    0,
    ...new Array(256).fill(9),
    0,
    0,
    0,
    0,
    3,
    1,
    2,
    3,
  );
  for (const size of [1, 2, 3, 7, 300]) {
    const count = new MessageCount();
    for (let at = 0; at < bytes.length; at += size) count.onBytes(bytes.subarray(at, at + size));
    expect(count.messages).toBe(3);
  }
});
