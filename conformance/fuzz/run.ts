/**
 * `npm run fuzz -- SECONDS`: every parser of strangers' bytes, for that many seconds in all. `--target=NAME` only one; `--seed=N` repeats a
 * run; `--keep` writes what was found into the corpora; `--replay=NAME:BASE64` runs one input; `--fixed` runs the same inputs each time,
 * whatever the clock says.
 */
import { join } from "node:path";
import { scratchFolder } from "../../scripts/scratch.ts";
import { formatTally } from "../../scripts/tally.ts";
import { RunningInput } from "./running_input.ts";
import type { TargetEntry } from "./target.ts";
import { targetEntries } from "./targets.ts";
import type { WorkerJob, WorkerResult } from "./worker_job.ts";

/** One input may take so long before it hangs: far above any turn, so that a busy machine is no hang. */
const hangMs = 20_000;
const lookMs = 250;
/** A target's start, and what is kept, cost time beside the seconds that were asked for. */
const aliveMs = 120_000;
const fixedRuns = 400;
/** That of `--fixed`, and of what comes first in every run. */
const fixedSeed = 1;

interface Options {
  readonly seconds: number;
  readonly seed: number;
  readonly keep: boolean;
  /** No input of a fresh seed, and as many of the fixed one as the list of targets says: a run that is the same on every machine. */
  readonly isFixed: boolean;
  readonly only: string | null;
  readonly replay: { readonly target: string; readonly input: string } | null;
}

function parseArguments(args: readonly string[]): Options {
  let seconds = 20;
  let seed = crypto.getRandomValues(new Uint32Array(1))[0] ?? 0;
  let keep = false;
  let isFixed = false;
  let only: string | null = null;
  let replay: Options["replay"] = null;
  for (const arg of args) {
    const [flag = "", value = ""] = arg.split(/=(.*)/s);
    if (/^[0-9]+$/.test(arg)) seconds = Number(arg);
    else if (flag === "--seed" && /^[0-9]+$/.test(value)) seed = Number(value);
    else if (arg === "--keep") keep = true;
    else if (arg === "--fixed") isFixed = true;
    else if (flag === "--target") only = value;
    else if (flag === "--replay") {
      const [target = "", input = ""] = value.split(/:(.*)/s);
      replay = { target, input };
    } else {
      console.error(
        "usage: npm run fuzz -- [SECONDS | --fixed] [--target=NAME] [--seed=N] [--keep] [--replay=NAME:BASE64]",
      );
      process.exit(2);
    }
  }
  if (isFixed) {
    seconds = 0;
    seed = fixedSeed;
  }
  return { seconds, seed, keep, isFixed, only: replay?.target ?? only, replay };
}

type Outcome = WorkerResult | { readonly hang: string; readonly input: string };

async function runTarget(entry: TargetEntry, job: WorkerJob, scratch: string): Promise<Outcome> {
  const path = join(scratch, entry.name);
  const running = new RunningInput(path);
  const child = Bun.spawn(
    [process.execPath, join(import.meta.dir, "worker.ts"), entry.name, path, JSON.stringify(job)],
    {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    },
  );
  const began = performance.now();
  let seen = running.get().count;
  let seenAt = performance.now();
  let hung: string | null = null;
  const watch = setInterval(() => {
    const { count } = running.get();
    const now = performance.now();
    if (count !== seen) {
      seen = count;
      seenAt = now;
    }
    if (count > 0 && now - seenAt > hangMs) hung = `no end after ${hangMs / 1000} s`;
    else if (now - began > job.seconds * 1000 + aliveMs && !job.keep)
      hung = "the target did not come to its end";
    if (hung !== null) child.kill("SIGKILL");
  }, lookMs);
  const output = await new Response(child.stdout).text();
  const exitCode = await child.exited;
  clearInterval(watch);
  if (exitCode === 0) return JSON.parse(output.trim().split("\n").at(-1) ?? "{}");
  return {
    hang: hung ?? `the process ended with ${child.signalCode ?? exitCode}`,
    input: running.get().input.toBase64(),
  };
}

function percent(part: number, whole: number): number {
  return whole === 0 ? 0 : Math.floor((part * 100) / whole);
}

const { seconds, seed, keep, isFixed, only, replay } = parseArguments(process.argv.slice(2));
const entries = targetEntries.filter(({ name }) => only === null || name === only);
if (entries.length === 0) {
  console.error(`no such target; there are ${targetEntries.map(({ name }) => name).join(", ")}`);
  process.exit(2);
}
console.log(
  isFixed
    ? `${entries.length} targets, what is kept and as many inputs of seed ${fixedSeed} each as are listed`
    : `seed ${seed}: ${entries.length} targets, ${seconds} s in all, beside what is kept and ${fixedRuns} inputs of seed ${fixedSeed} each`,
);
const scratch = scratchFolder("fuzz");
const sum = { runs: 0, branches: 0, reached: 0, crashes: 0 };
let longestTurnMs = 0;
let passed = 0;
let failed = 0;
for (const entry of entries) {
  const job: WorkerJob = {
    seconds: seconds / entries.length,
    seed,
    fixedSeed,
    fixedRuns: isFixed ? entry.fixedInputs : fixedRuns,
    keep,
    replay: replay?.input ?? null,
  };
  const outcome = await runTarget(entry, job, scratch);
  if ("hang" in outcome) {
    sum.crashes++;
    failed++;
    console.log(`✗ ${entry.name}: ${outcome.hang}; npm run fuzz -- --replay=${entry.name}:${outcome.input}`);
    continue;
  }
  sum.runs += outcome.runs;
  sum.branches += outcome.branches;
  sum.reached += outcome.reached;
  sum.crashes += outcome.crashes.length;
  longestTurnMs = Math.max(longestTurnMs, outcome.longestTurnMs);
  for (const { message, input } of outcome.crashes)
    console.log(`✗ ${entry.name}: ${message}\n  npm run fuzz -- --replay=${entry.name}:${input}`);
  const keptPercent = percent(outcome.keptReached, outcome.branches);
  const hasRotted = replay === null && !keep && keptPercent < entry.floor;
  if (hasRotted)
    console.log(
      `✗ ${entry.name}: the kept corpus reaches ${keptPercent} % of the branches, not ${entry.floor} %; npm run fuzz -- 60 --target=${entry.name} --keep`,
    );
  const isFine = outcome.crashes.length === 0 && !hasRotted;
  if (isFine) passed++;
  else failed++;
  console.log(
    `${isFine ? "ok" : "failed"}  ${entry.name}: ${outcome.runs} inputs, ${outcome.reached} of ${outcome.branches} branches (${percent(outcome.reached, outcome.branches)} %), corpus ${outcome.kept} kept (${keptPercent} %) + ${outcome.corpus - Math.min(outcome.kept, outcome.corpus)}, longest turn ${outcome.longestTurnMs.toFixed(1)} ms, ${Math.round(outcome.rssBytes / 1e6)} MB`,
  );
}
console.log(
  `\n${sum.runs} inputs, coverage ${sum.reached} of ${sum.branches} branches (${percent(sum.reached, sum.branches)} %), longest turn ${longestTurnMs.toFixed(1)} ms, seed ${seed}, crashes ${sum.crashes}`,
);
console.log(formatTally({ passed, failed, skipped: 0 }));
process.exit(failed === 0 ? 0 : 1);
