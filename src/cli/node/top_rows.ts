/** What `fairlead top` shows, out of two readings of a node's metrics. */
import { samplesOf } from "./traffic.ts";

/** Sums since the node began. */
interface Sums {
  readonly caller: string;
  readonly destination: string;
  opened: number;
  closed: number;
  denied: number;
  failed: number;
  requests: number;
  bytesIn: number;
  bytesOut: number;
}

/** Between two readings, by the second; `open` and the totals are as they are now. */
export interface TopRow {
  readonly name: string;
  readonly connections: number;
  readonly open: number;
  readonly requests: number;
  readonly bytesIn: number;
  readonly bytesOut: number;
  readonly denied: number;
  readonly failed: number;
}

export interface Reading {
  readonly atMs: number;
  readonly sums: ReadonlyMap<string, Sums>;
}

/** @param metricsText in the Prometheus text format. @param atMs monotonic. */
export function readMetrics(metricsText: string, atMs: number): Reading {
  const sums = new Map<string, Sums>();
  for (const { name, labels, value } of samplesOf(metricsText)) {
    if (!name.startsWith("istio_tcp_") && name !== "istio_requests_total") continue;
    if (!labels.has("source_workload")) continue;
    const caller = partyName(labels, "source");
    const destination = serviceName(labels);
    // Both ends may be of this node: each counts what it sees, and one of them is enough.
    const reporter = labels.get("reporter") ?? "";
    const key = `${reporter}\n${caller}\n${destination}`;
    const found = sums.get(key) ?? emptySums(caller, destination);
    sums.set(key, found);
    add(found, name, labels, value);
  }
  return { atMs, sums };
}

function emptySums(caller: string, destination: string): Sums {
  return {
    caller,
    destination,
    opened: 0,
    closed: 0,
    denied: 0,
    failed: 0,
    requests: 0,
    bytesIn: 0,
    bytesOut: 0,
  };
}

function add(sums: Sums, name: string, labels: ReadonlyMap<string, string>, value: number): void {
  switch (name) {
    case "istio_tcp_connections_opened_total":
      sums.opened += value;
      break;
    case "istio_tcp_connections_closed_total":
      sums.closed += value;
      break;
    case "istio_tcp_connections_failed_total":
      if (labels.get("response_flags") === "DENY") sums.denied += value;
      else sums.failed += value;
      break;
    case "istio_tcp_received_bytes_total":
      sums.bytesIn += value;
      break;
    case "istio_tcp_sent_bytes_total":
      sums.bytesOut += value;
      break;
    case "istio_requests_total": {
      sums.requests += value;
      const code = labels.get("response_code") ?? "";
      if (code === "401" || code === "403") sums.denied += value;
      else if (code.startsWith("5") || code === "0") sums.failed += value;
    }
  }
}

/**
 * A row for each destination, or for each caller of one destination.
 *
 * @param before null: nothing was read before, so there are no rates yet.
 * @param of the destination whose callers are wanted; null for all destinations.
 */
export function topRows(before: Reading | null, now: Reading, of: string | null): readonly TopRow[] {
  const seconds = before === null ? 0 : Math.max(0.001, (now.atMs - before.atMs) / 1000);
  const rows = new Map<string, Map<string, TopRow>>();
  for (const [key, sums] of now.sums) {
    if (of !== null && sums.destination !== of) continue;
    const earlier = before?.sums.get(key);
    const rate = (name: NumberOf<Sums>): number =>
      // Counters of a node that was started again begin at nothing.
      seconds === 0 ? 0 : Math.max(0, sums[name] - (earlier?.[name] ?? 0)) / seconds;
    const row: TopRow = {
      name: of === null ? sums.destination : sums.caller,
      connections: rate("opened"),
      open: Math.max(0, sums.opened - sums.closed),
      requests: rate("requests"),
      bytesIn: rate("bytesIn"),
      bytesOut: rate("bytesOut"),
      denied: rate("denied"),
      failed: rate("failed"),
    };
    const [reporter = ""] = key.split("\n");
    const byReporter = rows.get(row.name) ?? new Map<string, TopRow>();
    rows.set(row.name, byReporter.set(reporter, plus(byReporter.get(reporter), row)));
  }
  return [...rows.values()].map(chooseReporter);
}

type NumberOf<T> = { [K in keyof T]: T[K] extends number ? K : never }[keyof T];

/** What the destination's end counts is whole; the source's where there is no other; a waypoint's requests are counted by itself. */
function chooseReporter(byReporter: ReadonlyMap<string, TopRow>): TopRow {
  const all = [...byReporter.values()];
  const best = byReporter.get("destination") ?? byReporter.get("source") ?? all[0];
  if (best === undefined) throw new RangeError("no reporter");
  const most = (pick: (row: TopRow) => number): number => Math.max(...all.map(pick));
  return { ...best, requests: most(({ requests }) => requests), failed: most(({ failed }) => failed) };
}

function plus(left: TopRow | undefined, right: TopRow): TopRow {
  if (left === undefined) return right;
  return {
    name: right.name,
    connections: left.connections + right.connections,
    open: left.open + right.open,
    requests: left.requests + right.requests,
    bytesIn: left.bytesIn + right.bytesIn,
    bytesOut: left.bytesOut + right.bytesOut,
    denied: left.denied + right.denied,
    failed: left.failed + right.failed,
  };
}

/** The service that was called; of what is no service, the workload or the address. */
function serviceName(labels: ReadonlyMap<string, string>): string {
  const service = labels.get("destination_service") ?? "unknown";
  return service === "unknown" || service === "" ? partyName(labels, "destination") : service;
}

function partyName(labels: ReadonlyMap<string, string>, side: "source" | "destination"): string {
  const workload = labels.get(`${side}_workload`) ?? "unknown";
  return workload === "unknown"
    ? "unknown"
    : `${labels.get(`${side}_workload_namespace`) ?? "unknown"}/${workload}`;
}
