/** One run of one subject with so many workers: fresh namespaces, fresh processes. */
import { readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { appPorts, type Lab, openLab } from "../../conformance/peer/lab/lab.ts";
import { Subprocess } from "../../conformance/peer/lab/subprocess.ts";
import type { NodeSubject, RunningNode } from "../../conformance/peer/subjects/subject.ts";
import type { Measures } from "../tunnel/measure.ts";
import { Quotas } from "./quota.ts";

export interface CoresOptions {
  /** The built `bench/load`. */
  readonly loadPath: string;
  /** Of requests, and of new connections: a compiler has as much to do in each worker as in one process. */
  readonly settleMs: number;
  readonly warmUpMs: number;
  readonly windowMs: number;
  /** Workers, or threads, of each node. */
  readonly workers: number;
  /** What each of them has of a processor in the second half; null leaves it out. */
  readonly processorsEach: number | null;
}

interface LoadResult {
  readonly requests: number;
  readonly seconds: number;
  readonly p99Us: number;
  readonly errors: number;
  readonly firstError?: string;
  readonly cpuSeconds: readonly number[];
  /** Requests of the connection with most of them, and of the one with least; of requests alone. */
  readonly most: number;
  readonly least: number;
}

/** A node, and the processes that carry its traffic; itself alone where it does that. */
interface Processes {
  readonly node: Subprocess;
  readonly workers: readonly number[];
}

interface Run {
  readonly lab: Lab;
  readonly options: CoresOptions;
  readonly target: string;
  readonly outbound: Processes;
  readonly inbound: Processes;
}

/** So few that chance alone would make them uneven, and so many that it does not. */
const connectionCounts = [32, 256] as const;
const newConnectionsAtATime = 32;

export async function measureCores(
  subject: NodeSubject,
  directory: string,
  options: CoresOptions,
): Promise<Measures> {
  const quotas = options.processorsEach === null ? null : openQuotas();
  const lab = openLab(directory, "namespaces", subject.root === null ? {} : { root: subject.root });
  const started: Subprocess[] = [];
  try {
    const { server } = lab.place;
    const serving = Subprocess.start({
      name: "serve-http",
      argv: server.command([
        ...[options.loadPath, "serve-http", "-listen", `${server.address}:${appPorts.http}`],
      ]),
      logPath: join(directory, "serve.log"),
    });
    started.push(serving);
    await serving.waitForLine((line) => line === "ready", 5000);
    const inbound = await subject.startInbound(lab);
    started.push(inbound.process);
    const outbound = await subject.startOutbound(lab);
    started.push(outbound.process);
    await Bun.sleep(1000);
    const run: Run = {
      ...{ lab, options },
      target: outbound.dial(appPorts.http),
      outbound: processesOf(outbound),
      inbound: processesOf(inbound),
    };
    const measures = { ...memory(run), ...(await measureLoad(run)) };
    return quotas === null ? measures : { ...measures, ...(await measureLimited(run, quotas)) };
  } finally {
    quotas?.lift();
    await Promise.all(started.map((process) => process.stop()));
    quotas?.close();
    lab.place.close();
  }
}

function processesOf({ process: node }: RunningNode): Processes {
  const children = readFileSync(`/proc/${node.pid}/task/${node.pid}/children`, "utf8");
  const programOf = (pid: number): string => readlinkSync(`/proc/${pid}/exe`);
  const isWorker = (pid: number): boolean => {
    try {
      return programOf(pid) === programOf(node.pid);
    } catch {
      // What looks after capture comes and goes.
      return false;
    }
  };
  return { node, workers: children.split(" ").filter(Boolean).map(Number).filter(isWorker) };
}

/** Idle, before anything was carried. */
function memory({ outbound, inbound }: Run): Measures {
  const measures: Record<string, number> = {};
  for (const [role, { node, workers }] of Object.entries({ outbound, inbound })) {
    const own = node.memory().anonymousBytes / 1e6;
    const each = workers.map((pid) => anonymousBytes(pid) / 1e6);
    measures[`idle MB anonymous ${role}`] = own + each.reduce((sum, one) => sum + one, 0);
    if (each.length > 0) measures[`idle MB anonymous of a worker ${role}`] = Math.max(...each);
  }
  return measures;
}

function anonymousBytes(pid: number): number {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, "utf8");
  return Number(/^Anonymous:\s+(\d+) kB/m.exec(rollup)?.[1]) * 1024;
}

async function measureLoad(run: Run): Promise<Measures> {
  const { options } = run;
  const settle: Run = { ...run, options: { ...options, warmUpMs: 0, windowMs: options.settleMs } };
  const fresh = (of: Run) => load(of, "connections", newConnectionsAtATime);
  await load(settle, "requests", Math.max(...connectionCounts));
  await fresh(settle);
  const measures: Record<string, number> = {};
  for (const count of connectionCounts) {
    const kept = await load(run, "requests", count);
    Object.assign(measures, {
      [`requests/s at ${count}`]: kept.requests / kept.seconds,
      [`p99 ms at ${count}`]: kept.p99Us / 1000,
      [`most/least requests of a connection at ${count}`]: kept.most / Math.max(1, kept.least),
      ...spent(run, `CPU us/request at ${count}`, kept),
    });
  }
  const made = await fresh(run);
  return {
    ...measures,
    "new connections/s": made.requests / made.seconds,
    "new connection p99 ms": made.p99Us / 1000,
    ...spent(run, "CPU us/connection", made),
  };
}

function openQuotas(): Quotas {
  const quotas = Quotas.open();
  if ("missing" in quotas) throw new Error(`control groups: ${quotas.missing}`);
  return quotas;
}

/** As if there were processors enough: each worker, or thread, has the same part of one, and what it brings is what comes through. */
async function measureLimited(run: Run, quotas: Quotas): Promise<Measures> {
  const { workers, processorsEach } = run.options;
  const each = processorsEach ?? 0;
  for (const { node, workers: pids } of [run.outbound, run.inbound]) {
    if (pids.length === 0) quotas.limit(node.pid, each * workers);
    else for (const pid of pids) quotas.limit(pid, each);
  }
  const measures: Record<string, number> = {};
  for (const count of connectionCounts) {
    const { requests, seconds, p99Us, most, least } = await load(run, "requests", count);
    Object.assign(measures, {
      [`requests/s at ${count}, ${each} processors a worker`]: requests / seconds,
      [`p99 ms at ${count}, ${each} processors a worker`]: p99Us / 1000,
      [`most/least requests of a connection at ${count}, ${each} processors a worker`]:
        most / Math.max(1, least),
    });
  }
  return measures;
}

/** CPU of a node with its workers; and of that of its workers the largest part, which is 1/N where all have the same. */
function spent({ outbound, inbound }: Run, name: string, { cpuSeconds, requests }: LoadResult): Measures {
  const measures: Record<string, number> = {};
  let at = 0;
  for (const [role, { workers }] of Object.entries({ outbound, inbound })) {
    const [own = 0, ...each] = cpuSeconds.slice(at, at + 1 + workers.length);
    at += 1 + workers.length;
    const carried = each.reduce((sum, one) => sum + one, 0);
    measures[`${name} ${role}`] = ((own + carried) / requests) * 1e6;
    if (each.length > 1 && carried > 0)
      measures[`busiest worker's part, ${name} ${role}`] = Math.max(...each) / carried;
  }
  return measures;
}

async function load(run: Run, command: string, count: number): Promise<LoadResult> {
  const { lab, options, outbound, inbound } = run;
  const pids = [outbound, inbound].flatMap(({ node, workers }) => [node.pid, ...workers]);
  const argv = [
    ...[options.loadPath, command, "-target", run.target, "-pids", pids.join(",")],
    ...["-warm-up-ms", `${options.warmUpMs}`, "-window-ms", `${options.windowMs}`],
    ...["-connections", `${count}`],
  ];
  const child = Bun.spawn(lab.place.client.command(argv), { stdout: "pipe", stderr: "pipe" });
  const [output, complaint, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0) throw new Error(`${command}: ${complaint.trim()}`);
  const result: LoadResult = JSON.parse(output);
  if (result.errors > 0)
    throw new Error(`${command}: ${result.errors} errors, the first: ${result.firstError ?? ""}`);
  if (result.requests === 0) throw new Error(`${command}: nothing came through in ${options.windowMs} ms`);
  return result;
}
