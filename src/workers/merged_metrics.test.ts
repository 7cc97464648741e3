import { expect, test } from "bun:test";
import { MetricRegistry } from "../base/metrics.ts";
import { writeMetrics } from "../base/metrics_text.ts";
import { MergedMetrics, readSnapshot, snapshotOf } from "./merged_metrics.ts";

/** One process that has counted `times`. */
function counted(times: number, open: number): MetricRegistry {
  const metrics = new MetricRegistry();
  const opened = metrics.counter("opened", "Opened", ["from", "to"]);
  opened.with({ from: "a", to: 'b"' }).add(times);
  metrics.gauge("open", "Open", []).with({}).set(open);
  const seconds = metrics.histogram("seconds", "Seconds", [], [1, 2]).with({});
  for (let time = 0; time < times; time++) seconds.observe(1.5);
  return metrics;
}

/** As it comes from another process. */
function sent(metrics: MetricRegistry) {
  return readSnapshot(JSON.parse(JSON.stringify(snapshotOf(metrics)))) ?? never();
}

function never(): never {
  throw new Error("no snapshot");
}

test("a snapshot, merged, is what the process itself would say", () => {
  const own = counted(3, 2);
  const merged = new MergedMetrics(new MetricRegistry());
  merged.set("1", sent(own));
  for (const format of ["prometheus", "openmetrics"] as const)
    expect(writeMetrics(merged, format)).toBe(writeMetrics(own, format));
});

test("counters, gauges and histograms of all are added up, and the latest of each counts", () => {
  const merged = new MergedMetrics(counted(1, 1));
  merged.set("1", sent(counted(2, 5)));
  merged.set("2", sent(counted(10, 7)));
  merged.set("1", sent(counted(4, 3)));
  expect(writeMetrics(merged, "prometheus")).toBe(writeMetrics(counted(15, 11), "prometheus"));
});

test("what one that is gone had counted stays counted, and its gauges do not", () => {
  const merged = new MergedMetrics(counted(1, 1));
  for (let round = 0; round < 3; round++) {
    merged.set("1", sent(counted(2, 5)));
    merged.end("1");
    merged.end("1");
  }
  expect(writeMetrics(merged, "prometheus")).toBe(writeMetrics(counted(7, 1), "prometheus"));
});

test("a counter that is said to be below nothing counts nothing, and keeps no page from being written", () => {
  const merged = new MergedMetrics(counted(1, 1));
  const said = sent(counted(2, -5)).map((family) =>
    family.name === "opened"
      ? { ...family, series: family.series.map(([labels]) => [labels, [-3]] as const) }
      : family,
  );
  merged.set("1", said);
  const text = writeMetrics(merged, "prometheus");
  expect(text).toContain('opened_total{from="a",to="b\\""} 1\n');
  // A gauge may be below nothing.
  expect(text).toContain("open -4\n");
});

test("what is no snapshot is refused whole", () => {
  const [family] = snapshotOf(counted(1, 1));
  for (const bad of [
    null,
    {},
    [null],
    [{ ...family, type: "summary" }],
    [{ ...family, name: "a b" }],
    [{ ...family, name: "opened_total" }],
    [{ ...family, series: [["", ["1"]]] }],
    [{ ...family, series: [[1, [1]]] }],
    [{ ...family, bounds: [Number.NaN] }],
  ])
    expect(readSnapshot(bad)).toBeNull();
  expect(readSnapshot([family])).toHaveLength(1);
});
