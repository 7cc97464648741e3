/**
 * Requests of the OpenTelemetry protocol (opentelemetry.io, "OTLP Specification"; `opentelemetry/proto/{trace,logs,metrics}/v1`), in both of
 * its encodings. Written by hand: the OpenTelemetry SDK keeps clocks, timers and queues of its own, and encoding by reflection would cost
 * each access line more than its request.
 */
import { binaryRejected, binaryRequest, writeLog, writeMessage, writeMetric, writeSpan } from "./binary.ts";
import type { OtlpEncoding, OtlpInterval, OtlpLog, OtlpMetric, OtlpSource, OtlpSpan } from "./items.ts";
import { jsonLog, jsonMetric, jsonRejected, jsonRequest, jsonSpan } from "./json.ts";

/** @returns an `ExportTraceServiceRequest`. */
export function encodeSpans(
  source: OtlpSource,
  spans: readonly OtlpSpan[],
  encoding: OtlpEncoding,
): Uint8Array {
  if (encoding === "json")
    return jsonRequest(source, "resourceSpans", "scopeSpans", "spans", spans.map(jsonSpan));
  return binaryRequest(source, (writer) => {
    for (const span of spans) writeMessage(writer, 2, span, writeSpan);
  });
}

/** @returns an `ExportLogsServiceRequest`. */
export function encodeLogs(source: OtlpSource, logs: readonly OtlpLog[], encoding: OtlpEncoding): Uint8Array {
  if (encoding === "json")
    return jsonRequest(source, "resourceLogs", "scopeLogs", "logRecords", logs.map(jsonLog));
  return binaryRequest(source, (writer) => {
    for (const log of logs) writeMessage(writer, 2, log, writeLog);
  });
}

/** @returns an `ExportMetricsServiceRequest`. */
export function encodeMetrics(
  source: OtlpSource,
  metrics: readonly OtlpMetric[],
  interval: OtlpInterval,
  encoding: OtlpEncoding,
): Uint8Array {
  if (encoding === "json") {
    const items = metrics.map((metric) => jsonMetric(metric, interval));
    return jsonRequest(source, "resourceMetrics", "scopeMetrics", "metrics", items);
  }
  return binaryRequest(source, (writer) => {
    for (const metric of metrics)
      writeMessage(writer, 2, metric, (inner) => writeMetric(inner, metric, interval));
  });
}

/** What a collector says in a success: how many items it did not take ("Partial Success"). A body that is none of its messages says none. */
export function rejectedItems(body: Uint8Array, encoding: OtlpEncoding): number {
  try {
    const count = encoding === "json" ? jsonRejected(body) : binaryRejected(body);
    return Number.isSafeInteger(count) && count > 0 ? count : 0;
  } catch {
    return 0;
  }
}
