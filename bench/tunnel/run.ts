/** `npm run bench -- tunnel`: the whole comparison, interleaved. */
import { mkdirSync, writeFileSync } from "node:fs";
import { cpus, release } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { cleanUpOnExit, scratchDirectory } from "../../conformance/peer/lab/cleanup.ts";
import { namespacesUnavailable } from "../../conformance/peer/lab/place.ts";
import { runToEnd } from "../../conformance/peer/lab/subprocess.ts";
import { buildGo, findEnvoy, findZtunnel, repository } from "../../conformance/peer/lab/tools.ts";
import { envoySubject } from "../../conformance/peer/subjects/envoy.ts";
import { fairleadSubject } from "../../conformance/peer/subjects/fairlead.ts";
import { ztunnelSubject } from "../../conformance/peer/subjects/ztunnel.ts";
import { type MeasureOptions, measure } from "./measure.ts";
import { type Run, summarize, table } from "./report.ts";
import { bunRelay, meshSubject, plainTcp, type TunnelSubject } from "./subjects.ts";

const usage = `usage: npm run bench -- tunnel [--rounds N] [--quick] [--only name,name]

Measures plain TCP, a bare Bun relay, Envoy, Fairlead and, with ZTUNNEL=path, the real ztunnel: each a pair of processes
in two network namespaces (root), round after round in turn. Prints medians (and min–max) and writes them as JSON.

  --rounds N    rounds of all subjects, default 3
  --quick       one round with short windows: a smoke test, not a measurement
  --only LIST   these subjects only
`;

/** @returns the exit code. */
export async function benchTunnel(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      rounds: { type: "string", default: "3" },
      quick: { type: "boolean", default: false },
      only: { type: "string" },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const unavailable = namespacesUnavailable();
  const load = buildGo("bench/load", "fairlead-load");
  if (unavailable !== null || "missing" in load) {
    console.error(`bench tunnel cannot run: ${unavailable ?? ("missing" in load ? load.missing : "")}`);
    return 1;
  }
  cleanUpOnExit();
  const rounds = values.quick ? 1 : Number(values.rounds);
  const options: MeasureOptions = {
    loadPath: load.path,
    warmUpMs: values.quick ? 300 : 500,
    settleMs: values.quick ? 150 : 1000,
    windowMs: values.quick ? 1000 : 2000,
    idleConnections: 5000,
    concurrency: [1, 32, 256],
  };
  const runs = await interleave(chooseSubjects(values.only), rounds, options);
  if (runs.length === 0) return 1;
  const summaries = summarize(runs);
  console.log(`\n${table(summaries, "fairlead", ["ztunnel", "envoy"])}\n`);
  console.log(`results: ${writeResults(runs, rounds, options)}`);
  return 0;
}

function chooseSubjects(only: string | undefined): TunnelSubject[] {
  const all = [
    plainTcp,
    bunRelay,
    meshSubject(envoySubject(findEnvoy())),
    meshSubject(ztunnelSubject(findZtunnel())),
    meshSubject(fairleadSubject(process.env.FAIRLEAD ?? build())),
  ];
  const wanted = only?.split(",");
  return all.filter((subject) => {
    if (wanted !== undefined && !wanted.includes(subject.name)) return false;
    if (subject.missing !== null) console.error(`skipped: ${subject.name}: ${subject.missing}`);
    return subject.missing === null;
  });
}

/** What is measured is what people run: `dist/fairlead`, built for this run. */
function build(): string {
  runToEnd([process.execPath, join(repository, "scripts/build.ts")], { cwd: repository });
  return join(repository, "dist/fairlead");
}

/** A B C A B C: whatever the machine does meanwhile, it does to all. */
async function interleave(
  subjects: readonly TunnelSubject[],
  rounds: number,
  options: MeasureOptions,
): Promise<Run[]> {
  const scratch = scratchDirectory("bench");
  const runs: Run[] = [];
  for (let round = 1; round <= rounds; round++) {
    for (const subject of subjects) {
      console.error(`round ${round} of ${rounds}: ${subject.name}`);
      const directory = join(scratch, `${subject.name.replace(" ", "_")}_${round}`);
      runs.push({ subject: subject.name, round, measures: await measure(subject, directory, options) });
    }
  }
  return runs;
}

function writeResults(runs: readonly Run[], rounds: number, options: MeasureOptions): string {
  const directory = join(repository, "bench/results");
  mkdirSync(directory, { recursive: true });
  const date = new Date().toISOString();
  const path = join(directory, `tunnel_${date.replaceAll(":", "")}.json`);
  const { loadPath: _, ...settings } = options;
  const machine = {
    kernel: release(),
    cpu: cpus()[0]?.model ?? "unknown",
    cores: cpus().length,
  };
  const summaries = Object.fromEntries(
    [...summarize(runs)].map(([name, values]) => [name, Object.fromEntries(values)]),
  );
  writeFileSync(
    path,
    `${JSON.stringify({ date, machine, bun: Bun.version, rounds, settings, summaries, runs }, null, 1)}\n`,
  );
  return path;
}
