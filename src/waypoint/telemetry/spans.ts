/**
 * Spans of requests, sent to a collector in batches as the OpenTelemetry protocol's JSON over HTTP (opentelemetry.io, "OTLP Specification";
 * attributes by its semantic conventions for HTTP). A collector that is away or slow costs a bounded queue and nothing else.
 */
import { MeshError } from "../../base/errors.ts";
import { waypointLimits } from "../../base/limits/waypoint.ts";
import type { Logger } from "../../base/log.ts";
import type { Clock, HttpClient, Timer } from "../../host/host.ts";

export interface Span {
  readonly traceId: string;
  readonly spanId: string;
  /** "" for the first of a trace. */
  readonly parentId: string;
  readonly name: string;
  readonly startedWallMs: number;
  readonly durationMs: number;
  readonly isError: boolean;
  readonly attributes: Readonly<Record<string, string | number>>;
}

export interface SpanExportOptions {
  readonly clock: Clock;
  readonly http: HttpClient;
  readonly logger: Logger;
  /** `http://collector:4318/v1/traces`. */
  readonly url: string;
  /** `service.name` of the resource. */
  readonly serviceName: string;
  readonly version: string;
}

export class SpanExport {
  readonly #options: SpanExportOptions;
  #queue: Span[] = [];
  #timer: Timer | null = null;
  #isSending = false;
  #isClosed = false;
  #wasAway = false;
  /** Spans that were not sent. */
  lost = 0;
  sent = 0;

  constructor(options: SpanExportOptions) {
    this.#options = options;
  }

  get waiting(): number {
    return this.#queue.length;
  }

  add(span: Span): void {
    if (this.#isClosed) return;
    if (this.#queue.length >= waypointLimits.maxQueuedSpans) {
      this.lost++;
      return;
    }
    this.#queue.push(span);
    if (this.#queue.length >= waypointLimits.spanBatch) this.#flush();
    else this.#timer ??= this.#options.clock.setTimer(waypointLimits.spanDelayMs, () => this.#flush());
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  #flush(): void {
    this.#timer?.cancel();
    this.#timer = null;
    if (this.#isSending || this.#queue.length === 0) return;
    this.#isSending = true;
    const batch = this.#queue.splice(0, waypointLimits.spanBatch);
    this.#send(batch).then(() => {
      this.#isSending = false;
      if (this.#isClosed || this.#queue.length === 0) return;
      if (this.#queue.length >= waypointLimits.spanBatch && !this.#wasAway) this.#flush();
      else this.#timer ??= this.#options.clock.setTimer(waypointLimits.spanDelayMs, () => this.#flush());
    });
  }

  /** Never rejects. A batch that could not be sent is lost: the next one is worth more than an old one. */
  async #send(batch: readonly Span[]): Promise<void> {
    const { http, url, logger } = this.#options;
    try {
      const { status } = await http.send({
        method: "POST",
        url,
        headers: { "content-type": "application/json" },
        body: new TextEncoder().encode(JSON.stringify(this.#request(batch))),
        timeoutMs: waypointLimits.spanTimeoutMs,
        maxResponseBytes: waypointLimits.maxCollectorAnswerBytes,
        // Named by who runs the waypoint, in its own settings, and mostly a private address.
        reach: "any",
      });
      if (status < 200 || status > 299)
        throw new MeshError("http_protocol", "upstream", `the collector answered ${status}`);
      this.sent += batch.length;
      if (this.#wasAway) logger.log("info", "tracing", "the collector of traces takes spans again", { url });
      this.#wasAway = false;
    } catch (error) {
      this.lost += batch.length;
      if (!this.#wasAway)
        logger.log("warn", "tracing", "spans cannot be sent and are lost meanwhile", {
          url,
          error: error instanceof Error ? error.message : String(error),
        });
      this.#wasAway = true;
    }
  }

  #request(batch: readonly Span[]): unknown {
    const { serviceName, version } = this.#options;
    const resource = { "service.name": serviceName, "service.version": version };
    return {
      resourceSpans: [
        {
          resource: { attributes: attributes(resource) },
          scopeSpans: [{ scope: { name: "fairlead.waypoint", version }, spans: batch.map(spanOf) }],
        },
      ],
    };
  }
}

/** `opentelemetry/proto/trace/v1/trace.proto`: SPAN_KIND_SERVER is 2, STATUS_CODE_ERROR is 2. Ids are hexadecimal in this encoding. */
function spanOf(span: Span): unknown {
  const end = span.startedWallMs + span.durationMs;
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    ...(span.parentId === "" ? {} : { parentSpanId: span.parentId }),
    name: span.name,
    kind: 2,
    startTimeUnixNano: nanos(span.startedWallMs),
    endTimeUnixNano: nanos(end),
    attributes: attributes(span.attributes),
    status: span.isError ? { code: 2 } : {},
  };
}

/** 64-bit integers are strings (OTLP Specification, "JSON Protobuf Encoding"). */
function nanos(ms: number): string {
  return `${BigInt(Math.floor(ms)) * 1_000_000n + BigInt(Math.floor((ms % 1) * 1_000_000))}`;
}

function attributes(values: Readonly<Record<string, string | number>>): unknown[] {
  return Object.entries(values).map(([key, value]) => ({
    key,
    value: typeof value === "number" ? { intValue: String(value) } : { stringValue: value },
  }));
}
