import { describe, expect, spyOn, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { waypointLimits } from "../../base/limits/waypoint.ts";
import type { LogFields } from "../../base/log.ts";
import { MetricFamily, MetricRegistry } from "../../base/metrics.ts";
import { writeMetrics } from "../../base/metrics_text.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import { ip, service, workload } from "../../mesh/testing/fixture.ts";
import type { OtlpLog, OtlpSpan } from "../../wire/otlp/items.ts";
import { Body } from "../body.ts";
import { Exchange, field } from "../exchange.ts";
import { localReply } from "../local_reply.ts";
import { noTelemetryRule } from "../telemetry_rules.ts";
import { exchangeOf, ruleOf } from "../testing/exchanges.ts";
import { MessageCount } from "./message_count.ts";
import { RequestTelemetry } from "./request_telemetry.ts";
import type { TelemetryRule } from "./telemetry_rule.ts";

function scene(samplingPercent: number | null = null, rule: Partial<TelemetryRule> = {}) {
  const world = new MemoryWorld(1);
  const { clock, random } = world.host("waypoint", { addresses: ["10.0.0.1"] });
  const metrics = new MetricRegistry();
  const lines: { level: string; fields: LogFields }[] = [];
  const spans: OtlpSpan[] = [];
  const logs: OtlpLog[] = [];
  const logger = {
    log: (level: string, _target: string, _message: string, fields: LogFields = {}) =>
      lines.push({ level, fields }),
  };
  const telemetry = new RequestTelemetry({
    clock,
    random,
    logger,
    metrics,
    format: null,
    rule: () => ({ ...noTelemetryRule, ...rule }),
    logs: { add: (log) => void logs.push(log) },
    tracing:
      samplingPercent === null ? null : { spans: { add: (span) => void spans.push(span) }, samplingPercent },
  });
  return { world, telemetry, metrics, lines, spans, logs };
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

  test("gRPC: calls of one outcome look for their series by its labels once, and what is disabled has none", () => {
    const { telemetry, metrics } = scene(null, {
      metrics: { namespace: "shop", disabled: new Set(["GRPC_RESPONSE_MESSAGES"]), tags: null },
    });
    const { downstream, request } = exchangeOf({ request: { fields: ["content-type", "application/grpc"] } });
    const call = (status: string) => {
      const body = new Body({ onResume: () => {}, onCancel: () => {} });
      const exchange = new Exchange(downstream, { ...request, fields: [...request.fields] }, body, 0);
      telemetry.begin(exchange);
      exchange.body?.push(new Uint8Array(5));
      exchange.response = { status: 200, fields: ["grpc-status", status] };
      telemetry.end(exchange);
    };
    call("0");
    call("5");
    const looks = spyOn(MetricFamily.prototype, "with");
    for (let i = 0; i < 3; i++) for (const status of ["0", "5"]) call(status);
    expect(looks).not.toHaveBeenCalled();
    looks.mockRestore();
    const text = writeMetrics(metrics, "prometheus");
    for (const status of ["0", "5"])
      expect(text).toMatch(
        new RegExp(`istio_request_messages_total\\{.*grpc_response_status="${status}".*\\} 4`),
      );
    expect(text).not.toContain("istio_response_messages_total{");
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

  test("ids of a thousand requests are of version 4, each another, whatever was drawn together", () => {
    const { telemetry } = scene();
    const ids = Array.from({ length: 1000 }, () => {
      const exchange = called();
      telemetry.begin(exchange);
      return field(exchange.request.fields, "x-request-id") ?? "";
    });
    for (const id of ids)
      expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(new Set(ids).size).toBe(1000);
    expect(new Set(ids.map((id) => id[19])).size).toBe(4);
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

  test("a caller's trace goes on: our span is its child, and the upstream's parent is ours", () => {
    const { telemetry, spans } = scene(0);
    const exchange = called(["traceparent", parent]);
    telemetry.begin(exchange);
    const sent = field(exchange.request.fields, "traceparent") ?? "";
    expect(sent).toMatch(/^00-4bf92f3577b34da6a3ce929d0e0e4736-[0-9a-f]{16}-01$/);
    expect(sent).not.toBe(parent);
    exchange.response = { status: 503, fields: [] };
    telemetry.end(exchange);
    expect(spans[0]).toMatchObject({
      spanId: sent.split("-")[2] ?? "",
      parentId: "00f067aa0ba902b7",
      isError: true,
      attributes: {
        "istio.canonical_service": "cart",
        "istio.namespace": "store",
        "istio.cluster_id": "east",
      },
    });
  });

  test("no span where documents want none, and what they add to one", () => {
    const silent = scene(100, { hasSpans: false });
    const adding = scene(100, { spanAttributes: () => ({ tier: "gold" }) });
    for (const { telemetry } of [silent, adding]) {
      const exchange = called(["traceparent", parent]);
      telemetry.begin(exchange);
      telemetry.end(exchange);
    }
    expect(silent.spans).toEqual([]);
    expect(adding.spans[0]?.attributes.tier).toBe("gold");
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
      expect(spans.length).toBe(percent / 100);
    }
  });

  test("without a collector they pass as they came", () => {
    const { telemetry } = scene(null);
    const exchange = called(["traceparent", parent, "x-request-id", "1"]);
    telemetry.begin(exchange);
    expect(exchange.request.fields).toEqual(["traceparent", parent, "x-request-id", "1"]);
  });

  test("documents say how many begin one, in place of the setting", () => {
    const { telemetry, spans } = scene(0, { samplingPercent: 100 });
    const exchange = called();
    telemetry.begin(exchange);
    telemetry.end(exchange);
    expect(spans.length).toBe(1);
  });
});

describe("log records for a collector", () => {
  test("have what the line has, and the trace; a rule decides on them by itself", () => {
    const { telemetry, logs, lines } = scene(100, { isLogged: () => false });
    const exchange = called();
    telemetry.begin(exchange);
    exchange.response = { status: 503, fields: [] };
    telemetry.end(exchange);
    expect(lines).toEqual([]);
    expect(logs[0]).toMatchObject({ severity: "ERROR", body: "GET /secret 503" });
    expect(logs[0]?.attributes).toMatchObject({ method: "GET", status: 503, "dst.workload": "cart-1" });
    expect(logs[0]?.attributes.route).toBeUndefined();
    expect(logs[0]?.traceId).toMatch(/^[0-9a-f]{32}$/);
    const none = scene(null, { isCollected: () => false });
    none.telemetry.begin(exchange);
    none.telemetry.end(exchange);
    expect([none.logs.length, none.lines.length]).toEqual([0, 1]);
  });
});

describe("exemplars", () => {
  const sampled = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
  const bucketOf = (metrics: MetricRegistry, format: "openmetrics" | "prometheus") =>
    writeMetrics(metrics, format)
      .split("\n")
      .filter(
        (line) => line.startsWith("istio_request_duration_milliseconds_bucket") && line.includes("# {"),
      );

  test("the duration of a request with a trace that is kept names it, in OpenMetrics alone", () => {
    for (const percent of [0, null]) {
      const { telemetry, metrics } = scene(percent);
      const exchange = called(["traceparent", sampled]);
      telemetry.begin(exchange);
      telemetry.end(exchange);
      const [line = "", ...others] = bucketOf(metrics, "openmetrics");
      expect(others).toEqual([]);
      expect(line).toMatch(
        /le="0\.5"\} 1 # \{trace_id="4bf92f3577b34da6a3ce929d0e0e4736",span_id="[0-9a-f]{16}"\} 0 \d+\.\d{3}$/,
      );
      expect(bucketOf(metrics, "prometheus")).toEqual([]);
    }
  });

  test("a trace that is not kept is none", () => {
    const { telemetry, metrics } = scene(0);
    const exchange = called();
    telemetry.begin(exchange);
    telemetry.end(exchange);
    expect(bucketOf(metrics, "openmetrics")).toEqual([]);
  });
});

describe("labels that documents ask for", () => {
  const counts = (metrics: MetricRegistry) =>
    writeMetrics(metrics, "prometheus")
      .split("\n")
      .filter((line) => line.startsWith("istio_requests_total{"));
  const counting = (telemetry: RequestTelemetry, path: string) => {
    const exchange = called();
    exchange.request.path = path;
    telemetry.begin(exchange);
    telemetry.end(exchange);
  };

  test("take the place of the usual ones, are added, or are away, of the metric they are for", () => {
    const tags = new Map([
      ["source_app", "mine"],
      ["tier", "gold"],
      ["source_version", null],
    ] as const);
    const { telemetry, metrics } = scene(null, {
      metrics: {
        namespace: "shop",
        disabled: new Set(["REQUEST_SIZE"]),
        tags: () => new Map([["REQUEST_COUNT", tags]]),
      },
    });
    counting(telemetry, "/");
    const [line = ""] = counts(metrics);
    expect(line).toContain('source_app="mine"');
    expect(line).toContain('tier="gold"');
    expect(line).not.toContain("source_version=");
    const text = writeMetrics(metrics, "prometheus");
    expect(text).toMatch(
      /istio_request_duration_milliseconds_count\{.*source_app="web".*source_version="v1"/,
    );
    expect(text).not.toMatch(/istio_request_bytes_count\{.*\} 1/);
  });

  test("of one namespace make a bounded number of label sets; those beyond share one", () => {
    const { telemetry, metrics } = scene(null, {
      metrics: {
        namespace: "shop",
        disabled: new Set(),
        tags: ({ exchange }) => new Map([["REQUEST_COUNT", new Map([["path", exchange.request.path]])]]),
      },
    });
    for (let i = 0; i < waypointLimits.maxTaggedSeries + 50; i++) counting(telemetry, `/${i}`);
    const lines = counts(metrics);
    expect(lines.length).toBe(waypointLimits.maxTaggedSeries + 1);
    expect(lines.find((line) => line.includes('path="overflow"'))).toEndWith(" 50");
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
