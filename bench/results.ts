/** Results as files beside the tables: every round, the settings and the machine. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { repository } from "../conformance/peer/lab/tools.ts";
import { type Benchmark, keepRaw, place } from "./keep.ts";
import type { MachineState } from "./machine.ts";
import { type Run, summarize } from "./tunnel/report.ts";

export interface Results {
  readonly name: Benchmark;
  readonly runs: readonly Run[];
  readonly rounds: number;
  readonly settings: Readonly<Record<string, unknown>>;
  /** Before each round. */
  readonly states: readonly MachineState[];
  /** Why it is nothing to publish; null for a quiet machine. */
  readonly busy: string | null;
  /** For the tables of the pages. */
  readonly keep: boolean;
}

/** @returns the path. */
export function writeResults({ name, runs, rounds, settings, states, busy, keep }: Results): string {
  const directory = join(repository, "bench/results");
  mkdirSync(directory, { recursive: true });
  const where = { ...place(), busy, states };
  const path = join(directory, `${name}_${new Date().toISOString().replaceAll(":", "")}.json`);
  const summaries = Object.fromEntries(
    [...summarize(runs)].map(([subject, values]) => [subject, Object.fromEntries(values)]),
  );
  const results = { ...where, rounds, settings, summaries, runs };
  writeFileSync(path, `${JSON.stringify(results, null, 1)}\n`);
  if (keep) keepRaw(name, results);
  return path;
}
