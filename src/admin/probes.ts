/** What other machines ask: metrics (15020) and readiness (15021). */
import { Hono } from "hono";
import type { MetricSource } from "../base/metrics.ts";
import { metricsContentType, negotiateMetricsFormat, writeMetrics } from "../base/metrics_text.ts";

/** @param sources `refresh` hears of other processes what they have counted. */
export function createMetricsApp(sources: {
  readonly metrics: MetricSource;
  refresh?(): Promise<void>;
}): Hono {
  const app = new Hono();
  for (const path of ["/metrics", "/stats/prometheus"]) {
    app.get(path, async (context) => {
      await sources.refresh?.();
      const format = negotiateMetricsFormat(context.req.header("accept") ?? null);
      return context.body(writeMetrics(sources.metrics, format), 200, {
        "content-type": metricsContentType[format],
      });
    });
  }
  return app;
}

/** 200 `ready`, or 500 with the names of what is still awaited, as ztunnel answers. */
export function createReadinessApp(sources: { pending(): readonly string[] }): Hono {
  const app = new Hono();
  app.get("/healthz/ready", (context) => {
    const pending = sources.pending();
    return pending.length === 0
      ? context.text("ready\n")
      : context.text(`not ready, pending: ${pending.join(", ")}\n`, 500);
  });
  return app;
}
