/**
 * Counters, gauges and histograms with label sets. A child (one label set of one family) is resolved once and kept by
 * its caller, so counting on the byte path is one addition to a number. `metrics_text.ts` writes them out.
 */
import { assert } from "./assert.ts";
import { adminLimits } from "./limits/admin.ts";

/** A value that only grows. */
export class Counter {
  #value = 0;

  get value(): number {
    return this.#value;
  }

  add(amount: number): void {
    assert(amount >= 0, "a counter never goes down");
    this.#value += amount;
  }
}

/** A value of now. */
export class Gauge {
  value = 0;

  set(value: number): void {
    this.value = value;
  }

  add(amount: number): void {
    this.value += amount;
  }
}

/** One of the values that were counted, and the trace in which it came about. */
export interface Exemplar {
  readonly value: number;
  /** Milliseconds since the Unix epoch. */
  readonly wallMs: number;
  readonly traceId: string;
  readonly spanId: string;
}

/** How often values fell at or below each of the family's bucket bounds. */
export class Histogram {
  readonly bounds: readonly number[];
  /** Of each bucket by itself. One more than there are bounds: the last is for everything above. */
  readonly counts: Float64Array;
  /** The latest of each bucket. Empty until there is one. */
  exemplars: (Exemplar | null)[] = [];
  #sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  /** @param trace of the value, where there is one that somebody keeps. */
  observe(value: number, trace: Omit<Exemplar, "value"> | null = null): void {
    let index = 0;
    while (index < this.bounds.length && value > (this.bounds[index] ?? 0)) index++;
    this.counts[index] = (this.counts[index] ?? 0) + 1;
    this.#sum += value;
    if (trace === null) return;
    if (this.exemplars.length === 0) this.exemplars = new Array(this.counts.length).fill(null);
    this.exemplars[index] = { value, ...trace };
  }

  /** What another one of the same bounds has counted. */
  merge(counts: readonly number[], sum: number): void {
    for (const [index, count] of counts.entries())
      if (index < this.counts.length) this.counts[index] = (this.counts[index] ?? 0) + count;
    this.#sum += sum;
  }

  get sum(): number {
    return this.#sum;
  }

  get count(): number {
    return this.counts.reduce((total, count) => total + count, 0);
  }

  /** Cumulative, as the text formats want it, the `+Inf` bucket last. */
  buckets(): readonly {
    readonly upperBound: number;
    readonly count: number;
    readonly exemplar: Exemplar | null;
  }[] {
    let total = 0;
    return Array.from(this.counts, (count, index) => {
      total += count;
      const upperBound = this.bounds[index] ?? Number.POSITIVE_INFINITY;
      return { upperBound, count: total, exemplar: this.exemplars[index] ?? null };
    });
  }
}

export type MetricType = "counter" | "gauge" | "histogram";

/** One metric name with all of its label sets. */
export class MetricFamily<Label extends string, Child> {
  /** Without `_total`: the text formats add it. */
  readonly name: string;
  readonly help: string;
  readonly type: MetricType;
  /** Of a histogram's buckets, ascending, without +Inf; empty for the others. */
  readonly bounds: readonly number[];
  readonly #labels: readonly Label[];
  readonly #create: () => Child;
  readonly #maxSeries: number;
  /** By written labels, `a="x",b="y"`, in the declared order. */
  readonly #children = new Map<string, Child>();
  /** Of `#children`, those with labels that were not declared. */
  #odd = 0;
  #dropped = 0;

  constructor(
    type: MetricType,
    name: string,
    help: string,
    labels: readonly Label[],
    create: () => Child,
    maxSeries: number,
    bounds: readonly number[] = [],
  ) {
    assert(metricName.test(name) && !name.endsWith("_total"), `not a metric name: ${name}`);
    for (const label of labels) assert(labelName.test(label), `not a label name: ${label}`);
    this.type = type;
    this.name = name;
    this.help = help;
    this.#labels = labels;
    this.#create = create;
    this.#maxSeries = maxSeries;
    this.bounds = bounds;
  }

  /**
   * The child of one label set, made on first use. Past the family's bound every new label set shares one child whose
   * labels all say `overflow`: what peers and documents name must never grow our memory without end.
   */
  with(values: Readonly<Record<Label, string>>): Child {
    const key = writeLabels(this.#labels.map((label) => [label, values[label]]));
    const existing = this.#children.get(key);
    if (existing !== undefined) return existing;
    if (this.#children.size - this.#odd < this.#maxSeries) return this.#add(key);
    this.#dropped++;
    const overflow = this.#labels.map((label) => `${label}="overflow"`).join(",");
    return this.#children.get(overflow) ?? this.#add(overflow);
  }

  /** As written by `writeLabels`, whatever labels these are. They have room of their own, half of the family's. @returns null when it is full. */
  withWritten(key: string): Child | null {
    const existing = this.#children.get(key);
    if (existing !== undefined) return existing;
    if (this.#odd >= this.#maxSeries / 2) {
      this.#dropped++;
      return null;
    }
    this.#odd++;
    return this.#add(key);
  }

  /** How many times a label set was asked for that had no room. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Written labels (`""` when there are none) and child, in order of creation. */
  series(): Iterable<readonly [labels: string, child: Child]> {
    return this.#children;
  }

  #add(key: string): Child {
    const child = this.#create();
    this.#children.set(key, child);
    return child;
  }
}

export type AnyFamily =
  | MetricFamily<string, Counter>
  | MetricFamily<string, Gauge>
  | MetricFamily<string, Histogram>;

/** Of a counter its value, of a histogram each bucket by itself and then the sum. */
export type Counts = readonly number[];

const none: ReadonlyMap<string, Counts> = new Map();

/** What the processes before this one have counted, by metric and label set. */
export class InheritedCounts {
  readonly #families = new Map<string, Map<string, number[]>>();
  readonly #maxSeries: number;

  constructor(maxSeriesPerFamily: number) {
    this.#maxSeries = maxSeriesPerFamily;
  }

  /** By written labels. */
  of(family: string): ReadonlyMap<string, Counts> {
    return this.#families.get(family) ?? none;
  }

  /** @param labels as written; past the bound of a family they are counted together, as `MetricFamily.with` does. */
  add(family: string, labels: string, counts: Counts): void {
    let series = this.#families.get(family);
    if (series === undefined) {
      series = new Map();
      this.#families.set(family, series);
    }
    const hasRoom = series.has(labels) || series.size < this.#maxSeries;
    const key = hasRoom ? labels : labels.replaceAll(/="(?:\\.|[^"\\])*"/g, '="overflow"');
    const known = series.get(key);
    if (known === undefined) series.set(key, [...counts]);
    else for (const [index, count] of counts.entries()) known[index] = (known[index] ?? 0) + count;
  }
}

/** All metrics of one process. Names are unique. */
export class MetricRegistry {
  readonly #families = new Map<string, AnyFamily>();
  readonly #collectors: (() => void)[] = [];
  readonly #maxSeries: number;
  /** What the processes before this one have counted: shown together with what it counts itself. */
  readonly inherited: InheritedCounts;

  constructor(maxSeriesPerFamily: number = adminLimits.maxSeriesPerMetric) {
    this.#maxSeries = maxSeriesPerFamily;
    this.inherited = new InheritedCounts(maxSeriesPerFamily);
  }

  /** By its name without `_total`; null for one that was not registered. */
  family(name: string): AnyFamily | null {
    return this.#families.get(name) ?? null;
  }

  /** @param name without `_total`, which the text formats add. */
  counter<const Label extends string>(
    name: string,
    help: string,
    labels: readonly Label[],
  ): MetricFamily<Label, Counter> {
    return this.#register(
      new MetricFamily("counter", name, help, labels, () => new Counter(), this.#maxSeries),
    );
  }

  gauge<const Label extends string>(
    name: string,
    help: string,
    labels: readonly Label[],
  ): MetricFamily<Label, Gauge> {
    return this.#register(new MetricFamily("gauge", name, help, labels, () => new Gauge(), this.#maxSeries));
  }

  /** @param bounds upper bounds of the buckets, ascending, without +Inf. */
  histogram<const Label extends string>(
    name: string,
    help: string,
    labels: readonly Label[],
    bounds: readonly number[],
  ): MetricFamily<Label, Histogram> {
    assert(
      bounds.every((bound, index) => index === 0 || bound > (bounds[index - 1] ?? bound)),
      "histogram bounds ascend",
    );
    return this.#register(
      new MetricFamily("histogram", name, help, labels, () => new Histogram(bounds), this.#maxSeries, bounds),
    );
  }

  /** `collector` runs before each reading: for values that are measured, not counted (memory, descriptors). */
  onCollect(collector: () => void): void {
    this.#collectors.push(collector);
  }

  /** Runs the collectors, then gives every family in order of registration. */
  collect(): Iterable<AnyFamily> {
    for (const collector of this.#collectors) collector();
    return this.#families.values();
  }

  #register<Family extends AnyFamily>(family: Family): Family {
    assert(!this.#families.has(family.name), `metric ${family.name} is registered twice`);
    this.#families.set(family.name, family);
    return family;
  }
}

/** Whatever can be read out as text. */
export type MetricSource = Pick<MetricRegistry, "collect"> & { readonly inherited?: InheritedCounts };

const metricName = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const labelName = /^(?!__|le$)[a-zA-Z_][a-zA-Z0-9_]*$/;

/** `a="x",b="y"`: the key of a label set. */
export function writeLabels(pairs: readonly (readonly [name: string, value: string])[]): string {
  return pairs.map(([name, value]) => `${name}="${escapeLabelValue(value)}"`).join(",");
}

/** What `writeLabels` has written. */
export function readLabels(written: string): readonly (readonly [name: string, value: string])[] {
  const pairs: [string, string][] = [];
  for (const [, name = "", value = ""] of written.matchAll(/([^=,"]+)="((?:\\.|[^"\\])*)"/g))
    pairs.push([name, value.replaceAll(/\\(.)/g, (_, char: string) => (char === "n" ? "\n" : char))]);
  return pairs;
}

/** Backslash, quote and line feed are escaped; a value that is too long is cut, because peers name things too. */
function escapeLabelValue(value: string): string {
  const cut =
    value.length > adminLimits.maxLabelValueLength ? value.slice(0, adminLimits.maxLabelValueLength) : value;
  return /[\\"\n]/.test(cut)
    ? cut.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")
    : cut;
}
