/** Bounds of what a waypoint sends to collectors of the OpenTelemetry protocol. */
export const otlpLimits = {
  /** Spans that wait for the collector; those beyond are lost and counted. OpenTelemetry's defaults (`OTEL_BSP_*`). */
  maxQueuedSpans: 2_048,
  /** Log records that wait: OpenTelemetry's default is 2,048 (`OTEL_BLRP_*`), a tenth of a second of a busy waypoint. About 2 KB each. */
  maxQueuedLogs: 8_192,
  /** Of spans and of log records in one request. Encoding so many takes some 5 ms. */
  batch: 512,
  /** How long the first of a batch waits for others. */
  delayMs: 5_000,
  timeoutMs: 10_000,
  maxAnswerBytes: 64 * 1024,
  maxHeaders: 32,
  /** Attempts for one batch; then it is lost, since the next is worth more than an old one. */
  maxAttempts: 5,
  backoffStartMs: 1_000,
  backoffMaxMs: 30_000,
  backoffJitter: 0.2,
  /** However long a collector asks to be left alone. */
  maxRetryAfterMs: 60_000,
  /** Points of metrics in one request: a histogram with Istio's labels has some 2 KB. */
  pointsPerRequest: 250,
  /** How often metrics may be sent. */
  minMetricsIntervalMs: 1_000,
} as const;
