/** The first and the last word on each request: its place in a trace when it begins; its metrics, its access line, its log record and its span when it is over. Each once. */
import { formatSocketAddress } from "../../base/ip.ts";
import type { LogFields, Logger } from "../../base/log.ts";
import type { MetricRegistry } from "../../base/metrics.ts";
import type { Clock, Random } from "../../host/host.ts";
import type { OtlpLog, OtlpSpan } from "../../wire/otlp/items.ts";
import { type Downstream, type Exchange, field, type ObservedTrace } from "../exchange.ts";
import type { AccessFormat } from "./access_format.ts";
import { MessageCount } from "./message_count.ts";
import type { OtlpQueue } from "./otlp_queue.ts";
import { RequestMetrics } from "./request_metrics.ts";
import { destinationName, type RequestRecord, recordOf, requestProtocol } from "./request_record.ts";
import type { TelemetryRule } from "./telemetry_rule.ts";
import { readTraceContext, withTraceContext } from "./trace_context.ts";

export interface RequestTelemetryOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: MetricRegistry;
  /** Null: the lines have named fields, like those of connections. */
  readonly format: AccessFormat | null;
  /** What Telemetry documents say of it. */
  readonly rule: (downstream: Downstream) => TelemetryRule;
  /** Log records of requests; null: to no collector. */
  readonly logs: Pick<OtlpQueue<OtlpLog>, "add"> | null;
  /** Null: traces are passed on as they come, and no span is made. */
  readonly tracing: {
    readonly spans: Pick<OtlpQueue<OtlpSpan>, "add">;
    /** How likely a request that comes without a trace begins one, where documents do not say. */
    readonly samplingPercent: number;
  } | null;
}

const idsPerDraw = 128;
const idLength = 36;
/** The digits that begin with the bits 10. */
const variants = ["8", "9", "a", "b"] as const;

export class RequestTelemetry {
  readonly #options: RequestTelemetryOptions;
  readonly #metrics: RequestMetrics;
  /** How many are under way. */
  #open = 0;
  /** Ids one behind the other, not used from `#drawnAt` on. */
  #drawn = "";
  #drawnAt = 0;

  constructor(options: RequestTelemetryOptions) {
    this.#options = options;
    this.#metrics = new RequestMetrics(options.metrics);
  }

  /** Requests that are under way. */
  get size(): number {
    return this.#open;
  }

  begin(exchange: Exchange): void {
    const requestMessages = exchange.isGrpc ? new MessageCount() : null;
    if (requestMessages !== null) exchange.body?.observe(requestMessages);
    exchange.observed = { trace: this.#beginTrace(exchange), requestMessages, responseMessages: null };
    this.#open++;
    if (field(exchange.request.fields, "x-request-id") === null)
      exchange.request.fields.push("x-request-id", this.#requestId());
  }

  /** Of a request that is under way; null without a trace. */
  traceId(exchange: Exchange): string | null {
    return exchange.observed?.trace?.traceId ?? null;
  }

  /** An answer is about to be passed on. */
  answering(exchange: Exchange): void {
    const { observed, responseBody } = exchange;
    if (observed === null || observed.responseMessages !== null) return;
    if (responseBody === null || !exchange.isGrpc) return;
    const count = new MessageCount();
    responseBody.observe(count);
    observed.responseMessages = count;
  }

  end(exchange: Exchange): void {
    const open = exchange.observed;
    if (open === null) return;
    exchange.observed = null;
    this.#open--;
    const { clock, tracing, logs } = this.#options;
    const record = recordOf(exchange, clock.now(), clock.wallMs());
    const rule = this.#options.rule(exchange.downstream);
    const { trace } = open;
    // A trace that is not kept would lead nowhere.
    this.#metrics.count(record, rule.metrics, trace?.sampled === true ? trace : null);
    if (open.requestMessages !== null)
      this.#metrics.countMessages(
        record,
        open.requestMessages.messages,
        open.responseMessages?.messages ?? 0,
        rule.metrics,
      );
    if (rule.isLogged(record)) this.#log(record, trace);
    if (logs !== null && rule.isCollected(record)) logs.add(this.#logRecord(record, trace));
    if (tracing !== null && trace?.sampled === true && rule.hasSpans)
      tracing.spans.add(spanFor(record, trace, rule.spanAttributes?.(record) ?? {}));
  }

  #beginTrace(exchange: Exchange): ObservedTrace | null {
    const { tracing, random } = this.#options;
    if (tracing === null) {
      const seen = readTraceContext(exchange.request.fields);
      return seen === null ? null : { ...seen, sampled: seen.sampled === true, parentId: "" };
    }
    const caller = readTraceContext(exchange.request.fields);
    const { samplingPercent } = this.#options.rule(exchange.downstream);
    const sampled = caller?.sampled ?? random.float() * 100 < (samplingPercent ?? tracing.samplingPercent);
    const trace = {
      traceId: caller?.traceId ?? this.#hex(16),
      spanId: this.#hex(8),
      parentId: caller?.spanId ?? "",
      sampled,
      form: caller?.form ?? ("w3c" as const),
    };
    exchange.request.fields = withTraceContext(exchange.request.fields, trace);
    return trace;
  }

  #hex(bytes: number): string {
    const drawn = new Uint8Array(bytes);
    this.#options.random.fill(drawn);
    return drawn.toHex();
  }

  /** Drawn and written out for many at a time: either for each costs more than all else here. */
  #requestId(): string {
    if (this.#drawnAt >= this.#drawn.length) {
      this.#drawn = requestIds(this.#hex(16 * idsPerDraw));
      this.#drawnAt = 0;
    }
    const from = this.#drawnAt;
    this.#drawnAt = from + idLength;
    return this.#drawn.slice(from, from + idLength);
  }

  #log(record: RequestRecord, trace: ObservedTrace | null): void {
    const { logger, format } = this.#options;
    const level = levelOf(record);
    if (logger.wants?.(level, "access") === false) return;
    if (format === null) logger.log(level, "access", "request complete", lineFields(record, trace));
    else logger.log(level, "access", format(record));
  }

  #logRecord(record: RequestRecord, trace: ObservedTrace | null): OtlpLog {
    const { format } = this.#options;
    const { request } = record.exchange;
    const attributes: Record<string, string | number | boolean> = {};
    for (const [name, value] of Object.entries(lineFields(record, trace)))
      if (value !== null && value !== undefined) attributes[name] = value;
    return {
      wallMs: record.startedWallMs + record.durationMs,
      severity: ({ error: "ERROR", warn: "WARN", info: "INFO" } as const)[levelOf(record)],
      body: format?.(record) ?? `${request.method} ${withoutQuery(request.path)} ${record.status}`,
      attributes,
      traceId: trace?.traceId ?? "",
      spanId: trace?.spanId ?? "",
    };
  }
}

/** RFC 9562 §5.4, version 4, one behind the other. @param digits hexadecimal, 32 for each. */
function requestIds(digits: string): string {
  const ids: string[] = [];
  for (let at = 0; at < digits.length; at += 32) {
    const variant = variants[Number.parseInt(digits.charAt(at + 16), 16) & 3];
    const part = (from: number, to: number) => digits.slice(at + from, at + to);
    ids.push(`${part(0, 8)}-${part(8, 12)}-4${part(13, 16)}-${variant}${part(17, 20)}-${part(20, 32)}`);
  }
  return ids.join("");
}

function levelOf({ status, exchange }: RequestRecord): "error" | "warn" | "info" {
  if (status === 0 || status >= 500) return "error";
  return exchange.reply === null ? "info" : "warn";
}

/** A query may hold a token or a name; a format string says so where an operator wants it in the log. */
function lineFields(record: RequestRecord, trace: ObservedTrace | null): LogFields {
  const { exchange, grpcStatus } = record;
  const { request, downstream, endpoint, rule, user } = exchange;
  const [ip] = endpoint?.workload.addresses ?? [];
  const { side } = downstream.place;
  return {
    ...(side === "waypoint" ? {} : { direction: side }),
    method: request.method,
    host: request.authority,
    path: withoutQuery(request.path),
    protocol: requestProtocol(exchange),
    status: record.status,
    ...(grpcStatus === null ? {} : { "grpc.status": grpcStatus }),
    flags: record.flags,
    detail: record.detail,
    route: rule?.name ?? null,
    attempts: exchange.attempts,
    "src.addr": formatSocketAddress(downstream.source),
    "src.workload": downstream.sourceWorkload?.name ?? null,
    "src.namespace": downstream.sourceWorkload?.namespace ?? downstream.peer?.namespace ?? null,
    "src.identity": downstream.peer?.uri ?? null,
    "user.issuer": user?.issuer ?? null,
    "user.subject": user?.subject ?? null,
    "dst.service": destinationName(exchange),
    "dst.workload": endpoint?.workload.name ?? null,
    "dst.namespace": endpoint?.workload.namespace ?? null,
    "dst.addr":
      endpoint === null || ip === undefined ? null : formatSocketAddress({ ip, port: endpoint.port }),
    bytes_recv: record.requestBytes,
    bytes_sent: record.responseBytes,
    duration: `${Math.round(record.durationMs)}ms`,
    "request.id": field(request.fields, "x-request-id"),
    trace: trace?.traceId ?? null,
  };
}

function withoutQuery(path: string): string {
  const at = path.indexOf("?");
  return at === -1 ? path : path.slice(0, at);
}

/** OpenTelemetry's semantic conventions for HTTP servers: a server's span is in error from 500 on. */
function spanFor(
  record: RequestRecord,
  trace: ObservedTrace,
  others: Readonly<Record<string, string>>,
): OtlpSpan {
  const { exchange, status } = record;
  const { request, downstream, endpoint, rule } = exchange;
  return {
    traceId: trace.traceId,
    spanId: trace.spanId,
    parentId: trace.parentId,
    // A path would make as many names as there are paths.
    name: rule === null ? request.method : `${request.method} ${rule.name}`,
    startedWallMs: record.startedWallMs,
    durationMs: record.durationMs,
    isError: status === 0 || status >= 500,
    attributes: {
      "http.request.method": request.method,
      "url.path": withoutQuery(request.path),
      "url.scheme": request.scheme,
      "server.address": request.authority,
      "http.response.status_code": status,
      "network.protocol.version": request.version,
      "client.address": downstream.source.ip.text,
      "http.request.body.size": record.requestBytes,
      "http.response.body.size": record.responseBytes,
      "http.request.resend_count": Math.max(0, exchange.attempts - 1),
      ...(downstream.peer === null ? {} : { "fairlead.peer": downstream.peer.uri }),
      "fairlead.destination": destinationName(exchange),
      "fairlead.flags": record.flags,
      ...(record.grpcStatus === null
        ? {}
        : { "rpc.system": "grpc", "rpc.grpc.status_code": Number(record.grpcStatus) }),
      ...(endpoint === null ? {} : { "fairlead.endpoint": endpoint.workload.name }),
      ...others,
    },
  };
}
