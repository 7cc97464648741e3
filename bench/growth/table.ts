/** A row for each subject and point; outbound and inbound share a cell. */
import { markdown, ranged } from "../tables/cells.ts";
import type { Summaries } from "../tunnel/report.ts";

export const columns: readonly (readonly [said: string, measure: string, hasRoles: boolean])[] = [
  ["CPU µs/request", "CPU us/request", true],
  ["p99 ms", "p99 ms", false],
  ["CPU µs/new connection", "CPU us/new connection", true],
  ["p99 of one, ms", "new connection p99 ms", false],
  ["CPU s until ready", "CPU s until ready", true],
  ["idle CPU ms/s", "idle CPU ms a second", true],
  ["MB anonymous", "MB anonymous", true],
  ["longest turn, ms", "longest turn ms", true],
];

/** @param summaries of subjects that are called `subject: point`. */
export function growthTable(summaries: Summaries): string {
  const rows = [...summaries].map(([name, measures]) => {
    const cells = columns.map(([, measure, hasRoles]) =>
      (hasRoles ? [" outbound", " inbound"] : [""])
        .map((role) => {
          const found = measures.get(`${measure}${role}`);
          return found === undefined ? "?" : ranged(found);
        })
        .join(" / "),
    );
    const colon = name.indexOf(": ");
    return [name.slice(colon + 2), name.slice(0, colon), ...cells];
  });
  return markdown(["outbound / inbound", "", ...columns.map(([said]) => said)], rows);
}
