/** `npm run bench -- waypoint`: Fairlead and Envoy in the same place, in turn. */
import { join } from "node:path";
import { parseArgs } from "node:util";
import { cleanUpOnExit, scratchDirectory } from "../../conformance/peer/lab/cleanup.ts";
import { runToEnd } from "../../conformance/peer/lab/subprocess.ts";
import { buildGo, findEnvoy, repository } from "../../conformance/peer/lab/tools.ts";
import { type Run, summarize, table } from "../tunnel/report.ts";
import { type Chain, openChain } from "./chain.ts";

const usage = `usage: npm run bench -- waypoint [--rounds N] [--quick] [--only fairlead|envoy]

A waypoint between two Fairlead nodes on loopback: CONNECT over mutual TLS in, HTTP through one route, CONNECT over mutual
TLS out. HTTP/1.1 by wrk to bench/load's server, HTTP/2 by h2load to nginx. CPU time is the waypoint's alone.
`;

/** @returns the exit code. */
export async function benchWaypoint(argv: readonly string[]): Promise<number> {
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
  cleanUpOnExit();
  const load = buildGo("bench/load", "fairlead-load");
  const envoy = findEnvoy();
  if ("missing" in load) {
    console.error(`bench waypoint cannot run: ${load.missing}`);
    return 1;
  }
  const subjects = ["fairlead", "envoy"].filter((name) => values.only === undefined || values.only === name);
  const program = process.env.FAIRLEAD === undefined ? build() : [process.env.FAIRLEAD];
  const runs: Run[] = [];
  const directory = scratchDirectory("bench_waypoint");
  for (let round = 1; round <= (values.quick ? 1 : Number(values.rounds)); round++)
    for (const subject of subjects) {
      if (subject === "envoy" && "missing" in envoy) continue;
      const path = subject === "envoy" && "path" in envoy ? envoy.path : null;
      const chain = await openChain(join(directory, `${subject}_${round}`), program, path, load.path);
      try {
        const measures = await measure(chain, values.quick ? 2_000 : 5_000);
        runs.push({ subject, round, measures });
        console.log(`round ${round} ${subject} ${JSON.stringify(measures)}`);
      } finally {
        await chain.stop();
      }
    }
  if (runs.length === 0) return 1;
  console.log(`\n${table(summarize(runs), "fairlead", ["envoy"])}\n`);
  return 0;
}

function build(): readonly string[] {
  const path = join(repository, "dist/fairlead");
  runToEnd([process.execPath, join(repository, "scripts/build.ts")], { cwd: repository });
  return [path];
}

async function measure(chain: Chain, windowMs: number): Promise<Record<string, number>> {
  const idle = chain.waypoint.memory();
  const measures: Record<string, number> = {
    "idle MB rss": idle.rssBytes / 1e6,
    "idle MB anonymous": idle.anonymousBytes / 1e6,
  };
  for (const connections of [1, 32]) {
    await wrk(chain, connections, 4);
    const before = chain.waypoint.cpuSeconds();
    const { requests, p50Us, p99Us } = await wrk(chain, connections, windowMs / 1000);
    measures[`HTTP/1.1 requests/s at ${connections}`] = requests / (windowMs / 1000);
    measures[`HTTP/1.1 p50 us at ${connections}`] = p50Us;
    measures[`HTTP/1.1 p99 us at ${connections}`] = p99Us;
    measures[`HTTP/1.1 CPU us/request at ${connections}`] =
      ((chain.waypoint.cpuSeconds() - before) * 1e6) / requests;
  }
  for (const streams of [1, 32]) {
    await h2load(chain, streams, 3);
    const before = chain.waypoint.cpuSeconds();
    const requests = await h2load(chain, streams, windowMs / 1000);
    measures[`HTTP/2 requests/s at ${streams}`] = requests / (windowMs / 1000);
    measures[`HTTP/2 CPU us/request at ${streams}`] =
      ((chain.waypoint.cpuSeconds() - before) * 1e6) / requests;
  }
  measures["MB rss after load"] = chain.waypoint.memory().rssBytes / 1e6;
  return measures;
}

/** bench/load's client knows its own server's answer to the byte, and Envoy adds headers. */
async function wrk(chain: Chain, connections: number, seconds: number) {
  const text = await said([
    "wrk",
    "-t1",
    `-c${connections}`,
    `-d${seconds}s`,
    "--latency",
    `http://${chain.http1}/item/42`,
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
async function h2load(chain: Chain, streams: number, seconds: number): Promise<number> {
  const text = await said([
    "h2load",
    "-t1",
    "-c1",
    `-m${streams}`,
    "-D",
    `${seconds}`,
    `http://${chain.http2}/`,
  ]);
  const succeeded = /(\d+) succeeded/.exec(text)?.[1];
  if (succeeded === undefined) throw new Error(`h2load said: ${text}`);
  return Number(succeeded);
}
