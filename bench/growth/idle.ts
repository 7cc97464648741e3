/** Open connections with nothing sent for a long time: what that costs, and that they and the nodes are as they were. */
import { bulkHangMs } from "../../conformance/peer/lab/eventually.ts";
import type { Subprocess } from "../../conformance/peer/lab/subprocess.ts";
import { markdown, ranged } from "../tables/cells.ts";
import type { Measures } from "../tunnel/measure.ts";
import type { Summaries } from "../tunnel/report.ts";
import {
  measureFresh,
  measureIdle,
  measureRequests,
  type Run,
  type Subject,
  withNodes,
  withOpen,
} from "./measure.ts";

/** Requests are measured on so many connections beside those that are idle. */
const besideIdle = 1_000;

interface Held {
  readonly run: Run;
  readonly connections: Subprocess;
  readonly before: Measures;
}

/** All of them idle at the same time, since that takes nothing of one another; what takes something is done in turn. */
export async function measureIdling(subjects: readonly Subject[]): Promise<readonly Measures[]> {
  return await holding(subjects, [], async (all) => {
    const idle = await Promise.all(all.map(({ run }) => measureIdle(run)));
    const measures: Measures[] = [];
    for (const [index, { run, connections, before }] of all.entries()) {
      measures.push({
        "connections open": run.point.connections,
        "minutes with nothing sent": run.options.idleMs / 60_000,
        ...before,
        ...idle[index],
        "connections that answer afterwards": await askEach(connections),
        ...named("afterwards", await measureWork(run)),
      });
    }
    return measures;
  });
}

async function holding(
  [next, ...others]: readonly Subject[],
  held: readonly Held[],
  body: (all: readonly Held[]) => Promise<readonly Measures[]>,
): Promise<readonly Measures[]> {
  if (next === undefined) return await body(held);
  return await withNodes(next, async (run) =>
    withOpen(run, async (connections) => {
      const before = named("before", await measureWork(run));
      return await holding(others, [...held, { run, connections, before }], body);
    }),
  );
}

/** Beside those that are open. */
async function measureWork(run: Run): Promise<Measures> {
  const connections = Math.min(besideIdle, run.point.connections);
  const work = {
    ...(await measureFresh(run)),
    ...(await measureRequests({ ...run, point: { ...run.point, connections } })),
  };
  const memory = (["outbound", "inbound"] as const).map((role) => [
    `MB anonymous ${role}`,
    run[role].process.memory().anonymousBytes / 1e6,
  ]);
  return { ...work, ...Object.fromEntries(memory) };
}

/** One request on each connection that was idle. @returns how many were answered. */
async function askEach(connections: Subprocess): Promise<number> {
  connections.writeLine("");
  const line = await connections.waitForLine((each) => each.startsWith('{"answered":'), bulkHangMs);
  return Number(JSON.parse(line).answered);
}

function named(when: string, measures: Measures): Measures {
  return Object.fromEntries(Object.entries(measures).map(([name, value]) => [`${when}: ${name}`, value]));
}

const rows: readonly (readonly [said: string, measure: string, hasRoles: boolean])[] = [
  ["connections open", "connections open", false],
  ["minutes with nothing sent", "minutes with nothing sent", false],
  ["idle CPU ms/s", "idle CPU ms a second", true],
  ["MB anonymous, before", "before: MB anonymous", true],
  ["MB anonymous, at the end of it", "MB anonymous", true],
  ["MB anonymous, after the requests below", "afterwards: MB anonymous", true],
  ["connections that answer afterwards", "connections that answer afterwards", false],
  ["CPU µs/request, before", "before: CPU us/request", true],
  ["CPU µs/request, afterwards", "afterwards: CPU us/request", true],
  ["p99 ms, before", "before: p99 ms", false],
  ["p99 ms, afterwards", "afterwards: p99 ms", false],
  ["CPU µs/new connection, before", "before: CPU us/new connection", true],
  ["CPU µs/new connection, afterwards", "afterwards: CPU us/new connection", true],
  ["p99 of a new connection, ms, before", "before: new connection p99 ms", false],
  ["p99 of a new connection, ms, afterwards", "afterwards: new connection p99 ms", false],
];

/** @param summaries of subjects that are called `subject: point`; a column each. */
export function idleTable(summaries: Summaries): string {
  const cells = rows.map(([said, measure, hasRoles]) => [
    said,
    ...[...summaries.values()].map((measures) =>
      (hasRoles ? [" outbound", " inbound"] : [""])
        .map((role) => {
          const found = measures.get(`${measure}${role}`);
          return found === undefined ? "?" : ranged(found);
        })
        .join(" / "),
    ),
  ]);
  return markdown(
    ["outbound / inbound", ...[...summaries.keys()].map((name) => name.split(": ")[0] ?? "")],
    cells,
  );
}
