import { expect, test } from "bun:test";
import { MetricRegistry } from "../base/metrics.ts";
import { writeMetrics } from "../base/metrics_text.ts";
import { registerProcessMetrics } from "./process_metrics.ts";

test("process metrics are read at each scrape; CPU time never goes down", () => {
  const metrics = new MetricRegistry();
  let cpuMicros = 1_500_000;
  let linesLost = 0;
  registerProcessMetrics(metrics, {
    residentBytes: () => 42,
    cpuMicros: () => cpuMicros,
    logLinesLost: () => linesLost,
    longestTurnSeconds: () => 0.125,
    startedWallMs: 2500,
    version: "1.2.3",
  });
  const values = () =>
    writeMetrics(metrics, "prometheus")
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"));
  expect(values()).toEqual([
    'istio_build{component="fairlead",tag="1.2.3"} 1',
    "process_start_time_seconds 2.5",
    "process_resident_memory_bytes 42",
    "process_cpu_seconds_total 1.5",
    "fairlead_log_lines_lost_total 0",
    "fairlead_longest_turn_seconds 0.125",
  ]);
  linesLost = 7;
  expect(values()).toContain("fairlead_log_lines_lost_total 7");
  cpuMicros = 1_400_000;
  expect(values()).toContain("process_cpu_seconds_total 1.5");
  cpuMicros = 2_000_000;
  expect(values()).toContain("process_cpu_seconds_total 2");
});
