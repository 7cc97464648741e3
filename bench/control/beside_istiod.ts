/** The same mesh at ours and at a whole istiod: one table, the ratio of each figure, how much of it istiod takes. */
import { markdown, rangedOrNot, significant, summaryOf } from "../tables/cells.ts";
import type { Row } from "./measure.ts";

export interface IstiodRound {
  readonly rows: readonly Row[];
  /** Resident: with the mesh, and with all nodes. */
  readonly readyBytes: number;
  readonly connectedBytes: number;
  /** Resident memory of the API server and its store together, without which there is no istiod. */
  readonly besideBytes: number;
}

export interface ComparedRound {
  readonly rows: readonly Row[];
  readonly memory: { readonly connectedBytes: number };
  /** Null where there was none to measure. */
  readonly istiod: IstiodRound | null;
}

type Figure = readonly [name: string, of: (row: Row) => number | null];

const figures: readonly Figure[] = [
  ["last ms", ({ lastMs }) => lastMs],
  ["CPU ms", ({ cpuMs }) => cpuMs],
];

/** Null when no round has an istiod. */
export function besideIstiod(rounds: readonly ComparedRound[]): string | null {
  const compared = rounds.filter(({ istiod }) => istiod !== null);
  const rows = compared.flatMap(({ istiod }) => istiod?.rows ?? []);
  if (rows.length === 0) return null;
  const whats = new Set(rows.map(({ what }) => what));
  const lines = [...whats].flatMap((what) =>
    figures.map(([name, of]) =>
      line(
        `${what}: ${name}`,
        compared.map((round) => figureOf(round.rows, what, of)),
        compared.map(({ istiod }) => figureOf(istiod?.rows ?? [], what, of)),
      ),
    ),
  );
  const megabytes = (bytes: number | undefined) => (bytes === undefined ? null : bytes / 1024 / 1024);
  lines.push(
    line(
      "resident MB with all nodes",
      compared.map(({ memory }) => megabytes(memory.connectedBytes)),
      compared.map(({ istiod }) => megabytes(istiod?.connectedBytes)),
    ),
    line(
      "resident MB of what it needs beside",
      [],
      compared.map(({ istiod }) => megabytes(istiod?.besideBytes)),
    ),
  );
  return markdown(["what", "Fairlead", "istiod", "istiod/Fairlead"], lines);
}

function figureOf(rows: readonly Row[], what: string, of: Figure[1]): number | null {
  const found = rows.find((row) => row.what === what);
  return found === undefined ? null : of(found);
}

function line(what: string, ours: readonly (number | null)[], theirs: readonly (number | null)[]): string[] {
  const middle = (values: readonly (number | null)[]): number =>
    summaryOf(values.filter((value) => value !== null)).median;
  const ratio = middle(theirs) / middle(ours);
  const shown = significant(Number(ratio.toPrecision(2)));
  const cell = !Number.isFinite(ratio) ? "" : ratio < 1 ? `**${shown}**` : shown;
  return [what, rangedOrNot(ours), rangedOrNot(theirs), cell];
}
