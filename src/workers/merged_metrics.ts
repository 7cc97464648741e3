/** The metrics of several processes as those of one: what each has counted, added up. */
import { adminLimits } from "../base/limits/admin.ts";
import {
  type AnyFamily,
  Counter,
  Gauge,
  Histogram,
  MetricRegistry,
  type MetricSource,
  type MetricType,
} from "../base/metrics.ts";

/** A family of one process, as a value. */
export interface FamilySnapshot {
  readonly type: MetricType;
  readonly name: string;
  readonly help: string;
  /** Of a histogram's buckets; empty for the others. */
  readonly bounds: readonly number[];
  /** By written labels; of a histogram the counts of its buckets, and the sum last. */
  readonly series: readonly (readonly [labels: string, values: readonly number[]])[];
}

export function snapshotOf(source: MetricSource): readonly FamilySnapshot[] {
  return [...source.collect()].map((family) => {
    const series: [string, readonly number[]][] = [];
    let bounds: readonly number[] = [];
    for (const [labels, child] of family.series()) {
      if (child instanceof Histogram) {
        bounds = child.bounds;
        series.push([labels, [...child.counts, child.sum]]);
      } else if (child instanceof Counter || child instanceof Gauge) series.push([labels, [child.value]]);
    }
    return { type: family.type, name: family.name, help: family.help, bounds, series };
  });
}

/** @returns null for what is none: it comes from another process. */
export function readSnapshot(value: unknown): readonly FamilySnapshot[] | null {
  return Array.isArray(value) && value.every(isFamily) ? value : null;
}

function isFamily(value: unknown): value is FamilySnapshot {
  if (typeof value !== "object" || value === null) return false;
  const { type, name, help, bounds, series } = value as Readonly<Record<string, unknown>>;
  return (
    (type === "counter" || type === "gauge" || type === "histogram") &&
    typeof name === "string" &&
    /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name) &&
    !name.endsWith("_total") &&
    typeof help === "string" &&
    isNumbers(bounds) &&
    Array.isArray(series) &&
    series.every((each: unknown) => Array.isArray(each) && typeof each[0] === "string" && isNumbers(each[1]))
  );
}

function isNumbers(value: unknown): value is readonly number[] {
  return Array.isArray(value) && value.every((each) => typeof each === "number" && Number.isFinite(each));
}

/** Those of this process, and of others by name. What one that is gone had counted stays counted; its gauges go with it. */
export class MergedMetrics implements MetricSource {
  readonly #own: MetricRegistry;
  readonly #latest = new Map<string, readonly FamilySnapshot[]>();
  readonly #gone: (readonly FamilySnapshot[])[] = [];

  constructor(own: MetricRegistry) {
    this.#own = own;
  }

  set(process: string, snapshot: readonly FamilySnapshot[]): void {
    this.#latest.set(process, snapshot);
  }

  end(process: string): void {
    const last = this.#latest.get(process);
    if (last === undefined) return;
    this.#latest.delete(process);
    this.#gone.push(last.filter(({ type }) => type !== "gauge"));
    // One in place of all of them, however many have ended.
    const sum = snapshotOf(merge(this.#gone));
    this.#gone.splice(0, this.#gone.length, sum);
  }

  collect(): Iterable<AnyFamily> {
    return merge([snapshotOf(this.#own), ...this.#latest.values(), ...this.#gone]).collect();
  }
}

function merge(snapshots: readonly (readonly FamilySnapshot[])[]): MetricRegistry {
  // Series of labels that no family declares here have half of its room.
  const merged = new MetricRegistry(2 * adminLimits.maxSeriesPerMetric);
  const families = new Map<string, AnyFamily>();
  for (const { type, name, help, bounds, series } of snapshots.flat()) {
    const family = families.get(name) ?? register(merged, type, name, help, bounds);
    families.set(name, family);
    for (const [labels, values] of series) add(family.withWritten(labels), values);
  }
  return merged;
}

function register(
  merged: MetricRegistry,
  type: MetricType,
  name: string,
  help: string,
  bounds: readonly number[],
): AnyFamily {
  if (type === "counter") return merged.counter(name, help, []);
  return type === "gauge" ? merged.gauge(name, help, []) : merged.histogram(name, help, [], bounds);
}

function add(child: Counter | Gauge | Histogram | null, values: readonly number[]): void {
  if (child instanceof Histogram) child.merge(values.slice(0, -1), values.at(-1) ?? 0);
  else if (child instanceof Counter) child.add(Math.max(0, values[0] ?? 0));
  else child?.add(values[0] ?? 0);
}
