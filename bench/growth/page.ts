/** The table, and below it what is not flat. */
import { wrapped } from "../tables/cells.ts";
import type { Summaries } from "../tunnel/report.ts";
import { curve } from "./curve.ts";
import { growthTable } from "./table.ts";

export function growthPage(summaries: Summaries): string {
  const lines = curve(summaries);
  const said =
    lines.length === 0
      ? "Nothing grows."
      : `What grows to more than 1.5 times the first row:\n\n${lines.map((line) => wrapped(line, "  ")).join("\n")}`;
  return `${growthTable(summaries)}\n\n${said}`;
}
