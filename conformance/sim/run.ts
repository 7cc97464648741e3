/**
 * `bun conformance/sim/run.ts [--seeds=200] [--first=1] [--fresh] [--seed=N] [--verbose]`: whole meshes in memory, one for each seed, on
 * every core. Seeds that failed once are kept in `seeds.json` and run first, for ever. The same seed gives the same run.
 * A tenth as many again are run for liveness (`liveness.ts`); with `--liveness`, all of them.
 * `--fresh` draws the first of the new seeds. `--mutants`: is the simulator any good?
 */
import { availableParallelism } from "node:os";
import {
  addTallies,
  emptyTally,
  formatTally,
  oneFailure,
  parseTally,
  type Tally,
} from "../../scripts/tally.ts";
import { createPki, type SimulatedPki } from "./authority.ts";
import { runMutants } from "./mutants.ts";
import { runSeed, type Verdict } from "./run_seed.ts";
import {
  chooseTasks,
  joinValues,
  keepTasks,
  type RunOptions,
  readOptions,
  type Task,
  usage,
} from "./seeds.ts";

const maxTraceLines = 60;
const failedSeed = /^seed (\d+) failed( for liveness)?/gm;

function describe({ seed, plan, found }: Verdict, { liveness }: Task, trace: readonly string[]): string {
  const shape = `${plan.machines.length} machines, ${plan.workloads.length} workloads, ${plan.connections.length} connections`;
  const shown = trace.slice(-maxTraceLines);
  const skipped = trace.length > shown.length ? [`… ${trace.length - shown.length} lines before`] : [];
  return [
    `seed ${seed} failed${liveness ? " for liveness" : ""} (${shape}; faults: ${[...plan.kinds].join(", ") || "none"})`,
    ...skipped,
    ...shown,
    ...found.map((what) => `  ✗ ${what}`),
    `  again: bun conformance/sim/run.ts --seed=${seed}${liveness ? " --liveness" : ""} --verbose`,
  ].join("\n");
}

function noticedBy({ found }: Verdict, checker: string): boolean {
  return found.some((what) => what.startsWith(`${checker}:`));
}

/** In this process, one after the other. @returns whether all passed. */
async function runHere(options: RunOptions): Promise<boolean> {
  const pki = await createPki();
  const tasks = await chooseTasks(options);
  let passed = 0;
  let failed = 0;
  let simulatedMs = 0;
  for (const task of tasks) {
    const trace: string[] = [];
    const onTrace = (line: string) => void (options.verbose ? console.log(line) : trace.push(line));
    const verdict = await (task === tasks[0] ? runTwice : runTask)(task, pki, onTrace);
    simulatedMs += verdict.simulatedMs;
    if (verdict.found.length > 0) {
      failed++;
      console.log(describe(verdict, task, trace));
      if (options.until?.some((checker) => noticedBy(verdict, checker))) break;
    } else passed++;
    if (options.verbose)
      console.log(`seed ${task.seed}: ${verdict.steps} events, trace ${verdict.traceHash.toString(16)}`);
  }
  console.log(`${(simulatedMs / 3_600_000).toFixed(1)} simulated hours`);
  console.log(`${passed} passed, ${failed} failed`);
  return failed === 0;
}

function runTask(
  { seed, liveness }: Task,
  pki: SimulatedPki,
  onTrace: ((line: string) => void) | null,
): Promise<Verdict> {
  return runSeed(seed, pki, onTrace, liveness);
}

/** A seed that fails is worth something only if it fails again: each process makes sure with its first. */
async function runTwice(task: Task, pki: SimulatedPki, onTrace: (line: string) => void): Promise<Verdict> {
  const again = await runTask(task, await createPki(), null);
  const verdict = await runTask(task, pki, onTrace);
  if (again.traceHash === verdict.traceHash && again.steps === verdict.steps) return verdict;
  return { ...verdict, found: [...verdict.found, "determinism: the same seed gave another run"] };
}

/** Shares the seeds out to one process for each core. */
async function runShared(options: RunOptions, args: readonly string[]): Promise<boolean> {
  const started = performance.now();
  const count = Math.min(availableParallelism(), 8);
  const shares = Array.from({ length: count }, (_, index) => startShare(args, index, count));
  const outputs = await Promise.all(
    shares.map(async (share) => {
      const output = await new Response(share.stdout).text();
      const exitCode = await share.exited;
      if (exitCode !== 0 && options.until !== null) for (const other of shares) other.kill();
      // A share that did not come to its last line has failed, whatever it said before.
      return parseTally(output) === null ? `${output}0 passed, 1 failed\n` : output;
    }),
  );
  console.log(outputs.map((output) => output.replace(/^\d+ passed, \d+ failed\n/gm, "").trim()).join("\n"));
  const { passed, failed } = outputs
    .map(parseTally)
    .reduce<Tally>((total, tally) => addTallies(total, tally ?? oneFailure), emptyTally);
  const tasks = outputs.flatMap((output) =>
    [...output.matchAll(failedSeed)].map(
      ([, seed, liveness]): Task => ({ seed: Number(seed), liveness: liveness !== undefined }),
    ),
  );
  if (options.keep) await keepTasks(tasks);
  console.log(`${((performance.now() - started) / 1000).toFixed(1)} s on ${count} cores`);
  console.log(formatTally({ passed, failed, skipped: 0 }));
  return failed === 0;
}

function startShare(args: readonly string[], index: number, count: number) {
  // Each of the many small WebAssembly memories would reserve 4 GiB of addresses, and a full collection when they run out.
  const env = { ...process.env, BUN_JSC_useWasmFastMemory: "0" };
  const command = [process.execPath, import.meta.path, ...args, `--share=${index}/${count}`];
  return Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "inherit", env });
}

async function main(given: readonly string[]): Promise<number> {
  const args = joinValues(given);
  if (args.includes("--mutants")) return await runMutants(args);
  const options = readOptions(args);
  if (options === null) {
    console.error(usage);
    return 2;
  }
  if (options.fresh && options.share === null) {
    const first = 1_000_000 + Math.floor(Math.random() * 1_000_000_000_000);
    console.log(`new seeds from ${first} on: --first=${first}`);
    return (await runShared(options, [...args.filter((arg) => !/^--f/.test(arg)), `--first=${first}`]))
      ? 0
      : 1;
  }
  const alone = options.share !== null || options.only !== null;
  return (await (alone ? runHere(options) : runShared(options, args))) ? 0 : 1;
}

process.exit(await main(process.argv.slice(2)));
