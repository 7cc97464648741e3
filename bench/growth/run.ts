/** `npm run bench -- growth`: what a request costs as connections, meshes, peers and changes become more. */
import { parseArgs } from "node:util";
import { bulkHangMs } from "../../conformance/peer/lab/eventually.ts";
import { findZtunnel } from "../../conformance/peer/lab/tools.ts";
import { fairleadSubject } from "../../conformance/peer/subjects/fairlead.ts";
import type { NodeSubject } from "../../conformance/peer/subjects/subject.ts";
import { ztunnelSubject } from "../../conformance/peer/subjects/ztunnel.ts";
import { commonFlags, prepareNamespaces, roundDirectory } from "../namespaces.ts";
import { Rounds } from "../rounds.ts";
import { builtHere } from "../subject_binary.ts";
import { idleTable, measureIdling } from "./idle.ts";
import { type GrowthOptions, measureGrowth } from "./measure.ts";
import { documents, ztunnelMesh } from "./mesh.ts";
import { growthPage } from "./page.ts";
import { type Growth, growths, idlePoint } from "./points.ts";

const usage = `usage: npm run bench -- growth [--rounds N] [--quick] [--only name,name] [--at TEXT] [--idle MINUTES] [--anyway] [--keep]

One thing grows at a time: connections, services with their policies, callers with a tunnel each, changes of the mesh. Ten
requests are out at one time all along. Fairlead and, with ZTUNNEL=path, the real ztunnel, which in dedicated mode has one
caller and reads its file once: it has no rows of peers and of changes. Below the table, what is not flat has a line each. Two network namespaces (root), rounds in turn.

  --rounds N      rounds of all of it, default 2: ten to twelve minutes with ztunnel
  --quick         one round, short windows, small numbers: a smoke test, not a measurement
  --only LIST     these subjects only
  --at TEXT       these points only: "10,000 connections"
  --idle MINUTES  a run of its own: the row of most connections alone, with nothing sent for so long, all subjects at the
                  same time, one round; requests and new connections are measured before and afterwards
  --anyway        measure on a busy machine, too; the results say that it was one
  --keep          its raw results are those that the pages' tables are made of (bench/raw); not with --only or --at.
                  A run with --idle has a file and a table of its own
`;

interface GrowthSubject extends Growth {
  readonly subject: string;
  readonly node: NodeSubject;
}

/** @returns the exit code. */
export async function benchGrowth(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      rounds: { type: "string", default: "2" },
      at: { type: "string" },
      idle: { type: "string" },
      ...commonFlags,
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  const prepared = prepareNamespaces("growth");
  if (prepared === null) return 1;
  const { quick, anyway, keep, only, at, idle } = values;
  const options: GrowthOptions = {
    loadPath: prepared.loadPath,
    // What was just compiled would make whatever comes after the idle time look cheaper.
    settleMs: quick ? 300 : idle === undefined ? 3_000 : 12_000,
    warmUpMs: quick ? 50 : 500,
    windowMs: quick ? 500 : 3_000,
    idleMs: idle === undefined ? (quick ? 200 : 3_000) : Number(idle) * 60_000,
  };
  const { loadPath: _, ...settings } = options;
  const rounds = new Rounds({
    name: idle === undefined ? "growth" : "growth_idle",
    rounds: quick || idle !== undefined ? 1 : Number(values.rounds),
    quick,
    anyway,
    keep: keep && only === undefined && at === undefined,
    settings,
  });
  if (!(await rounds.mayBegin())) return 1;
  const subjects = chooseSubjects(quick, only, idle === undefined ? at : (at ?? idlePoint(quick).name));
  const directoryOf = (name: string, round: number) => roundDirectory(prepared, name, round);
  if (idle !== undefined) {
    await rounds.runTogether(subjects, (together, round) =>
      measureIdling(
        together.map(({ name, node, point }) => ({
          ...{ subject: node, point, options },
          directory: directoryOf(name, round),
        })),
      ),
    );
    return rounds.conclude(idleTable);
  }
  await rounds.run(subjects, ({ name, node, point }, round) =>
    measureGrowth(node, point, directoryOf(name, round), options),
  );
  return rounds.conclude(growthPage);
}

function chooseSubjects(
  quick: boolean,
  only: string | undefined,
  at: string | undefined,
): readonly GrowthSubject[] {
  const wanted = only?.split(",");
  const points = growths(quick).filter(({ name }) => at === undefined || name.includes(at));
  const found = findZtunnel();
  if ("missing" in found) console.error(`skipped: ztunnel: ${found.missing}`);
  const built = builtHere(process.env.FAIRLEAD);
  const fairlead = points.map((growth) => ({
    ...growth,
    subject: "fairlead",
    node: fairleadSubject(built, {
      files: (lab) => documents(lab, growth.point),
      readyMs: bulkHangMs,
    }),
  }));
  const ztunnel =
    "missing" in found
      ? []
      : points
          .filter(({ point }) => point.peers === 1 && !point.changes)
          .map((growth) => ({
            ...growth,
            subject: "ztunnel",
            node: ztunnelSubject(found, { mesh: ztunnelMesh(growth.point) }),
          }));
  return [...ztunnel, ...fairlead]
    .filter(({ subject }) => wanted === undefined || wanted.includes(subject))
    .map((each) => ({ ...each, name: `${each.subject}: ${each.name}` }));
}
