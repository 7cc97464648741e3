/** Tables of `bench -- micro`: a function of nanoseconds by its median and best batch, an engine by its rounds of processor time. */
import type { MicroResult } from "../micro/measure.ts";
import type { EngineFigure } from "../micro/record.ts";
import { markdown, rangedOrNot, significant } from "./cells.ts";

/** A case a row; how long it takes by size, and the reference at the largest one. */
export function policyTable(results: readonly MicroResult[]): string {
  const [first] = results;
  const reference = results.find(({ variant }) => variant !== first?.variant)?.variant ?? "reference";
  const sizes = [...new Set(results.map(({ size }) => size ?? 0))].sort((a, b) => a - b);
  const names = [...new Set(results.map(({ name }) => name))];
  const cell = (found: MicroResult | undefined) =>
    found === undefined ? "" : `${duration(found.medianNs)} (${duration(found.bestNs)})`;
  const rows = names.map((name) => {
    const own = results.filter((result) => result.name === name);
    const [variant] = own.map((result) => result.variant);
    const beside = own.filter((result) => result.variant !== variant).at(-1);
    const at = beside === undefined || beside.size === sizes.at(-1) ? "" : ` at ${beside.size}`;
    return [
      name,
      ...sizes.map((size) =>
        cell(own.find((result) => result.variant === variant && (result.size ?? 0) === size)),
      ),
      `${cell(beside)}${at}`,
    ];
  });
  const ofSize = (size: number) => (size === 0 ? "of no size" : `${size.toLocaleString("en")} policies`);
  return markdown(["case", ...sizes.map(ofSize), reference], rows);
}

export function engineTable(figures: readonly EngineFigure[]): string {
  return markdown(
    ["engine", "what", "median (lowest–highest)", "unit"],
    figures.map(({ engine, name, unit, rounds }) => [engine, name, rangedOrNot(rounds), unit]),
  );
}

function duration(ns: number): string {
  if (ns < 1e3) return `${significant(ns)} ns`;
  return ns < 1e6 ? `${significant(ns / 1e3)} us` : `${significant(ns / 1e6)} ms`;
}
