/** `npm run bench -- waypoint`: Fairlead and Envoy in the same place, in turn. */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { cleanUpOnExit, scratchDirectory } from "../../conformance/peer/lab/cleanup.ts";
import { buildGo, findEnvoy } from "../../conformance/peer/lab/tools.ts";
import { Rounds } from "../rounds.ts";
import { builtAt, builtHere } from "../subject_binary.ts";
import { table } from "../tunnel/report.ts";
import { type Chain, openChain, plain, type Shape, type WaypointSubject } from "./chain.ts";
import { makeToken } from "./token.ts";

const usage = `usage: npm run bench -- waypoint [--rounds N] [--quick] [--only LIST] [--shapes LIST] [--compare REF]
                                  [--anyway] [--keep]

A waypoint between two Fairlead nodes on loopback: CONNECT over mutual TLS in, HTTP through one route, CONNECT over mutual
TLS out. HTTP/1.1 by wrk to bench/load's server, HTTP/2 by h2load to nginx. CPU time is the waypoint's alone. On a machine
that does other things it refuses: such figures are nothing to publish.

  --rounds N     rounds of all subjects, default 5
  --quick        one round with short windows: a smoke test, not a measurement
  --only LIST    of fairlead, envoy
  --shapes LIST  beside what is always measured, CPU at 32: of rules (10 and 500 routes and policies), middleware (three
                 that do nothing; Fairlead alone), large (answers of 64 KB), token (a user's JWT that a policy asks for),
                 grpc (unary calls of gRPC's own Go server); each takes half a minute a round and subject
  --compare REF  another commit of Fairlead beside this one, built for it
  --anyway       measure on a busy machine, too; the results say that it was one
  --keep         its raw results are those that the pages' tables are made of (bench/raw); not with --only
`;

const allShapes = ["rules", "middleware", "large", "token", "grpc"];

/** @returns the exit code. */
export async function benchWaypoint(argv: readonly string[]): Promise<number> {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      rounds: { type: "string", default: "5" },
      quick: { type: "boolean", default: false },
      only: { type: "string" },
      shapes: { type: "string", default: "" },
      compare: { type: "string" },
      anyway: { type: "boolean", default: false },
      keep: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  if (values.help) {
    console.log(usage);
    return 0;
  }
  cleanUpOnExit();
  const load = buildGo("bench/load", "fairlead-load");
  if ("missing" in load) {
    console.error(`bench waypoint cannot run: ${load.missing}`);
    return 1;
  }
  const { quick, anyway, compare, keep } = values;
  const shapes = values.shapes.split(",").filter((shape) => shape !== "");
  const unknown = shapes.filter((shape) => !allShapes.includes(shape));
  if (unknown.length > 0) {
    console.error(`bench waypoint knows the shapes ${allShapes.join(", ")}, not ${unknown.join(", ")}`);
    return 1;
  }
  const grpc = shapes.includes("grpc") ? buildGo("conformance/http/interop", "fairlead-grpc-interop") : null;
  if (grpc !== null && "missing" in grpc) {
    console.error(`bench waypoint cannot run its shape grpc: ${grpc.missing}`);
    return 1;
  }
  const token = shapes.includes("token") ? await makeToken() : null;
  const windows: Windows = quick ? { warmUpMs: 500, windowMs: 1_000 } : { warmUpMs: 4_000, windowMs: 5_000 };
  const rounds = new Rounds({
    ...{ name: "waypoint", rounds: quick ? 1 : Number(values.rounds), quick, anyway },
    keep: keep && values.only === undefined,
    settings: { ...windows },
  });
  if (!(await rounds.mayBegin())) return 1;
  const scratch = scratchDirectory("bench_waypoint");
  const own = builtHere(process.env.FAIRLEAD);
  const wanted = values.only?.split(",");
  const subjects: WaypointSubject[] = [{ name: "fairlead", fairlead: own }, ...envoySubjects()].filter(
    ({ name }) => wanted === undefined || wanted.includes(name),
  );
  if (compare !== undefined)
    subjects.push({ name: `fairlead at ${compare}`, fairlead: builtAt(compare, scratch) });
  await rounds.run(subjects, async (subject, round) => {
    const directory = join(scratch, `${subject.name.replace(/\W/g, "_")}_${round}`);
    const within = async (name: string, shape: Shape, work: (chain: Chain) => Promise<Measures>) => {
      const chain = await openChain(
        join(directory, name),
        own,
        subject,
        load.path,
        shape,
        grpc?.path ?? null,
      );
      try {
        return await work(chain);
      } finally {
        await chain.stop();
      }
    };
    const measures = await within("plain", plain, async (chain) => ({
      ...(await measure(chain, windows)),
      ...(shapes.includes("large") ? await large(chain, windows) : {}),
      ...(grpc === null ? {} : await calls(chain, windows)),
    }));
    const more: [what: string, shape: Shape][] = [];
    if (shapes.includes("rules"))
      for (const rules of [10, 500]) more.push([`${rules} rules`, { ...plain, rules }]);
    if (shapes.includes("middleware") && "fairlead" in subject)
      more.push(["three middlewares", { ...plain, middlewares: 3 }]);
    if (token !== null) more.push(["a token", { ...plain, token }]);
    for (const [what, shape] of more)
      Object.assign(
        measures,
        await within(what.replace(" ", "_"), shape, (chain) => shaped(chain, windows, what, shape)),
      );
    return measures;
  });
  return rounds.conclude((summaries) => table(summaries, "fairlead", ["envoy", `fairlead at ${compare}`]));
}

function envoySubjects(): readonly WaypointSubject[] {
  const envoy = findEnvoy();
  if ("path" in envoy) return [{ name: "envoy", envoy: envoy.path }];
  console.error(`skipped: envoy: ${envoy.missing}`);
  return [];
}

interface Windows {
  readonly warmUpMs: number;
  readonly windowMs: number;
}

type Measures = Record<string, number>;

async function measure(chain: Chain, { warmUpMs, windowMs }: Windows): Promise<Measures> {
  const idle = chain.waypoint.memory();
  const measures: Measures = {
    "idle MB rss": idle.rssBytes / 1e6,
    "idle MB anonymous": idle.anonymousBytes / 1e6,
    "CPU s from start to idle": chain.waypoint.cpuSeconds(),
  };
  // A just-in-time compiler needs so many requests: those of one connection alone would be measured while it still works.
  await wrk(chain, 32, warmUpMs / 1000);
  for (const connections of [1, 32]) {
    await wrk(chain, connections, warmUpMs / 1000);
    const before = chain.waypoint.cpuSeconds();
    const { requests, p50Us, p99Us } = await wrk(chain, connections, windowMs / 1000);
    measures[`HTTP/1.1 requests/s at ${connections}`] = requests / (windowMs / 1000);
    measures[`HTTP/1.1 p50 us at ${connections}`] = p50Us;
    measures[`HTTP/1.1 p99 us at ${connections}`] = p99Us;
    measures[`HTTP/1.1 CPU us/request at ${connections}`] =
      ((chain.waypoint.cpuSeconds() - before) * 1e6) / requests;
  }
  for (const streams of [1, 32]) {
    await h2load(`${chain.http2}/`, streams, warmUpMs / 1000);
    const before = chain.waypoint.cpuSeconds();
    const requests = await h2load(`${chain.http2}/`, streams, windowMs / 1000);
    measures[`HTTP/2 requests/s at ${streams}`] = requests / (windowMs / 1000);
    measures[`HTTP/2 CPU us/request at ${streams}`] =
      ((chain.waypoint.cpuSeconds() - before) * 1e6) / requests;
  }
  measures["MB rss after load"] = chain.waypoint.memory().rssBytes / 1e6;
  return measures;
}

/** CPU with what each service has by its shape. */
async function shaped(chain: Chain, windows: Windows, what: string, { token }: Shape): Promise<Measures> {
  const headers = token === null ? [] : [`authorization: Bearer ${token.text}`];
  return {
    [`HTTP/1.1 CPU us/request at 32, ${what}`]: await cpuOf(chain, windows, async (seconds) => {
      return (await wrk(chain, 32, seconds, { headers })).requests;
    }),
    [`HTTP/2 CPU us/request at 32, ${what}`]: await cpuOf(chain, windows, (seconds) =>
      h2load(`${chain.http2}/`, 32, seconds, headers),
    ),
  };
}

/** Unary calls: a message of no bytes each way, and trailers. */
async function calls(chain: Chain, windows: Windows): Promise<Measures> {
  const url = `${chain.grpc}/grpc.testing.TestService/EmptyCall`;
  const message = join(scratchDirectory("bench_grpc"), "message");
  await Bun.write(message, new Uint8Array(5));
  const headers = ["content-type: application/grpc", "te: trailers"];
  const work = (seconds: number) => h2load(url, 32, seconds, headers, ["-d", message]);
  return { "gRPC CPU us/call at 32": await cpuOf(chain, windows, work) };
}

async function large(chain: Chain, windows: Windows): Promise<Measures> {
  return {
    "HTTP/1.1 CPU us/request at 32, 64 KB": await cpuOf(chain, windows, async (seconds) => {
      return (await wrk(chain, 32, seconds, { target: `${chain.large}/64k` })).requests;
    }),
    "HTTP/2 CPU us/request at 32, 64 KB": await cpuOf(chain, windows, (seconds) =>
      h2load(`${chain.http2}/64k`, 32, seconds),
    ),
  };
}

/** @param requests sends for so many seconds, and says how many were answered. */
async function cpuOf(
  { waypoint }: Chain,
  { warmUpMs, windowMs }: Windows,
  requests: (seconds: number) => Promise<number>,
): Promise<number> {
  await requests(warmUpMs / 1000);
  const before = waypoint.cpuSeconds();
  const answered = await requests(windowMs / 1000);
  return ((waypoint.cpuSeconds() - before) * 1e6) / answered;
}

/** bench/load's client knows its own server's answer to the byte, and Envoy adds headers. */
async function wrk(
  chain: Chain,
  connections: number,
  seconds: number,
  { target = `${chain.http1}/item/42`, headers = [] }: { target?: string; headers?: readonly string[] } = {},
) {
  const text = await said([
    "wrk",
    "-t1",
    `-c${connections}`,
    `-d${Math.max(1, Math.round(seconds))}s`,
    "--latency",
    ...headers.flatMap((header) => ["-H", header]),
    `http://${target}`,
  ]);
  const requests = Number(/(\d+) requests in/.exec(text)?.[1]);
  if (!(requests > 0) || text.includes("Non-2xx")) throw new Error(`wrk said: ${text}`);
  return { requests, p50Us: latency(text, "50%"), p99Us: latency(text, "99%") };
}

function latency(text: string, percentile: string): number {
  const [, value = "", unit = ""] = new RegExp(`${percentile}\\s+([0-9.]+)(us|ms|s)`).exec(text) ?? [];
  return Number(value) * (unit === "us" ? 1 : unit === "ms" ? 1e3 : 1e6);
}

async function said(argv: readonly string[]): Promise<string> {
  const child = Bun.spawn([...argv], { stdout: "pipe", stderr: "pipe" });
  const text = await new Response(child.stdout).text();
  await child.exited;
  return text;
}

/** One connection with so many streams. @returns requests that were answered. */
async function h2load(
  url: string,
  streams: number,
  seconds: number,
  headers: readonly string[] = [],
  more: readonly string[] = [],
): Promise<number> {
  const text = await said([
    "h2load",
    "-t1",
    "-c1",
    `-m${streams}`,
    "-D",
    `${Math.max(1, Math.round(seconds))}`,
    ...headers.flatMap((header) => ["-H", header]),
    ...more,
    `http://${url}`,
  ]);
  const succeeded = /(\d+) succeeded/.exec(text)?.[1];
  // Refusals are answers, too.
  if (succeeded === undefined || !/ 0 3xx, 0 4xx, 0 5xx/.test(text)) throw new Error(`h2load said: ${text}`);
  return Number(succeeded);
}
