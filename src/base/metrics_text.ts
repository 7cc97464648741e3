/** The two text formats of metrics: OpenMetrics 1.0 and the older Prometheus text format 0.0.4. */
import {
  type AnyFamily,
  Counter,
  type Counts,
  type Exemplar,
  Gauge,
  Histogram,
  type MetricSource,
} from "./metrics.ts";

export type MetricsFormat = "openmetrics" | "prometheus";

/** What the response's `content-type` says. */
export const metricsContentType: Readonly<Record<MetricsFormat, string>> = {
  openmetrics: "application/openmetrics-text; version=1.0.0; charset=utf-8",
  prometheus: "text/plain; version=0.0.4; charset=utf-8",
};

/** OpenMetrics only for a scraper that asks for it by name with a weight that is not 0 (RFC 9110 §12.5.1). */
export function negotiateMetricsFormat(accept: string | null): MetricsFormat {
  for (const range of (accept ?? "").split(",")) {
    const [type = "", ...parameters] = range.split(";").map((part) => part.trim().toLowerCase());
    if (type !== "application/openmetrics-text") continue;
    const weight = parameters.find((parameter) => parameter.startsWith("q="));
    if (weight === undefined || Number(weight.slice(2)) > 0) return "openmetrics";
  }
  return "prometheus";
}

const none: ReadonlyMap<string, Counts> = new Map();

/** Every metric of `source` as text. The same numbers in either format; only names and framing differ. */
export function writeMetrics(source: MetricSource, format: MetricsFormat): string {
  const lines: string[] = [];
  for (const family of source.collect()) {
    const inherited = source.inherited?.of(family.name) ?? none;
    writeFamily(lines, family, format, inherited);
  }
  if (format === "openmetrics") lines.push("# EOF");
  return `${lines.join("\n")}\n`;
}

function writeFamily(
  lines: string[],
  family: AnyFamily,
  format: MetricsFormat,
  inherited: ReadonlyMap<string, Counts>,
): void {
  // OpenMetrics names the family without `_total`, the older format names the sample.
  const sample = family.type === "counter" ? `${family.name}_total` : family.name;
  const described = format === "openmetrics" ? family.name : sample;
  lines.push(`# HELP ${described} ${escapeHelp(family.help, format)}`, `# TYPE ${described} ${family.type}`);
  const known = new Set<string>();
  for (const [labels, child] of family.series()) {
    const before = inherited.get(labels);
    if (before !== undefined) known.add(labels);
    if (child instanceof Histogram) writeHistogram(lines, family.name, labels, child, before ?? [], format);
    else if (child instanceof Counter || child instanceof Gauge)
      lines.push(`${sample}${braces(labels)} ${writeNumber(child.value + (before?.[0] ?? 0))}`);
  }
  for (const [labels, before] of inherited) {
    if (known.has(labels)) continue;
    if (family.type === "histogram")
      writeHistogram(lines, family.name, labels, new Histogram(family.bounds), before, format);
    else lines.push(`${sample}${braces(labels)} ${writeNumber(before[0] ?? 0)}`);
  }
}

function writeHistogram(
  lines: string[],
  name: string,
  labels: string,
  histogram: Histogram,
  before: Counts,
  format: MetricsFormat,
): void {
  let total = 0;
  for (const [index, { upperBound, count, exemplar }] of histogram.buckets().entries()) {
    total += before[index] ?? 0;
    const bound = `le="${writeBound(upperBound)}"`;
    // The older format has no place for exemplars.
    const shown = exemplar === null || format === "prometheus" ? "" : writeExemplar(exemplar);
    lines.push(`${name}_bucket{${labels === "" ? bound : `${labels},${bound}`}} ${count + total}${shown}`);
  }
  lines.push(
    `${name}_sum${braces(labels)} ${writeNumber(histogram.sum + (before[histogram.counts.length] ?? 0))}`,
    `${name}_count${braces(labels)} ${histogram.count + total}`,
  );
}

/** OpenMetrics 1.0, "Exemplars": labels of 128 characters at most, the value, and seconds since the epoch. */
function writeExemplar({ traceId, spanId, value, wallMs }: Exemplar): string {
  return ` # {trace_id="${traceId}",span_id="${spanId}"} ${writeNumber(value)} ${(wallMs / 1000).toFixed(3)}`;
}

function braces(labels: string): string {
  return labels === "" ? "" : `{${labels}}`;
}

function writeNumber(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  return value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value);
}

/** OpenMetrics wants bucket bounds as floats (`1.0`), so that they compare equal as text across writers. */
function writeBound(bound: number): string {
  return Number.isInteger(bound) ? `${bound}.0` : writeNumber(bound);
}

function escapeHelp(help: string, format: MetricsFormat): string {
  const escaped = help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
  return format === "openmetrics" ? escaped.replaceAll('"', '\\"') : escaped;
}
