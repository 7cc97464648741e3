/** One finding at a place in a file, with the line it is about. */
import { formatLocation, type Location } from "../mesh/location.ts";
import type { Style } from "./style.ts";

export interface Finding {
  readonly severity: "error" | "warning";
  readonly location: Location;
  readonly resource: string | null;
  readonly message: string;
  readonly word?: string;
  readonly suggestion?: string;
}

/**
 * As compilers write it, so that editors can jump to it:
 *
 *     mesh.yaml:12:7: error: AuthorizationPolicy shop/a: unknown field "princpals"; did you mean "principals"?
 *        12 |       princpals: ["*"]
 *           |       ^^^^^^^^^
 */
export function formatFinding(finding: Finding, sourceLine: string | null, style: Style): string {
  const { severity, location, resource, message } = finding;
  const paint = severity === "error" ? style.red : style.yellow;
  const subject = resource === null ? "" : `${resource}: `;
  const head = `${style.bold(formatLocation(location))}: ${paint(severity)}: ${subject}${message}\n`;
  if (sourceLine === null) return head;
  const number = String(location.line).padStart(6);
  const text = cutLine(sourceLine, location.column);
  const marks = "^".repeat(Math.max(1, markLength(finding, sourceLine)));
  const margin = style.dim("       |");
  return `${head}${style.dim(`${number} |`)} ${text.line}\n${margin} ${" ".repeat(text.column - 1)}${paint(marks)}\n`;
}

const maxShownColumns = 100;

/** A very long line (JSON in one line) is shown around the place; tabs become spaces, so that the mark stands under it. */
function cutLine(line: string, column: number): { readonly line: string; readonly column: number } {
  const start = column > maxShownColumns ? column - Math.floor(maxShownColumns / 2) : 0;
  const shown = line.slice(start, start + maxShownColumns).replaceAll("\t", " ");
  return { line: shown, column: column - start };
}

function markLength(finding: Finding, line: string): number {
  const { word, location } = finding;
  return word !== undefined && line.startsWith(word, location.column - 1)
    ? Math.min(word.length, maxShownColumns / 2)
    : 1;
}
