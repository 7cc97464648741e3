/** Spans, log records and metrics of a real waypoint, read by a receiver that uses OpenTelemetry's own messages: by HTTP in both encodings, and by grpcio. */
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { join } from "node:path";
import { otlpLimits } from "../../../src/base/limits/otlp.ts";
import { TestAuthority } from "../../peer/lab/authority.ts";
import { Subprocess } from "../../peer/lab/subprocess.ts";
import { findPython, repository } from "../../peer/lab/tools.ts";
import { applicationOf, openSmallStage, type SmallStage } from "../small_stage.ts";

type Tell = (name: string, fault: string | null) => void;

const traceId = "4bf92f3577b34da6a3ce929d0e0e4736";
const callerSpan = "00f067aa0ba902b7";
const protocols = ["http/protobuf", "http/json", "grpc"] as const;
type Protocol = (typeof protocols)[number];
const stageNumbers = { "http/protobuf": 31, "http/json": 32, grpc: 36 } as const;

const telemetry = `---
apiVersion: telemetry.istio.io/v1
kind: Telemetry
metadata: {name: t, namespace: shop}
spec:
  accessLogging: [{providers: [{name: otel}], filter: {expression: "response.code < 500"}}]
  tracing: [{providers: [{name: otel}], customTags: {tier: {header: {name: x-tier, defaultValue: none}}}}]
  metrics: [{providers: [{name: prometheus}], overrides: [{match: {metric: REQUEST_COUNT}, tagOverrides: {tier: {value: "request.headers['x-tier']"}}}]}]
`;

/** @returns why it was skipped; null when it was not. */
export async function tryCollectors(directory: string, tell: Tell): Promise<string | null> {
  const python = findPython(
    "grpc",
    "opentelemetry.proto.collector.trace.v1.trace_service_pb2",
    "prometheus_client",
  );
  if ("missing" in python) return python.missing;
  mkdirSync(directory, { recursive: true });
  const script = (name: string) => join(repository, "conformance/waypoint/telemetry", name);
  const authority = TestAuthority.create(join(directory, "pki"), "collectors");
  const leaf = authority.issue({ name: "collector", subjectAltNames: ["DNS:localhost"] });
  const receiver = Subprocess.start({
    ...{ name: "collector", argv: [python.path, script("collector.py"), leaf.certPath, leaf.keyPath] },
    logPath: join(directory, "collector.log"),
  });
  const servers: ReturnType<typeof createServer>[] = [];
  const stages: SmallStage[] = [];
  const open = async (number: number, name: string, flags: readonly string[]): Promise<SmallStage> => {
    const { address, port } = applicationOf(number);
    const server = createServer((request, response) => {
      request.resume();
      response.end(request.headers.traceparent ?? "");
    });
    servers.push(server.listen(port, address));
    const stage = await openSmallStage(join(directory, name), { number, flags, documents: telemetry });
    stages.push(stage);
    return stage;
  };
  try {
    const { port, ...ports } = JSON.parse(await receiver.waitForLine((line) => line.startsWith("{"), 20_000));
    const base = `http://127.0.0.1:${port}`;
    const headers = join(directory, "headers");
    writeFileSync(headers, "X-Token: t\n");
    for (const protocol of protocols) {
      const before = receiver.lines().length;
      const plain = protocol === "grpc" ? `http://127.0.0.1:${ports.grpc}` : base;
      const stage = await open(stageNumbers[protocol], protocol.replace("/", "_"), [
        ...["--waypoint-traces", protocol === "grpc" ? `https://localhost:${ports.grpcs}` : base],
        ...["--waypoint-logs", plain, "--waypoint-metrics", plain],
        ...["--waypoint-trace-sampling", "0", "--waypoint-metrics-interval", "1s"],
        ...["--waypoint-otlp-protocol", protocol, "--waypoint-otlp-headers", headers],
        ...["--waypoint-otlp-root", authority.certPath],
      ]);
      await useOne(stage);
      const received = await arrivals(receiver, before);
      judge(received, protocol, (name, fault) => tell(`OTLP ${protocol}: ${name}`, fault));
      if (protocol === "http/json")
        await readOpenMetrics(stage, [python.path, script("read_metrics.py")], tell);
      // Its metrics would come between those of the next.
      await stage.stop();
    }
    const before = receiver.lines().length;
    const hanging = await open(33, "hang", [
      ...["--waypoint-traces", `${base}/hang/t`, "--waypoint-logs", `${base}/hang/l`],
      ...["--waypoint-metrics", `${base}/hang/m`, "--waypoint-metrics-interval", "1s"],
    ]);
    await tryHanging(hanging, receiver, before, tell);
  } finally {
    await Promise.all(stages.map((stage) => stage.stop()));
    for (const server of servers) server.close();
    receiver.endInput();
    await receiver.stop();
  }
  return null;
}

async function useOne(stage: SmallStage): Promise<void> {
  const traceparent = `00-${traceId}-${callerSpan}-01`;
  const answer = await fetch(`${stage.url}/items?secret=1`, {
    headers: { traceparent, "x-tier": "gold", host: "web.shop.mesh" },
  });
  await answer.text();
  if (answer.status !== 200) throw new Error(`${answer.status}: ${stage.log().split("\n").at(-2)}`);
}

type Json = Readonly<Record<string, unknown>>;

interface Received {
  readonly path: string;
  readonly kind?: string;
  readonly token?: string;
  readonly error?: string;
  readonly message?: Json;
  /** The receiver has not taken it, and said so. */
  readonly later?: boolean;
}

/** Until all three signals have come, and metrics twice: those of before the request do not count it. */
async function arrivals(receiver: Subprocess, from: number): Promise<readonly Received[]> {
  const until = Date.now() + 30_000;
  for (;;) {
    const received = receiver
      .lines()
      .slice(from)
      .flatMap((line): Received[] => (line.startsWith("{") ? [JSON.parse(line)] : []));
    const paths = new Set(received.flatMap(({ path, later }) => (later === true ? [] : [path])));
    const isCounted = received.some(({ path, message }) => path === "/v1/metrics" && found(message, traceId));
    if (paths.size === 3 && isCounted) return received;
    if (received.some(({ error }) => error !== undefined) || Date.now() > until) return received;
    await Bun.sleep(100);
  }
}

function found(value: unknown, text: string): boolean {
  return JSON.stringify(value ?? null).includes(text);
}

function judge(received: readonly Received[], protocol: Protocol, tell: Tell): void {
  const kindOf = (path: string): string => {
    if (protocol === "grpc") return `grpc ${path === "/v1/traces" ? "https" : "http"} application/grpc`;
    return protocol === "http/json" ? "application/json" : "application/x-protobuf";
  };
  const wrong = received.find(
    (one) => one.error !== undefined || one.kind !== kindOf(one.path) || one.token !== "t",
  );
  const { path, kind, error, token } = wrong ?? {};
  tell(
    "every request can be read, and has our header",
    wrong === undefined ? null : JSON.stringify({ path, kind, error, token }),
  );
  const of = (signal: string): unknown => received.filter(({ path }) => path === `/v1/${signal}`);
  const expect = (name: string, value: unknown, texts: readonly string[]): void => {
    const missing = texts.find((text) => !found(value, text));
    tell(
      name,
      missing === undefined ? null : `${missing} is not in ${JSON.stringify(value).slice(0, 2_000)}`,
    );
  };
  const attribute = (key: string, value: string) => `{"key":"${key}","value":{"stringValue":"${value}"}}`;
  expect("a span, as the caller's child, with the service's name and a document's tag", of("traces"), [
    ...[`"traceId":"${traceId}"`, `"parentSpanId":"${callerSpan}"`, '"kind":"SPAN_KIND_SERVER"'],
    ...[
      attribute("service.name", "waypoint.shop"),
      attribute("tier", "gold"),
      attribute("url.path", "/items"),
    ],
    attribute("istio.canonical_service", "web"),
  ]);
  expect("a log record with its trace and what the line has", of("logs"), [
    ...[`"traceId":"${traceId}"`, '"severityText":"INFO"', '"body":{"stringValue":"GET /items 200"}'],
    ...[attribute("dst.workload", "web"), '{"key":"status","value":{"intValue":"200"}}'],
  ]);
  if (protocol === "grpc") {
    const logs = received.filter(({ path: at }) => at === "/v1/logs");
    const isRepeated = logs[0]?.later === true && logs.some(({ later }) => later === false);
    tell(
      "log records that are told to come later do",
      isRepeated ? null : JSON.stringify(logs).slice(0, 500),
    );
  }
  tell("no query in any of it", found(received, "secret=1") ? "the query is told" : null);
  expect("sums and histograms since the start, a label of a document, an exemplar", of("metrics"), [
    ...['"name":"istio_requests"', '"isMonotonic":true', '"AGGREGATION_TEMPORALITY_CUMULATIVE"'],
    ...[attribute("reporter", "waypoint"), attribute("tier", "gold"), '"explicitBounds"'],
    `"traceId":"${traceId}"`,
  ]);
}

async function readOpenMetrics(stage: SmallStage, reader: readonly string[], tell: Tell): Promise<void> {
  const accept = "application/openmetrics-text; version=1.0.0";
  const text = await (await fetch(stage.metricsUrl, { headers: { accept } })).text();
  const child = Bun.spawn([...reader], {
    stdin: new TextEncoder().encode(text),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [out, error] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  const name = "OpenMetrics: Prometheus' own parser reads all of it, and the exemplar";
  const isThere = out
    .split("\n")
    .some((line) => line.includes("istio_request_duration_milliseconds_bucket") && line.includes(traceId));
  tell(name, isThere ? null : `${out.slice(0, 500)} ${error.slice(-500)}`);
  const plain = await (await fetch(stage.metricsUrl)).text();
  tell("the older text format has no exemplars", plain.includes(traceId) ? "there is one" : null);
}

/** A collector that takes requests and never answers. */
async function tryHanging(stage: SmallStage, receiver: Subprocess, from: number, tell: Tell): Promise<void> {
  const openedMs = Date.now();
  await useOne(stage);
  await Bun.sleep(6_000);
  const startedMs = Date.now();
  let failed = 0;
  for (let i = 0; i < 300; i++) {
    const answer = await fetch(stage.url, { headers: { traceparent: `00-${traceId}-${callerSpan}-01` } });
    if (answer.status !== 200) failed++;
    await answer.text();
  }
  const tookMs = Date.now() - startedMs;
  tell(
    "a collector that hangs: 300 requests are answered, none of them late",
    failed === 0 && tookMs < 9_000 ? null : `${failed} failed, ${tookMs} ms in all`,
  );
  const asked = receiver.lines().slice(from);
  const most = ["/hang/t", "/hang/l", "/hang/m"].map(
    (path) => asked.filter((line) => line.includes(path)).length,
  );
  // Each is given up after its time; metrics have been asked for since the stage stood, a few seconds before.
  const allowed = 2 + Math.floor((Date.now() - openedMs) / otlpLimits.timeoutMs);
  tell(
    "and it is asked again only when it has had its time",
    most.every((count) => count >= 1 && count <= allowed) ? null : `requests by signal: ${most.join(", ")}`,
  );
}
