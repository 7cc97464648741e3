/** What is told of the requests to one service, compiled of Telemetry documents (`../telemetry_rules.ts`). */
import type { RequestRecord } from "./request_record.ts";

export interface TelemetryRule {
  /** Whether a request has a line in the log. */
  readonly isLogged: (record: RequestRecord) => boolean;
  /** Whether it has a log record at the collector, where there is one. */
  readonly isCollected: (record: RequestRecord) => boolean;
  /** Of requests that come without a trace; null: the waypoint's setting. */
  readonly samplingPercent: number | null;
  /** False: no spans, whoever began the trace. */
  readonly hasSpans: boolean;
  /** Attributes of spans beside the usual ones; null for none. */
  readonly spanAttributes: ((record: RequestRecord) => Readonly<Record<string, string>>) | null;
  /** Null: all of Istio's metrics count it, with all of their labels. */
  readonly metrics: MetricRule | null;
}

export interface MetricRule {
  /** Whose documents it comes of: label sets are shared out by it. */
  readonly namespace: string;
  /** By Istio's names: `REQUEST_COUNT` and so on. */
  readonly disabled: ReadonlySet<string>;
  /**
   * Labels in place of the usual ones, by the metric's name and the label's; null takes a label away. Null when there are none at all, as
   * for nearly every document.
   */
  readonly tags: ((record: RequestRecord) => ReadonlyMap<string, Tags>) | null;
}

export type Tags = ReadonlyMap<string, string | null>;
