/** Who talked to whom, out of a node's metrics: connections summed over everything but the two parties. */

export interface TrafficRow {
  readonly reporter: string;
  readonly source: string;
  readonly destination: string;
  readonly security: string;
  opened: number;
  denied: number;
  failed: number;
  /** From the source to the destination, and back. */
  bytesToDestination: number;
  bytesToSource: number;
}

export interface Sample {
  readonly name: string;
  readonly labels: ReadonlyMap<string, string>;
  readonly value: number;
}

/** @param metricsText in the Prometheus text format. */
export function summarizeTraffic(metricsText: string): readonly TrafficRow[] {
  const rows = new Map<string, TrafficRow>();
  for (const sample of samplesOf(metricsText)) {
    if (!sample.name.startsWith("istio_tcp_") || !sample.labels.has("source_workload")) continue;
    addSample(rowOf(rows, sample.labels), sample);
  }
  return [...rows.values()].sort(
    (left, right) => compare(left.source, right.source) || compare(left.destination, right.destination),
  );
}

function rowOf(rows: Map<string, TrafficRow>, labels: Sample["labels"]): TrafficRow {
  const reporter = labels.get("reporter") ?? "unknown";
  const source = describeParty(labels, "source");
  const destination = describeParty(labels, "destination");
  const security = labels.get("connection_security_policy") ?? "unknown";
  const key = [reporter, source, destination, security].join("\n");
  const known = rows.get(key);
  if (known !== undefined) return known;
  const row = {
    reporter,
    source,
    destination,
    security,
    opened: 0,
    denied: 0,
    failed: 0,
    bytesToDestination: 0,
    bytesToSource: 0,
  };
  rows.set(key, row);
  return row;
}

function addSample(row: TrafficRow, { name, labels, value }: Sample): void {
  switch (name) {
    case "istio_tcp_connections_opened_total":
      row.opened += value;
      break;
    case "istio_tcp_connections_failed_total":
      if (labels.get("response_flags") === "DENY") row.denied += value;
      else row.failed += value;
      break;
    case "istio_tcp_received_bytes_total":
      row.bytesToDestination += value;
      break;
    case "istio_tcp_sent_bytes_total":
      row.bytesToSource += value;
      break;
  }
}

/** `shop/frontend`; without a workload, its service, else unknown. */
function describeParty(labels: Sample["labels"], side: "source" | "destination"): string {
  const workload = labels.get(`${side}_workload`) ?? "unknown";
  const namespace = labels.get(`${side}_workload_namespace`) ?? "unknown";
  if (workload !== "unknown") return `${namespace}/${workload}`;
  return side === "destination" ? (labels.get("destination_service") ?? "unknown") : "unknown";
}

export function* samplesOf(metricsText: string): Iterable<Sample> {
  for (const line of metricsText.split("\n")) {
    const match = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (match === null) continue;
    const [, name = "", labelText = "", value = ""] = match;
    const labels = new Map<string, string>();
    for (const [, label = "", quoted = ""] of labelText.matchAll(/(\w+)="((?:\\.|[^"\\])*)"/g))
      labels.set(
        label,
        quoted.replace(/\\(.)/g, (_, escaped: string) => (escaped === "n" ? "\n" : escaped)),
      );
    yield { name, labels, value: Number(value) };
  }
}

function compare(left: string, right: string): number {
  return left < right ? -1 : left > right ? 1 : 0;
}
