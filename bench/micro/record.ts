/** What the engines' benches measured, for whoever started them to keep: they are processes of their own. */
import { appendFileSync } from "node:fs";

export interface EngineFigure {
  readonly engine: string;
  readonly name: string;
  readonly unit: "ns" | "us" | "GB/s";
  /** One for each round. */
  readonly rounds: readonly number[];
}

/** The file that figures are added to, a line of JSON each. */
export const figuresVariable = "FAIRLEAD_BENCH_FIGURES";

export function record(figure: EngineFigure): void {
  const path = process.env[figuresVariable];
  if (path !== undefined) appendFileSync(path, `${JSON.stringify(figure)}\n`);
}
