/** What every scraper expects to find of a process, by Prometheus' names, and which build it is, by ztunnel's. */
import type { MetricRegistry } from "../base/metrics.ts";

/** Read at each scrape. */
export interface ProcessReadings {
  residentBytes(): number;
  /** CPU time so far, microseconds. */
  cpuMicros(): number;
  /** Of the last minute. */
  longestTurnSeconds(): number;
  /** Lines that the log's reader or disk did not take. */
  logLinesLost(): number;
  /** Milliseconds since the Unix epoch. */
  readonly startedWallMs: number;
  /** `0.1.0`. */
  readonly version: string;
}

export function registerProcessMetrics(metrics: MetricRegistry, readings: ProcessReadings): void {
  const build = metrics.gauge("istio_build", "Istio component build info", ["component", "tag"]);
  build.with({ component: "fairlead", tag: readings.version }).set(1);
  const started = metrics.gauge(
    "process_start_time_seconds",
    "Start time of the process since the Unix epoch",
    [],
  );
  started.with({}).set(readings.startedWallMs / 1000);
  const resident = metrics.gauge("process_resident_memory_bytes", "Resident memory size", []).with({});
  const cpu = metrics.counter("process_cpu_seconds", "User and system CPU time spent", []).with({});
  const lost = metrics
    .counter("fairlead_log_lines_lost", "Log lines that could not be written (full disk, slow reader)", [])
    .with({});
  const turn = metrics
    .gauge(
      "fairlead_longest_turn_seconds",
      "The longest the event loop was held in the last minute, to within 20 ms",
      [],
    )
    .with({});
  metrics.onCollect(() => {
    lost.add(readings.logLinesLost() - lost.value);
    turn.set(readings.longestTurnSeconds());
    resident.set(readings.residentBytes());
    cpu.add(Math.max(0, readings.cpuMicros() / 1e6 - cpu.value));
  });
}

/** Those of one of several processes that carry a node's traffic; what they count of it is added up, and these are told apart. */
export function registerWorkerMetrics(
  metrics: MetricRegistry,
  worker: string,
  readings: Pick<ProcessReadings, "residentBytes" | "cpuMicros" | "longestTurnSeconds" | "logLinesLost"> & {
    readonly connectionsPassed: () => number;
  },
): void {
  const labels = ["worker"] as const;
  const resident = metrics
    .gauge("fairlead_worker_resident_memory_bytes", "Resident memory size of a worker", labels)
    .with({ worker });
  const cpu = metrics
    .counter("fairlead_worker_cpu_seconds", "User and system CPU time spent by a worker", labels)
    .with({ worker });
  const turn = metrics
    .gauge(
      "fairlead_worker_longest_turn_seconds",
      "The longest the event loop of a worker was held in the last minute, to within 20 ms",
      labels,
    )
    .with({ worker });
  const lost = metrics
    .counter("fairlead_log_lines_lost", "Log lines that could not be written (full disk, slow reader)", [])
    .with({});
  const passed = metrics
    .counter(
      "fairlead_worker_connections_passed",
      "Accepted connections that a worker passed on to another, which had fewer",
      labels,
    )
    .with({ worker });
  metrics.onCollect(() => {
    passed.add(readings.connectionsPassed() - passed.value);
    lost.add(readings.logLinesLost() - lost.value);
    turn.set(readings.longestTurnSeconds());
    resident.set(readings.residentBytes());
    cpu.add(Math.max(0, readings.cpuMicros() / 1e6 - cpu.value));
  });
}
