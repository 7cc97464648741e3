/** `--keep`: the raw results that a table of a page is made of, in `bench/raw/`, one file a benchmark. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { repository } from "../conformance/peer/lab/tools.ts";
import { machine } from "./machine.ts";

export type Benchmark = "tunnel" | "cores" | "growth" | "growth_idle" | "waypoint" | "control" | "micro";

/** Where and when, as every file of raw results has it. */
export function place(): Readonly<Record<string, unknown>> {
  return { date: new Date().toISOString(), machine: machine(), bun: Bun.version };
}

export function keepRaw(name: Benchmark, results: object): void {
  const directory = join(repository, "bench/raw");
  mkdirSync(directory, { recursive: true });
  const path = join(directory, `${name}.json`);
  writeFileSync(path, `${JSON.stringify(results, null, 1)}\n`);
  console.log(`kept in ${path}; npm run bench -- tables writes the pages' tables of it`);
}
