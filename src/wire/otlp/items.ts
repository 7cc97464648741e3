/** What is told by the OpenTelemetry protocol: spans, log records and points of metrics. */

export type OtlpEncoding = "protobuf" | "json";

export const otlpContentType: Readonly<Record<OtlpEncoding, string>> = {
  protobuf: "application/x-protobuf",
  json: "application/json",
};

/** What is not whole is a double. */
export type OtlpAttributes = Readonly<Record<string, string | number | boolean>>;

export interface OtlpSource {
  /** Of the resource: `service.name` and so on. */
  readonly resource: OtlpAttributes;
  readonly scope: string;
  readonly version: string;
}

export interface OtlpSpan {
  /** 32 hexadecimal digits. */
  readonly traceId: string;
  /** 16. */
  readonly spanId: string;
  /** "" for the first of a trace. */
  readonly parentId: string;
  readonly name: string;
  /** Milliseconds since the Unix epoch. */
  readonly startedWallMs: number;
  readonly durationMs: number;
  readonly isError: boolean;
  readonly attributes: OtlpAttributes;
}

export interface OtlpLog {
  readonly wallMs: number;
  readonly severity: "INFO" | "WARN" | "ERROR";
  readonly body: string;
  readonly attributes: OtlpAttributes;
  /** "" for none. */
  readonly traceId: string;
  readonly spanId: string;
}

export interface OtlpExemplar {
  readonly value: number;
  readonly wallMs: number;
  readonly traceId: string;
  readonly spanId: string;
}

export interface OtlpPoint {
  readonly attributes: readonly (readonly [name: string, value: string])[];
  readonly value:
    | number
    | {
        readonly count: number;
        readonly sum: number;
        /** One fewer than there are counts. */
        readonly bounds: readonly number[];
        /** Of each bucket by itself, not cumulative. */
        readonly counts: readonly number[];
        readonly exemplars: readonly OtlpExemplar[];
      };
}

export interface OtlpMetric {
  readonly name: string;
  readonly description: string;
  readonly type: "counter" | "gauge" | "histogram";
  readonly points: readonly OtlpPoint[];
}

/** Of all points: when counting began, and when it was read. Milliseconds since the Unix epoch. */
export interface OtlpInterval {
  readonly startMs: number;
  readonly endMs: number;
}

/** SEVERITY_NUMBER of `logs.proto`. */
export const severityNumbers = { INFO: 9, WARN: 13, ERROR: 17 } as const;
/** `Span.SpanKind`, `Status.StatusCode`, `AggregationTemporality`. */
export const spanKindServer = 2;
export const statusError = 2;
export const cumulative = 2;

export function nanos(ms: number): bigint {
  const whole = Math.floor(ms);
  return BigInt(whole) * 1_000_000n + BigInt(Math.floor((ms - whole) * 1_000_000));
}
