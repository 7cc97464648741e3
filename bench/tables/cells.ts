/** Figures and rows as the pages have them. */
import type { Summary } from "../tunnel/report.ts";

/** Three significant digits, and no exponent. */
export function significant(value: number): string {
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString("en");
  return `${Number(value.toPrecision(3))}`;
}

export function ranged({ median, min, max }: Summary): string {
  const text = significant(median);
  return min === max ? text : `${text} (${significant(min)}–${significant(max)})`;
}

export function summaryOf(values: readonly number[]): Summary {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const at = (index: number) => sorted[index] ?? Number.NaN;
  const median = sorted.length % 2 === 1 ? at(middle) : (at(middle - 1) + at(middle)) / 2;
  return { median, min: at(0), max: at(sorted.length - 1) };
}

/** Of those that were measured. */
export function rangedOrNot(values: readonly (number | null)[]): string {
  const numbers = values.filter((value) => value !== null);
  return numbers.length === 0 ? "" : ranged(summaryOf(numbers));
}

export function markdown(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}

/** In lines as the pages have them. @param indent of each line but the first */
export function wrapped(text: string, indent = ""): string {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && line.length + word.length + 1 > 120) {
      lines.push(line);
      line = `${indent}${word}`;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line].join("\n");
}
