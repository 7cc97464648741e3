/**
 * Fuzzes one target in a process of its own, so that one who hangs or runs out of memory takes no other with it. Its sources are
 * instrumented as they are loaded, so nothing of `src/` is imported here but by the target.
 *
 * Arguments: target, file of the running input, how it is run as JSON. Lines of JSON come out; the last has all of the result.
 */

import { heapStats } from "bun:jsc";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { readInputs, writeInputs } from "./corpus.ts";
import { Fuzzer } from "./fuzzer.ts";
import { instrument } from "./instrument.ts";
import { Draw } from "./mutate.ts";
import { RunningInput } from "./running_input.ts";
import type { Target } from "./target.ts";
import { bytesOf } from "./target.ts";
import { targetEntries } from "./targets.ts";
import type { WorkerJob, WorkerResult } from "./worker_job.ts";

const root = join(import.meta.dir, "..", "..");
const [name = "", runningPath = "", jobText = "{}"] = process.argv.slice(2);
const job: WorkerJob = JSON.parse(jobText);
const entry = targetEntries.find((one) => one.name === name);
if (entry === undefined) throw new Error(`no target ${name}`);

let counters = 0;
const words = new Set<string>();

Bun.plugin({
  name: "fairlead-fuzz",
  setup: (build) => {
    build.onLoad({ filter: /\/src\/.*\.ts$/ }, ({ path }) => {
      const source = readFileSync(path, "utf8");
      const relative = path.slice(root.length + 1);
      const isTestCode = relative.includes("/testing/") || relative.endsWith(".gen.ts");
      if (isTestCode || !entry.sources.some((one) => relative.startsWith(one)))
        return { contents: source, loader: "ts" };
      const made = instrument(source, counters);
      counters += made.counters;
      for (const [, word = ""] of source.matchAll(/"([^"\\\n]{2,40})"/g)) words.add(word);
      return { contents: made.text, loader: "ts" };
    });
  },
});

const { target }: { readonly target: Target } = await import(`./targets/${entry.file}`);
const running = new RunningInput(runningPath);
const fuzzer = new Fuzzer(target, {
  total: () => counters,
  clock: {
    now: () => performance.now(),
    processorMs: () => {
      const { user, system } = process.cpuUsage();
      return (user + system) / 1000;
    },
    heldBytes: () => {
      Bun.gc(true);
      return heapStats().heapSize + heapStats().extraMemorySize;
    },
  },
  dictionary: [
    ...(target.dictionary ?? []).map((word) => (typeof word === "string" ? bytesOf(word) : word)),
    ...[...words].map(bytesOf),
  ],
  onRun: (input) => running.set(input),
});

const found = readInputs("found", name);
const kept = readInputs("corpus", name);
await fuzzer.replay(job.replay === null ? [...found, ...kept] : [Uint8Array.fromBase64(job.replay)]);
const keptReached = fuzzer.coverage.reached;
if (job.replay === null) {
  // Whatever of them leads anywhere is in the corpus by now.
  if (kept.length === 0 || job.keep) await fuzzer.replay(await target.seeds());
  const fixed = fuzzer.runs + job.fixedRuns;
  await fuzzer.explore(new Draw(job.fixedSeed), () => fuzzer.runs < fixed);
  const end = performance.now() + job.seconds * 1000;
  await fuzzer.explore(new Draw(job.seed), () => performance.now() < end);
}
if (job.keep) writeInputs("corpus", name, await fuzzer.minimised());

const result: WorkerResult = {
  runs: fuzzer.runs,
  branches: counters,
  reached: fuzzer.coverage.reached,
  keptReached,
  kept: kept.length,
  corpus: fuzzer.corpus.length,
  longestTurnMs: fuzzer.longestTurnMs,
  rssBytes: process.memoryUsage.rss(),
  crashes: fuzzer.crashes.map(({ message, input }) => ({ message, input: input.toBase64() })),
};
process.stdout.write(`${JSON.stringify(result)}\n`);
process.exit(0);
