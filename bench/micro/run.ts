/**
 * `npm run bench -- micro [word] [--json file] [--keep]`: the hot functions by themselves, those whose name holds the word.
 * bench/README.md says how to read the table.
 */
import { existsSync, readFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";
import { scratchFolder } from "../../scripts/scratch.ts";
import { keepRaw, place } from "../keep.ts";
import { busyReason, machineState } from "../machine.ts";
import { blackHole, type MicroCase, type MicroResult, measure } from "./measure.ts";
import { policyCases } from "./policy.ts";
import { figuresVariable } from "./record.ts";

/** Add a suite here: a function that yields its cases one by one, so that only one holds its memory at a time. */
const suites: readonly { readonly name: string; readonly cases: () => Iterable<MicroCase> }[] = [
  { name: "policy", cases: policyCases },
];

const args = process.argv.slice(2);
const jsonAt = args.indexOf("--json");
const jsonFile = jsonAt === -1 ? null : args.splice(jsonAt, 2)[1];
const quickAt = args.indexOf("--quick");
const quick = quickAt === -1 ? [] : args.splice(quickAt, 1);
const keepAt = args.indexOf("--keep");
const keep = keepAt !== -1 && args.splice(keepAt, 1).length > 0;
const [word = ""] = args;
const state = await machineState();
const figuresPath = join(scratchFolder("micro"), "figures.jsonl");

console.log(`${cpus()[0]?.model ?? "unknown CPU"}, ${cpus().length} cores, Bun ${Bun.version}\n`);
console.log(row(["", "size", "variant", "median", "best", "against the first"]));
const results: (MicroResult & { readonly suite: string })[] = [];
for (const suite of suites) {
  for (const each of suite.cases()) {
    if (!`${suite.name}: ${each.name}`.includes(word)) continue;
    const result = { suite: suite.name, ...measure(each) };
    const first = results.find((other) => other.name === each.name && other.size === each.size);
    results.push(result);
    console.log(
      row([
        `${suite.name}: ${each.name}`,
        each.size === null ? "" : each.size.toLocaleString("en"),
        each.variant,
        duration(result.medianNs),
        duration(result.bestNs),
        first === undefined ? "" : `${(result.medianNs / first.medianNs).toFixed(1)}x`,
      ]),
    );
  }
}
// Engines that drive both ends at once and count CPU time have tables of their own.
for (const engine of ["h2", "waypoint"])
  if (word === "" || word === engine) {
    const argv = [process.execPath, join(import.meta.dir, `${engine}.ts`), ...quick];
    const env = { ...process.env, [figuresVariable]: figuresPath };
    const code = await Bun.spawn(argv, { env, stdio: ["ignore", "inherit", "inherit"] }).exited;
    if (code !== 0) process.exit(code);
  }
const lines = existsSync(figuresPath) ? readFileSync(figuresPath, "utf8").trim().split("\n") : [];
const figures: unknown[] = lines.map((line) => JSON.parse(line));
const all = { ...place(), busy: busyReason(state), load: state.load, results, figures };
if (jsonFile !== null) await Bun.write(jsonFile ?? "micro.json", `${JSON.stringify(all, null, 1)}\n`);
// A part of them is no table.
if (keep && word === "" && quick.length === 0) keepRaw("micro", all);
if (Number.isNaN(blackHole())) throw new Error("a case returned no number");

function row(cells: readonly string[]): string {
  const widths = [68, 8, 11, 10, 10, 18];
  return cells
    .map((cell, at) => (at === 0 ? cell.padEnd(widths[0] ?? 0) : cell.padStart(widths[at] ?? 0)))
    .join(" ");
}

function duration(ns: number): string {
  if (ns < 1e3) return `${ns.toFixed(0)} ns`;
  return ns < 1e6 ? `${(ns / 1e3).toFixed(2)} us` : `${(ns / 1e6).toFixed(2)} ms`;
}
