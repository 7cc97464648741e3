import { describe, expect, test } from "bun:test";
import { adminLimits } from "./limits/admin.ts";
import { MetricRegistry, readLabels, writeLabels } from "./metrics.ts";
import { negotiateMetricsFormat, writeMetrics } from "./metrics_text.ts";

describe("metrics", () => {
  test("a child is one object for one label set, whatever order the labels are given in", () => {
    const family = new MetricRegistry().counter("a", "A.", ["x", "y"]);
    expect(family.with({ x: "1", y: "2" })).toBe(family.with({ y: "2", x: "1" }));
    expect(family.with({ x: "1", y: "2" })).not.toBe(family.with({ x: "2", y: "1" }));
  });

  test("an exemplar has its own value, in the bucket that it fell into, and its time in seconds", () => {
    const metrics = new MetricRegistry();
    const took = metrics.histogram("took", "Took.", [], [10, 20]).with({});
    took.observe(15, { traceId: "a1", spanId: "b2", wallMs: 1_767_225_600_250 });
    const lines = writeMetrics(metrics, "openmetrics").split("\n");
    expect(lines.filter((line) => line.includes("# {"))).toEqual([
      'took_bucket{le="20.0"} 1 # {trace_id="a1",span_id="b2"} 15 1767225600.250',
    ]);
    expect(writeMetrics(metrics, "prometheus")).not.toContain("# {");
  });

  test("a counter refuses to go down", () => {
    const counter = new MetricRegistry().counter("a", "A.", []).with({});
    counter.add(2);
    expect(() => counter.add(-1)).toThrow("never goes down");
    expect(counter.value).toBe(2);
  });

  test("a name is registered once, and must be a metric name", () => {
    const registry = new MetricRegistry();
    registry.counter("a", "A.", []);
    expect(() => registry.gauge("a", "A.", [])).toThrow("registered twice");
    expect(() => registry.gauge("1a", "A.", [])).toThrow("not a metric name");
    expect(() => registry.counter("b_total", "B.", [])).toThrow("not a metric name");
    expect(() => registry.counter("c", "C.", ["le"])).toThrow("not a label name");
  });

  test("past the bound, new label sets are counted together", () => {
    const registry = new MetricRegistry(2);
    const family = registry.counter("a", "A.", ["peer"]);
    for (let index = 0; index < 100; index++) family.with({ peer: `p${index}` }).add(1);
    family.with({ peer: "p0" }).add(1);
    expect(writeMetrics(registry, "prometheus")).toBe(
      '# HELP a_total A.\n# TYPE a_total counter\na_total{peer="p0"} 2\na_total{peer="p1"} 1\na_total{peer="overflow"} 98\n',
    );
    expect(family.dropped).toBe(98);
  });

  test("the bound of a registry that is given none", () => {
    const family = new MetricRegistry().counter("a", "A.", ["peer"]);
    for (let index = 0; index < adminLimits.maxSeriesPerMetric; index++) family.with({ peer: `p${index}` });
    expect([family.dropped, [...family.series()].length]).toEqual([0, adminLimits.maxSeriesPerMetric]);
    expect(family.with({ peer: "new" })).toBe(family.with({ peer: "newer" }));
    expect([family.dropped, [...family.series()].length]).toEqual([2, adminLimits.maxSeriesPerMetric + 1]);
  });

  test("a label value is cut at its bound", () => {
    const registry = new MetricRegistry();
    registry.gauge("a", "A.", ["x"]).with({ x: "y".repeat(adminLimits.maxLabelValueLength + 1) });
    expect(writeMetrics(registry, "prometheus")).toContain(
      `a{x="${"y".repeat(adminLimits.maxLabelValueLength)}"} 0\n`,
    );
  });
});

test("labels are read as they were written, whatever is in them", () => {
  const pairs = [
    ["a", 'x"y'],
    ["b", "back\\slash, \\n and\nline"],
    ["c", ""],
    ["d", 'le="0",e="1"'],
  ] as const;
  expect(readLabels(writeLabels(pairs))).toEqual(pairs.map(([name, value]) => [name, value]));
  expect(readLabels("")).toEqual([]);
});

test("label sets that were not declared have room of their own, and take none of the others'", () => {
  const family = new MetricRegistry(4).counter("a", "A.", ["x"]);
  for (const x of ["1", "2", "3"]) family.with({ x }).add(1);
  for (const y of ["1", "2"]) expect(family.withWritten(writeLabels([["y", y]]))).not.toBeNull();
  expect(family.withWritten('y="3"')).toBeNull();
  expect(family.withWritten('y="1"')).not.toBeNull();
  family.with({ x: "4" }).add(1);
  expect([...family.series()].map(([labels]) => labels)).toEqual([
    'x="1"',
    'x="2"',
    'x="3"',
    'y="1"',
    'y="2"',
    'x="4"',
  ]);
});

describe("text formats", () => {
  function sample(): MetricRegistry {
    const registry = new MetricRegistry();
    registry.counter("opened", 'Quote " and \\.', ["who"]).with({ who: 'a"b\\c\nd' }).add(3);
    const open = registry.gauge("open", "Open.", []);
    registry.onCollect(() => open.with({}).set(7));
    const histogram = registry.histogram("took", "Took.", ["q"], [0.5, 1]).with({ q: "A" });
    for (const value of [0.5, 0.6, 9]) histogram.observe(value);
    return registry;
  }

  test("OpenMetrics 1.0: the family is named without _total and the text ends with EOF", () => {
    expect(writeMetrics(sample(), "openmetrics")).toBe(
      [
        '# HELP opened Quote \\" and \\\\.',
        "# TYPE opened counter",
        'opened_total{who="a\\"b\\\\c\\nd"} 3',
        "# HELP open Open.",
        "# TYPE open gauge",
        "open 7",
        "# HELP took Took.",
        "# TYPE took histogram",
        'took_bucket{q="A",le="0.5"} 1',
        'took_bucket{q="A",le="1.0"} 2',
        'took_bucket{q="A",le="+Inf"} 3',
        'took_sum{q="A"} 10.1',
        'took_count{q="A"} 3',
        "# EOF",
        "",
      ].join("\n"),
    );
  });

  test("Prometheus 0.0.4: the sample's name is the family's, no EOF", () => {
    const text = writeMetrics(sample(), "prometheus");
    expect(text).toContain('# HELP opened_total Quote " and \\\\.\n# TYPE opened_total counter\n');
    expect(text).not.toContain("# EOF");
  });

  test("the format follows Accept", () => {
    expect(negotiateMetricsFormat(null)).toBe("prometheus");
    expect(negotiateMetricsFormat("*/*")).toBe("prometheus");
    expect(negotiateMetricsFormat("text/plain;version=0.0.4;q=0.2,application/openmetrics-text;q=0.5")).toBe(
      "openmetrics",
    );
    expect(negotiateMetricsFormat("Application/OpenMetrics-Text; version=1.0.0")).toBe("openmetrics");
    expect(negotiateMetricsFormat("application/openmetrics-text;q=0")).toBe("prometheus");
  });
});
