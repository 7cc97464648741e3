/** Results as files beside the tables: every round, the settings and the machine. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { repository } from "../conformance/peer/lab/tools.ts";
import { type MachineState, machine } from "./machine.ts";
import { type Run, summarize } from "./tunnel/report.ts";

export interface Results {
  /** `tunnel`, `waypoint`. */
  readonly name: string;
  readonly runs: readonly Run[];
  readonly rounds: number;
  readonly settings: Readonly<Record<string, unknown>>;
  /** Before each round. */
  readonly states: readonly MachineState[];
  /** Why it is nothing to publish; null for a quiet machine. */
  readonly busy: string | null;
}

/** @returns the path. */
export function writeResults({ name, runs, rounds, settings, states, busy }: Results): string {
  const directory = join(repository, "bench/results");
  mkdirSync(directory, { recursive: true });
  const date = new Date().toISOString();
  const path = join(directory, `${name}_${date.replaceAll(":", "")}.json`);
  const summaries = Object.fromEntries(
    [...summarize(runs)].map(([subject, values]) => [subject, Object.fromEntries(values)]),
  );
  const where = { machine: machine(), bun: Bun.version, busy, states };
  writeFileSync(path, `${JSON.stringify({ date, ...where, rounds, settings, summaries, runs }, null, 1)}\n`);
  return path;
}
