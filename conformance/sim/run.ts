/**
 * `bun conformance/sim/run.ts [--seeds=200] [--first=1] [--seed=N] [--verbose]`: whole meshes in memory, one for each seed. Seeds that
 * failed once are kept in `seeds.json` and run first, for ever. The same seed gives the same run.
 */
import { join } from "node:path";
import { createPki } from "./authority.ts";
import { runSeed, type Verdict } from "./run_seed.ts";

const keptPath = join(import.meta.dir, "seeds.json");

interface Options {
  readonly seeds: number;
  readonly first: number;
  readonly only: number | null;
  readonly verbose: boolean;
  readonly keep: boolean;
}

function readOptions(args: readonly string[]): Options | null {
  const number = (name: string, fallback: number): number => {
    const text = args.find((arg) => arg.startsWith(`--${name}=`))?.slice(name.length + 3);
    return text === undefined ? fallback : Number(text);
  };
  const known = /^--(?:(?:seeds|first|seed)=\d+|verbose|no-keep)$/;
  if (args.some((arg) => !known.test(arg))) return null;
  const seed = number("seed", -1);
  return {
    seeds: number("seeds", 200),
    first: number("first", 1),
    only: seed === -1 ? null : seed,
    verbose: args.includes("--verbose"),
    keep: !args.includes("--no-keep"),
  };
}

/** Regression seeds first, then new ones. */
async function chooseSeeds({ only, seeds, first }: Options): Promise<readonly number[]> {
  if (only !== null) return [only];
  const kept = await readKept();
  const fresh = Array.from({ length: seeds }, (_, index) => first + index).filter(
    (seed) => !kept.includes(seed),
  );
  return [...kept, ...fresh];
}

async function readKept(): Promise<readonly number[]> {
  const value: unknown = await Bun.file(keptPath).json();
  if (!Array.isArray(value) || !value.every((seed) => Number.isSafeInteger(seed)))
    throw new Error(`${keptPath} is not a list of seeds`);
  return value;
}

async function keep(seed: number): Promise<void> {
  const kept = await readKept();
  if (!kept.includes(seed)) await Bun.write(keptPath, `${JSON.stringify([...kept, seed])}\n`);
}

function describe({ seed, plan, found }: Verdict, trace: readonly string[]): string {
  const shape = `${plan.machines.length} machines, ${plan.workloads.length} workloads, ${plan.connections.length} connections`;
  const shownLines = trace.slice(-maxTraceLines);
  const skipped =
    trace.length > shownLines.length ? [`… ${trace.length - shownLines.length} lines before`] : [];
  return [
    `seed ${seed} failed (${shape}; faults: ${[...plan.kinds].join(", ") || "none"})`,
    ...skipped,
    ...shownLines,
    ...found.map((what) => `  ✗ ${what}`),
    `  again: bun conformance/sim/run.ts --seed=${seed} --verbose`,
  ].join("\n");
}

const maxTraceLines = 60;

async function main(): Promise<number> {
  const options = readOptions(process.argv.slice(2));
  if (options === null) {
    console.error(
      "usage: bun conformance/sim/run.ts [--seeds=200] [--first=1] [--seed=N] [--verbose] [--no-keep]",
    );
    return 2;
  }
  const pki = await createPki();
  const seeds = await chooseSeeds(options);
  const started = performance.now();
  let failed = 0;
  let simulatedMs = 0;
  for (const [index, seed] of seeds.entries()) {
    const trace: string[] = [];
    const onTrace = (line: string) => void (options.verbose ? console.log(line) : trace.push(line));
    const verdict = await runSeed(seed, pki, onTrace);
    simulatedMs += verdict.simulatedMs;
    if (verdict.found.length > 0) {
      failed++;
      console.log(describe(verdict, trace));
      if (options.keep && options.only === null) await keep(seed);
    } else if (options.verbose)
      console.log(`seed ${seed}: ${verdict.steps} events, trace ${verdict.traceHash.toString(16)}`);
    if (process.stdout.isTTY)
      process.stdout.write(`\r${index + 1} of ${seeds.length} seeds, ${failed} failed `);
  }
  if (process.stdout.isTTY) process.stdout.write("\n");
  const seconds = (performance.now() - started) / 1000;
  console.log(`${(simulatedMs / 3_600_000).toFixed(1)} simulated hours in ${seconds.toFixed(1)} s`);
  console.log(`${seeds.length - failed} passed, ${failed} failed`);
  return failed === 0 ? 0 : 1;
}

process.exit(await main());
