/** All metrics of the node to a collector, from time to time. They are sums since the start, so that what does not arrive is made good by the next. */
import { otlpLimits } from "../../base/limits/otlp.ts";
import type { Logger } from "../../base/log.ts";
import {
  type AnyFamily,
  Counter,
  Gauge,
  type Histogram,
  type MetricRegistry,
  readLabels,
} from "../../base/metrics.ts";
import { TimeSlice } from "../../base/turns/time_slice.ts";
import type { Clock } from "../../host/host.ts";
import type { OtlpMetric, OtlpPoint, OtlpSource } from "../../wire/otlp/items.ts";
import { encodeMetrics } from "../../wire/otlp/otlp.ts";
import type { Collector } from "./collector.ts";

export interface MetricExportOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: MetricRegistry;
  readonly collector: Collector;
  readonly source: OtlpSource;
  readonly intervalMs: number;
  /** Points. */
  readonly sent: Counter;
  readonly lost: Counter;
}

export class MetricExport {
  readonly #options: MetricExportOptions;
  readonly #startMs: number;
  #isRunning = false;
  #isAway = false;

  constructor(options: MetricExportOptions) {
    this.#options = options;
    this.#startMs = options.clock.wallMs();
    this.#arm();
  }

  #arm(): void {
    const { clock, intervalMs } = this.#options;
    clock.setTimer(intervalMs, () => {
      this.#arm();
      this.flush();
    });
  }

  /** Sends all of them now, unless that is under way: a collector that hangs is not asked twice. */
  flush(): void {
    if (this.#isRunning) return;
    this.#isRunning = true;
    void this.#run().finally(() => {
      this.#isRunning = false;
    });
  }

  /** The rest is not sent where a part failed. */
  async #run(): Promise<void> {
    const { clock, metrics, collector, source, sent, lost } = this.#options;
    const interval = { startMs: this.#startMs, endMs: clock.wallMs() };
    const slice = new TimeSlice(clock);
    for (const { part, points } of parts(metrics.collect())) {
      const outcome = await collector.send(encodeMetrics(source, part, interval, collector.encoding));
      if (outcome.kind !== "taken") {
        lost.add(points);
        this.#sayAway(outcome.reason);
        return;
      }
      const rejected = Math.min(outcome.rejected, points);
      sent.add(points - rejected);
      lost.add(rejected);
      await slice.giveWay();
    }
    this.#sayBack();
  }

  #sayAway(error: string): void {
    const { logger, collector } = this.#options;
    if (!this.#isAway)
      logger.log("warn", "otlp", "metrics cannot be sent; they are counted on", {
        url: collector.url,
        error,
      });
    this.#isAway = true;
  }

  #sayBack(): void {
    const { logger, collector } = this.#options;
    if (this.#isAway) logger.log("info", "otlp", "the collector takes metrics again", { url: collector.url });
    this.#isAway = false;
  }
}

/** As many points at a time as one request has. Each is read when its turn comes. */
function* parts(
  families: Iterable<AnyFamily>,
): Generator<{ readonly part: readonly OtlpMetric[]; readonly points: number }> {
  let part: OtlpMetric[] = [];
  let count = 0;
  for (const family of families) {
    let points: OtlpPoint[] = [];
    const close = () => {
      if (points.length > 0)
        part.push({ name: family.name, description: family.help, type: family.type, points });
      points = [];
    };
    for (const [labels, child] of family.series()) {
      points.push({ attributes: readLabels(labels), value: pointValue(child) });
      if (++count < otlpLimits.pointsPerRequest) continue;
      close();
      yield { part, points: count };
      part = [];
      count = 0;
    }
    close();
  }
  if (count > 0) yield { part, points: count };
}

function pointValue(child: Counter | Gauge | Histogram): OtlpPoint["value"] {
  if (child instanceof Counter || child instanceof Gauge) return child.value;
  return {
    count: child.count,
    sum: child.sum,
    bounds: child.bounds,
    counts: [...child.counts],
    exemplars: child.exemplars.flatMap((exemplar) => exemplar ?? []),
  };
}
