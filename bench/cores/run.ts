/** `npm run bench -- cores`: one worker and several, beside ztunnel with as many threads. */
import { parseArgs } from "node:util";
import { findZtunnel } from "../../conformance/peer/lab/tools.ts";
import { fairleadSubject } from "../../conformance/peer/subjects/fairlead.ts";
import type { NodeSubject } from "../../conformance/peer/subjects/subject.ts";
import { ztunnelSubject } from "../../conformance/peer/subjects/ztunnel.ts";
import { commonFlags, prepareNamespaces, roundDirectory } from "../namespaces.ts";
import { Rounds } from "../rounds.ts";
import { builtHere } from "../subject_binary.ts";
import { table } from "../tunnel/report.ts";
import { type CoresOptions, measureCores } from "./measure.ts";
import { Quotas } from "./quota.ts";

const usage = `usage: npm run bench -- cores [--workers 1,2] [--quota 0.2] [--rounds N] [--quick] [--only name,name] [--anyway] [--keep]

Fairlead with so many workers and, with ZTUNNEL=path, the real ztunnel with as many threads (ZTUNNEL_WORKER_THREADS): requests on 32
and 256 connections, new connections, how evenly workers and connections are served, and memory. Two network namespaces (root), rounds
in turn. The client, the server and both nodes share the processors: with two of them, two workers cannot be twice as fast. So requests
are measured once more with each worker, or thread, limited to a part of a processor, of which there are enough then.

  --workers LIST numbers of workers, default 1,2; 1 is one process
  --quota PART   of a processor, for each worker in the second half; default 0.2, 0 leaves that half out (control groups)
  --rounds N     rounds of all of it, default 5
  --quick        one round, short windows: a smoke test, not a measurement
  --only LIST    these subjects only: "fairlead 2"
  --anyway       measure on a busy machine, too; the results say that it was one
  --keep         its raw results are those that the pages' tables are made of (bench/raw); not with --only
`;

/** @returns the exit code. */
export async function benchCores(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      workers: { type: "string", default: "1,2" },
      rounds: { type: "string", default: "5" },
      quota: { type: "string", default: "0.2" },
      ...commonFlags,
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const prepared = prepareNamespaces("cores");
  if (prepared === null) return 1;
  const { quick, anyway, keep, only } = values;
  const counts = values.workers.split(",").map(Number);
  const processorsEach = readQuota(values.quota);
  const options: Omit<CoresOptions, "workers"> = {
    loadPath: prepared.loadPath,
    settleMs: quick ? 300 : 6_000 * Math.max(...counts),
    warmUpMs: quick ? 50 : 500,
    windowMs: quick ? 500 : 3_000,
    processorsEach,
  };
  const { loadPath: _, ...settings } = options;
  const rounds = new Rounds({
    name: "cores",
    rounds: quick ? 1 : Number(values.rounds),
    quick,
    anyway,
    keep: keep && only === undefined,
    settings,
  });
  if (!(await rounds.mayBegin())) return 1;
  const subjects = chooseSubjects(counts, only);
  await rounds.run(subjects, ({ name, node, workers }, round) =>
    measureCores(node, roundDirectory(prepared, name, round), { ...options, workers }),
  );
  const most = Math.max(...counts);
  return rounds.conclude((summaries) =>
    table(summaries, `fairlead ${most}`, [`fairlead ${Math.min(...counts)}`, `ztunnel ${most}`]),
  );
}

/** @returns null where that half is left out. */
function readQuota(text: string): number | null {
  const part = Number(text);
  if (!(part > 0)) return null;
  const quotas = Quotas.open();
  if (!("missing" in quotas)) return part;
  console.error(`skipped: workers with a part of a processor: ${quotas.missing}`);
  return null;
}

function chooseSubjects(
  counts: readonly number[],
  only: string | undefined,
): readonly { readonly name: string; readonly node: NodeSubject; readonly workers: number }[] {
  const wanted = only?.split(",");
  const found = findZtunnel();
  if ("missing" in found) console.error(`skipped: ztunnel: ${found.missing}`);
  const built = builtHere(process.env.FAIRLEAD);
  return counts
    .flatMap((count) => [
      ...("missing" in found
        ? []
        : [
            {
              name: `ztunnel ${count}`,
              workers: count,
              node: ztunnelSubject(found, { env: { ZTUNNEL_WORKER_THREADS: `${count}` } }),
            },
          ]),
      {
        name: `fairlead ${count}`,
        workers: count,
        node: fairleadSubject(built, { flags: ["--workers", `${count}`] }),
      },
    ])
    .filter(({ name }) => wanted === undefined || wanted.includes(name));
}
