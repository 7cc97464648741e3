/** What is shown of an administration's answer: a cell for each title, and columns that line up. */
import { type Json, text } from "./admin_json.ts";
import type { Style } from "./style.ts";

/** Title → cell of one item, in the order of the columns. */
export type Columns = Readonly<Record<string, (item: Json) => string>>;

/** The cell of a member. */
export function field(...path: readonly string[]): (item: Json) => string {
  return (item) => text(item, ...path);
}

/** Items as rows, each column as wide as its widest cell, two spaces between; the last column is not padded. */
export function formatTable(columns: Columns, items: readonly Json[], style: Style): string {
  const head = Object.keys(columns);
  const rows = items.map((item) => Object.values(columns).map((cell) => cell(item)));
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]?.length ?? 0)),
  );
  const line = (cells: readonly string[]): string =>
    cells
      .map((cell, column) => (column === cells.length - 1 ? cell : cell.padEnd(widths[column] ?? 0)))
      .join("  ");
  return [style.bold(line(head)), ...rows.map(line)].map((each) => `${each}\n`).join("");
}
