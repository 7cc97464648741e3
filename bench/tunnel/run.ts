/** `npm run bench -- tunnel`: the whole comparison, interleaved. */
import { parseArgs } from "node:util";
import { findEnvoy, findZtunnel } from "../../conformance/peer/lab/tools.ts";
import { envoySubject } from "../../conformance/peer/subjects/envoy.ts";
import { fairleadSubject } from "../../conformance/peer/subjects/fairlead.ts";
import { ztunnelSubject } from "../../conformance/peer/subjects/ztunnel.ts";
import { commonFlags, prepareNamespaces, roundDirectory } from "../namespaces.ts";
import { Rounds } from "../rounds.ts";
import { builtAt, builtHere } from "../subject_binary.ts";
import { type MeasureOptions, measure } from "./measure.ts";
import { table } from "./report.ts";
import { bunRelay, meshSubject, plainTcp, type TunnelSubject, tlsRelay } from "./subjects.ts";

const usage = `usage: npm run bench -- tunnel [--rounds N] [--quick] [--only name,name] [--compare REF] [--anyway] [--keep]

Measures plain TCP, a bare Bun relay without TLS and one with it, Envoy, Fairlead and, with ZTUNNEL=path, the real
ztunnel: each a pair of processes in two network namespaces (root), round after round in turn. Prints medians (and
min–max), the worst row first, and writes them as JSON. On a machine that does other things it refuses: such figures are nothing to publish.

  --rounds N     rounds of all subjects, default 5
  --quick        one round with short windows: a smoke test, not a measurement
  --only LIST    these subjects only
  --compare REF  another commit of Fairlead beside this one, built for it
  --anyway       measure on a busy machine, too; the results say that it was one
  --keep         its raw results are those that the pages' tables are made of (bench/raw); not with --only
`;

/** @returns the exit code. */
export async function benchTunnel(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      rounds: { type: "string", default: "5" },
      compare: { type: "string" },
      ...commonFlags,
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const prepared = prepareNamespaces("tunnel");
  if (prepared === null) return 1;
  const { quick, anyway, keep } = values;
  const options: MeasureOptions = {
    loadPath: prepared.loadPath,
    warmUpMs: quick ? 100 : 500,
    settleMs: quick ? 50 : 1000,
    windowMs: quick ? 300 : 2000,
    idleConnections: quick ? 500 : 5000,
    concurrency: quick ? [32] : [1, 32, 256],
  };
  const { loadPath: _, ...settings } = options;
  const rounds = new Rounds({
    name: "tunnel",
    rounds: quick ? 1 : Number(values.rounds),
    quick,
    anyway,
    keep: keep && values.only === undefined,
    settings,
  });
  if (!(await rounds.mayBegin())) return 1;
  const subjects = chooseSubjects(values.only, values.compare, prepared.scratch);
  await rounds.run(subjects, (subject, round) =>
    measure(subject, roundDirectory(prepared, subject.name, round), options),
  );
  const references = ["ztunnel", "envoy", ...comparedName(values.compare)];
  return rounds.conclude((summaries) => table(summaries, "fairlead", references));
}

function comparedName(reference: string | undefined): readonly string[] {
  return reference === undefined ? [] : [`fairlead at ${reference}`];
}

function chooseSubjects(
  only: string | undefined,
  reference: string | undefined,
  scratch: string,
): TunnelSubject[] {
  const wanted = only?.split(",");
  const all = [
    plainTcp,
    bunRelay,
    tlsRelay,
    meshSubject(envoySubject(findEnvoy())),
    meshSubject(ztunnelSubject(findZtunnel())),
    meshSubject(fairleadSubject(builtHere(process.env.FAIRLEAD))),
  ].filter(({ name }) => wanted === undefined || wanted.includes(name));
  for (const name of comparedName(reference))
    all.push({ ...meshSubject(fairleadSubject(builtAt(reference ?? "", scratch))), name });
  return all.filter((subject) => {
    if (subject.missing !== null) console.error(`skipped: ${subject.name}: ${subject.missing}`);
    return subject.missing === null;
  });
}
