import { describe, expect, test } from "bun:test";
import { adminLimits } from "../limits/admin.ts";
import { upgradeLimits } from "../limits/host.ts";
import { MetricRegistry } from "../metrics.ts";
import { writeMetrics } from "../metrics_text.ts";
import { PassedCounts, takeCounts } from "./passed.ts";

/** A process: what it counts, and what it is passed. */
function process(maxSeries?: number) {
  const registry = maxSeries === undefined ? new MetricRegistry() : new MetricRegistry(maxSeries);
  const opened = registry.counter("opened", "Opened.", ["who"]);
  const took = registry.histogram("took", "Took.", ["who"], [1, 2]);
  const open = registry.gauge("open", "Open.", []);
  const cpu = registry.counter("process_cpu_seconds", "CPU.", []).with({});
  const passed = new PassedCounts(registry);
  return {
    registry,
    open: (who: string, amount = 1) => opened.with({ who }).add(amount),
    took: (who: string, value: number) => took.with({ who }).observe(value),
    use: () => {
      open.with({}).add(1);
      cpu.add(1);
    },
    passTo(other: { readonly registry: MetricRegistry }): number {
      const texts = [...passed.since()].filter((text) => text !== null);
      for (const text of texts) expect(takeCounts(other.registry, text)).toBe(true);
      return texts.length;
    },
    shows: (name: string) =>
      writeMetrics(registry, "prometheus")
        .split("\n")
        .filter((line) => line.startsWith(name)),
  };
}

describe("counts that go from process to process", () => {
  test("go on as if one process had counted: nothing twice, nothing lost, also over three of them", () => {
    const [first, second, third, single] = [process(), process(), process(), process()];
    const both = (one: typeof first, count: (to: typeof first) => void) => {
      count(one);
      count(single);
    };
    both(first, (to) => to.open('a"b\\c\nd,e="f"', 3));
    both(first, (to) => to.open("x"));
    both(first, (to) => to.took("x", 0.5));
    first.passTo(second);
    both(first, (to) => to.open("x"));
    both(second, (to) => to.open("x"));
    both(second, (to) => to.took("x", 1.5));
    both(second, (to) => to.took("y", 9));
    first.passTo(second);
    expect(first.passTo(second)).toBe(0);
    second.passTo(third);
    // The first two still drain.
    both(first, (to) => to.open("z"));
    both(second, (to) => to.open("x"));
    both(third, (to) => to.took("x", 2.5));
    first.passTo(second);
    second.passTo(third);
    for (const name of ["opened", "took"])
      expect([...third.shows(name)].sort()).toEqual([...single.shows(name)].sort());
    expect(third.shows("opened")).toContain('opened_total{who="x"} 4');
  });

  test("gauges, and what is of a process by its name, stay", () => {
    const [first, second] = [process(), process()];
    first.use();
    expect(first.passTo(second)).toBe(0);
    expect(second.shows("open ")).toEqual([]);
    expect(second.shows("process_")).toEqual(["process_cpu_seconds_total 0"]);
  });

  test("what is inherited has the bound of its metric: past it, label sets are counted together", () => {
    const [first, second] = [process(), process(2)];
    for (const who of ["a", "b", 'c"', "d"]) first.open(who);
    first.open("a");
    first.passTo(second);
    expect(second.shows("opened")).toEqual([
      'opened_total{who="a"} 2',
      'opened_total{who="b"} 1',
      'opened_total{who="overflow"} 2',
    ]);
  });

  test("a text has its length; one label set that is longer goes alone, and fits a message", () => {
    const [first, second] = [process(), process()];
    for (let index = 0; index < 2_000; index++) first.open(`${index}`);
    const sizes = [...new PassedCounts(first.registry).since()].map((text) => text?.length ?? 0);
    expect(sizes.length).toBeGreaterThan(1);
    const frame = JSON.stringify(["opened", [], []]).length;
    expect(Math.max(...sizes)).toBeLessThanOrEqual(upgradeLimits.countsTextChars + frame);
    // Between two texts there are places to rest.
    expect(sizes).toContain(0);
    first.passTo(second);
    expect(second.shows("opened").length).toBe(2_000);
    const names = Array.from({ length: 20 }, (_, index) => `label${index}`);
    const wide = new MetricRegistry();
    const family = wide.counter("wide", "Wide.", names);
    // As long as a value may be, each character of it escaped twice.
    const longest = '"'.repeat(adminLimits.maxLabelValueLength);
    for (const first of ["a", "b"])
      family
        .with(Object.fromEntries(names.map((name) => [name, name === "label0" ? first : longest])))
        .add(1);
    const texts = [...new PassedCounts(wide).since()];
    expect(texts.length).toBe(2);
    for (const text of texts) {
      expect(text?.length).toBeGreaterThan(upgradeLimits.countsTextChars);
      expect(text?.length).toBeLessThan(upgradeLimits.maxMessageBytes / 1.1);
    }
  });

  test("a metric of another version, or with other buckets, is left out; what is no such text is said to be none", () => {
    const { registry, shows } = process();
    for (const text of [
      '["other",[],[["",1]]]',
      '["took",[1],[["who=\\"x\\"",1,1,1]]]',
      '["open",[],[["",1]]]',
      '["opened",[],[["who=\\"x\\"",-1]]]',
      '["opened",[],[["who=\\"x\\"",1,2]]]',
      '["opened",[],[["who=\\"x\\"","1"]]]',
      '["opened",[],[[7,1]]]',
    ])
      expect(takeCounts(registry, text)).toBe(true);
    for (const text of ["", "{}", "[1,[],[]]", '["opened",[],[1]]', '["opened",[]]'])
      expect(takeCounts(registry, text)).toBe(false);
    expect([...shows("opened"), ...shows("took"), ...shows("open ")]).toEqual([]);
  });
});
