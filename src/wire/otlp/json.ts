/** The JSON encoding ("JSON Protobuf Encoding"). */
import {
  cumulative,
  nanos,
  type OtlpInterval,
  type OtlpLog,
  type OtlpMetric,
  type OtlpPoint,
  type OtlpSource,
  type OtlpSpan,
  severityNumbers,
  spanKindServer,
  statusError,
} from "./items.ts";

export function jsonRejected(body: Uint8Array): number {
  const answer: unknown = JSON.parse(new TextDecoder().decode(body));
  if (typeof answer !== "object" || answer === null || !("partialSuccess" in answer)) return 0;
  const { partialSuccess } = answer;
  if (typeof partialSuccess !== "object" || partialSuccess === null) return 0;
  const counts = Object.entries(partialSuccess).filter(([name]) => name.startsWith("rejected"));
  return Number(counts[0]?.[1] ?? 0);
}

/** Ids are hexadecimal, 64-bit integers are strings, and enumerations are numbers (OTLP Specification, "JSON Protobuf Encoding"). */
export function jsonRequest(
  { resource, scope, version }: OtlpSource,
  resources: string,
  scopes: string,
  items: string,
  values: readonly unknown[],
): Uint8Array {
  const request = {
    [resources]: [
      {
        resource: { attributes: jsonAttributes(Object.entries(resource)) },
        [scopes]: [{ scope: { name: scope, version }, [items]: values }],
      },
    ],
  };
  return new TextEncoder().encode(JSON.stringify(request));
}

function jsonTime(ms: number): string {
  return String(nanos(ms));
}

function jsonAttributes(entries: readonly (readonly [string, string | number | boolean])[]): unknown[] {
  return entries.map(([key, value]) => ({ key, value: jsonValue(value) }));
}

function jsonValue(value: string | number | boolean): unknown {
  if (typeof value === "string") return { stringValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  return Number.isSafeInteger(value) ? { intValue: String(value) } : { doubleValue: value };
}

export function jsonSpan(span: OtlpSpan): unknown {
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    ...(span.parentId === "" ? {} : { parentSpanId: span.parentId }),
    name: span.name,
    kind: spanKindServer,
    startTimeUnixNano: jsonTime(span.startedWallMs),
    endTimeUnixNano: jsonTime(span.startedWallMs + span.durationMs),
    attributes: jsonAttributes(Object.entries(span.attributes)),
    status: span.isError ? { code: statusError } : {},
  };
}

export function jsonLog(log: OtlpLog): unknown {
  return {
    timeUnixNano: jsonTime(log.wallMs),
    observedTimeUnixNano: jsonTime(log.wallMs),
    severityNumber: severityNumbers[log.severity],
    severityText: log.severity,
    body: jsonValue(log.body),
    attributes: jsonAttributes(Object.entries(log.attributes)),
    ...(log.traceId === "" ? {} : { traceId: log.traceId, spanId: log.spanId }),
  };
}

export function jsonMetric({ name, description, type, points }: OtlpMetric, interval: OtlpInterval): unknown {
  const dataPoints = points.map((point) => jsonPoint(point, interval));
  if (type === "gauge") return { name, description, gauge: { dataPoints } };
  const data = { dataPoints, aggregationTemporality: cumulative };
  return type === "counter"
    ? { name, description, sum: { ...data, isMonotonic: true } }
    : { name, description, histogram: data };
}

function jsonPoint({ attributes, value }: OtlpPoint, { startMs, endMs }: OtlpInterval): unknown {
  const common = {
    startTimeUnixNano: jsonTime(startMs),
    timeUnixNano: jsonTime(endMs),
    attributes: jsonAttributes(attributes),
  };
  if (typeof value === "number") return { ...common, asDouble: value };
  return {
    ...common,
    count: String(value.count),
    sum: value.sum,
    bucketCounts: value.counts.map(String),
    explicitBounds: value.bounds,
    exemplars: value.exemplars.map((exemplar) => ({
      timeUnixNano: jsonTime(exemplar.wallMs),
      asDouble: exemplar.value,
      traceId: exemplar.traceId,
      spanId: exemplar.spanId,
    })),
  };
}
