/** Medians, spread and ratios, as a table for people and as JSON for programs. */
import type { Measures } from "./measure.ts";

export interface Run {
  readonly subject: string;
  readonly round: number;
  readonly measures: Measures;
}

export interface Summary {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** Subject to measure to summary, in the order in which they were first seen. */
export type Summaries = ReadonlyMap<string, ReadonlyMap<string, Summary>>;

export function summarize(runs: readonly Run[]): Summaries {
  const values = new Map<string, Map<string, number[]>>();
  for (const run of runs) {
    const bySubject = values.get(run.subject) ?? new Map<string, number[]>();
    values.set(run.subject, bySubject);
    for (const [name, value] of Object.entries(run.measures)) {
      bySubject.set(name, [...(bySubject.get(name) ?? []), value]);
    }
  }
  return new Map(
    [...values].map(([subject, names]) => [subject, new Map([...names].map(([n, v]) => [n, summary(v)]))]),
  );
}

function summary(values: readonly number[]): Summary {
  const sorted = values.toSorted((a, b) => a - b);
  const at = (index: number): number => sorted[index] ?? Number.NaN;
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? at(middle) : (at(middle - 1) + at(middle)) / 2;
  return { median, min: at(0), max: at(sorted.length - 1) };
}

/** More is better for rates; less for everything else. */
function moreIsBetter(measure: string): boolean {
  return /\/s( |$)/.test(measure) && !measure.startsWith("CPU");
}

/** How much better `subject` is than `reference`: above 1 is ahead. Null when either was not measured. */
export function ratio(
  summaries: Summaries,
  measure: string,
  subject: string,
  reference: string,
): number | null {
  const ours = summaries.get(subject)?.get(measure)?.median;
  const theirs = summaries.get(reference)?.get(measure)?.median;
  if (ours === undefined || theirs === undefined) return null;
  return moreIsBetter(measure) ? ours / theirs : theirs / ours;
}

/**
 * One row a measure, one column a subject; then `subject` against each reference. The worst against the first reference that is there comes
 * first, and whatever cannot be compared last.
 */
export function table(summaries: Summaries, subject: string, references: readonly string[]): string {
  const subjects = [...summaries.keys()];
  const measures = [...new Set(subjects.flatMap((name) => [...(summaries.get(name)?.keys() ?? [])]))];
  const present = references.filter(
    (name) => summaries.has(name) && summaries.has(subject) && name !== subject,
  );
  const [first] = present;
  const rank = (measure: string): number =>
    (first === undefined ? null : ratio(summaries, measure, subject, first)) ?? Number.POSITIVE_INFINITY;
  const ranks = new Map(measures.map((measure) => [measure, rank(measure)]));
  // Equal ranks stay in the order in which they were measured.
  measures.sort((a, b) => {
    const [left = 0, right = 0] = [ranks.get(a), ranks.get(b)];
    return left === right ? 0 : left - right;
  });
  const head = ["measure", ...subjects, ...present.map((name) => `${subject}/${name}`)];
  const rows = measures.map((measure) => [
    measure,
    ...subjects.map((name) => cell(summaries.get(name)?.get(measure))),
    ...present.map((name) => {
      const value = ratio(summaries, measure, subject, name);
      return value === null ? "" : `${value.toFixed(2)}x`;
    }),
  ]);
  const widths = head.map((_, column) => Math.max(...[head, ...rows].map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    `| ${row.map((text, column) => (column === 0 ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0))).join(" | ")} |`;
  return [line(head), line(widths.map((width) => "-".repeat(width))), ...rows.map(line)].join("\n");
}

function cell(value: Summary | undefined): string {
  if (value === undefined) return "";
  const text = significant(value.median);
  return value.min === value.max ? text : `${text} (${significant(value.min)}–${significant(value.max)})`;
}

/** Three significant digits, and no exponent. */
function significant(value: number): string {
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
  return `${Number(value.toPrecision(3))}`;
}
