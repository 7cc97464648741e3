/**
 * What one process has counted, for the one that takes its place. A scraper then sees counters that go on: of a counter each process passes on
 * what it has counted since it last did, so that nothing is there twice. Gauges are of the process that shows them, and so is what Prometheus'
 * convention has of a process (`process_…`).
 */
import { upgradeLimits } from "../limits/host.ts";
import { type AnyFamily, Counter, type Gauge, Histogram, type MetricRegistry } from "../metrics.ts";

export class PassedCounts {
  readonly #registry: MetricRegistry;
  /** What the other process has been told, by metric and label set. */
  readonly #passed = new Map<string, Map<string, readonly number[]>>();

  constructor(registry: MetricRegistry) {
    this.#registry = registry;
  }

  /** What was counted since it was last asked. @returns texts of bounded length for `takeCounts`; null between them is a place to rest. */
  *since(): Generator<string | null, void> {
    let visited = 0;
    for (const family of this.#registry.collect()) {
      if (family.type === "gauge" || family.name.startsWith("process_")) continue;
      let series: (readonly unknown[])[] = [];
      let length = 0;
      for (const [labels, total] of totals(family, this.#registry)) {
        if (++visited % visitsBetweenRests === 0) yield null;
        const grown = this.#grown(family.name, labels, total);
        if (grown === null) continue;
        const row = [labels, ...grown];
        // With its comma.
        const size = JSON.stringify(row).length + 1;
        if (length > 0 && length + size > upgradeLimits.countsTextChars) {
          yield JSON.stringify([family.name, family.bounds, series]);
          series = [];
          length = 0;
        }
        series.push(row);
        length += size;
      }
      if (length > 0) yield JSON.stringify([family.name, family.bounds, series]);
    }
  }

  /** @returns null when it has not. */
  #grown(family: string, labels: string, total: readonly number[]): readonly number[] | null {
    let series = this.#passed.get(family);
    if (series === undefined) {
      series = new Map();
      this.#passed.set(family, series);
    }
    const before = series.get(labels) ?? [];
    const grown = total.map((count, index) => count - (before[index] ?? 0));
    if (grown.every((count) => count === 0)) return null;
    series.set(labels, total);
    return grown;
  }
}

/** Some tenths of a millisecond. */
const visitsBetweenRests = 256;

/** What it has counted itself, and what it was passed. */
function* totals(
  family: AnyFamily,
  registry: MetricRegistry,
): Generator<readonly [labels: string, total: readonly number[]]> {
  const inherited = registry.inherited.of(family.name);
  const own = new Set<string>();
  for (const [labels, child] of family.series()) {
    own.add(labels);
    const before = inherited.get(labels) ?? [];
    yield [labels, countsOf(child).map((count, index) => count + (before[index] ?? 0))];
  }
  for (const [labels, before] of inherited) if (!own.has(labels)) yield [labels, [...before]];
}

function countsOf(child: Counter | Gauge | Histogram): readonly number[] {
  if (child instanceof Histogram) return [...child.counts, child.sum];
  return child instanceof Counter ? [child.value] : [];
}

/** What another process says it has counted. A metric that this version does not have, or has in other buckets, is left out. @returns false for what is no such text. */
export function takeCounts(registry: MetricRegistry, text: string): boolean {
  const read = readText(text);
  if (read === null) return false;
  const { name, bounds, series } = read;
  const family = registry.family(name);
  if (family === null || family.type === "gauge" || !isSame(family.bounds, bounds)) return true;
  const length = family.type === "counter" ? 1 : family.bounds.length + 2;
  for (const [labels, ...counts] of series)
    if (typeof labels === "string" && counts.length === length && counts.every(isCount))
      registry.inherited.add(name, labels, counts);
  return true;
}

function readText(text: string) {
  try {
    const read: unknown = JSON.parse(text);
    if (!Array.isArray(read)) return null;
    const [name, bounds, series]: unknown[] = read;
    if (typeof name !== "string" || !Array.isArray(bounds) || !Array.isArray(series)) return null;
    return series.every((row) => Array.isArray(row))
      ? { name, bounds: bounds as readonly unknown[], series: series as readonly (readonly unknown[])[] }
      : null;
  } catch {
    return null;
  }
}

function isSame(one: readonly number[], other: readonly unknown[]): boolean {
  return one.length === other.length && one.every((bound, index) => bound === other[index]);
}

function isCount(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}
