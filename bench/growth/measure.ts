/** One run of one subject at one point: fresh namespaces, fresh processes. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { appPorts, type Lab, openLab } from "../../conformance/peer/lab/lab.ts";
import { runToEnd, Subprocess } from "../../conformance/peer/lab/subprocess.ts";
import type { NodeSubject, RunningNode } from "../../conformance/peer/subjects/subject.ts";
import type { Measures } from "../tunnel/measure.ts";
import { callerAddress, callerRange, change, changingFile, firstCaller } from "./mesh.ts";
import type { Point } from "./points.ts";

export interface GrowthOptions {
  /** The built `bench/load`. */
  readonly loadPath: string;
  /** Before the first window, for each kind of load: what compilers need. */
  readonly settleMs: number;
  readonly warmUpMs: number;
  readonly windowMs: number;
  /** With every connection open and nothing sent. */
  readonly idleMs: number;
}

interface LoadResult {
  readonly requests: number;
  readonly seconds: number;
  readonly p99Us: number;
  readonly errors: number;
  readonly firstError?: string;
  readonly cpuSeconds: readonly number[];
}

export interface Run {
  readonly lab: Lab;
  readonly point: Point;
  readonly outbound: RunningNode;
  readonly inbound: RunningNode;
  readonly options: GrowthOptions;
}

/** Requests that are out at one time, whatever has grown: the closed loop's own queue stays as it is. */
const outstanding = 10;

export async function measureGrowth(
  subject: NodeSubject,
  point: Point,
  directory: string,
  options: GrowthOptions,
): Promise<Measures> {
  return await withNodes({ subject, point, directory, options }, async (run) => {
    const ready = nodes(run, (node) => node.process.cpuSeconds());
    return {
      "CPU s until ready outbound": ready.outbound,
      "CPU s until ready inbound": ready.inbound,
      ...(await withOpen(run, async () => ({ ...(await measureIdle(run)), ...(await measureFresh(run)) }))),
      ...(await measureRequests(run)),
      ...longestTurns(run),
    };
  });
}

export interface Subject {
  readonly subject: NodeSubject;
  readonly point: Point;
  readonly directory: string;
  readonly options: GrowthOptions;
}

/** Both nodes of a subject between the application and its callers, ready, and stopped after the body. */
export async function withNodes<T>(
  { subject, point, directory, options }: Subject,
  body: (run: Run) => Promise<T>,
): Promise<T> {
  const lab = openLab(directory, "namespaces", subject.root === null ? {} : { root: subject.root });
  const started: Subprocess[] = [];
  let changes: Timer | null = null;
  try {
    if (point.peers > 1) giveAddresses(lab, point.peers);
    const { server } = lab.place;
    const serving = Subprocess.start({
      name: "serve-http",
      argv: server.command([options.loadPath, "serve-http", "-listen", `${server.address}:${appPorts.http}`]),
      logPath: join(directory, "serve.log"),
    });
    started.push(serving);
    await serving.waitForLine((line) => line === "ready", 5000);
    const inbound = await subject.startInbound(lab);
    started.push(inbound.process);
    const outbound = await subject.startOutbound(lab);
    started.push(outbound.process);
    if (point.changes) changes = changeEachSecond(directory);
    return await body({ lab, point, outbound, inbound, options });
  } finally {
    if (changes !== null) clearInterval(changes);
    await Promise.all(started.map((process) => process.stop()));
    lab.place.close();
  }
}

function nodes<T>({ outbound, inbound }: Pick<Run, "outbound" | "inbound">, of: (node: RunningNode) => T) {
  return { outbound: of(outbound), inbound: of(inbound) };
}

/** Since the process began, or of the last minute or two: whatever held everything else up for so long. A subject that does not tell has none. */
function longestTurns({ lab }: Run): Measures {
  const { client: outbound, server: inbound } = lab.place;
  const measures: Record<string, number> = {};
  for (const [role, side] of Object.entries({ outbound, inbound })) {
    const asked = Bun.spawnSync(
      side.command(["curl", "-s", "-m", "10", `http://${side.address}:15020/metrics`]),
    );
    const seconds = /^fairlead_longest_turn_seconds ([0-9.e-]+)$/m.exec(asked.stdout.toString())?.[1];
    if (seconds !== undefined) measures[`longest turn ms ${role}`] = Number(seconds) * 1000;
  }
  return measures;
}

/** The callers' addresses on the client's side, and the server's way back to them: a tunnel begins at its caller's own address. */
function giveAddresses(lab: Lab, peers: number): void {
  const input = Array.from({ length: peers }, (_, index) => `addr add ${callerAddress(index)}/32 dev lo\n`);
  const { client, server } = lab.place;
  runToEnd(client.command(["ip", "-batch", "-"]), { input: input.join("") });
  const back = ["route", "add", callerRange, "via", client.address, "congctl", "cubic"];
  runToEnd(server.command(["ip", ...back]));
}

/** Of both nodes' documents. */
function changeEachSecond(directory: string): Timer {
  let revision = 1;
  return setInterval(() => {
    revision++;
    for (const account of ["cart", "db"])
      writeFileSync(join(directory, `mesh_${account}`, changingFile), change(revision));
  }, 1_000);
}

export async function measureRequests(run: Run): Promise<Measures> {
  await rotate(settling(run));
  const requests = await rotate(run);
  return {
    ...spent("CPU us/request", requests),
    "p99 ms": requests.p99Us / 1000,
    "requests/s": requests.requests / requests.seconds,
  };
}

/** New connections, beside those that are open. */
export async function measureFresh(run: Run): Promise<Measures> {
  await connect(settling(run));
  const fresh = await connect(run);
  return {
    ...spent("CPU us/new connection", fresh),
    "new connection p99 ms": fresh.p99Us / 1000,
  };
}

function settling(run: Run): Run {
  return { ...run, options: { ...run.options, warmUpMs: 0, windowMs: run.options.settleMs } };
}

function spent(name: string, { cpuSeconds: [outbound, inbound], requests }: LoadResult): Measures {
  if (outbound === undefined || inbound === undefined) return {};
  return {
    [`${name} outbound`]: (outbound / requests) * 1e6,
    [`${name} inbound`]: (inbound / requests) * 1e6,
  };
}

/** With every connection open that the point has, each of which did one request, and does one more for a line to whoever holds them. */
export async function withOpen<T>(run: Run, body: (held: Subprocess) => Promise<T>): Promise<T> {
  const { lab, point, options } = run;
  const idle = Subprocess.start({
    name: "idle connections",
    argv: lab.place.client.command([
      ...[options.loadPath, "idle", "-target", run.outbound.dial(appPorts.http)],
      ...["-connections", `${point.connections}`, ...callers(point)],
    ]),
    logPath: join(lab.directory, "idle.log"),
  });
  try {
    while (!idle.lines().some((line) => line.startsWith('{"open":'))) {
      if (!idle.running) throw new Error(`idle: ${idle.log().trim()}`);
      await Bun.sleep(50);
    }
    return await body(idle);
  } finally {
    await idle.stop();
  }
}

export async function measureIdle(run: Run): Promise<Measures> {
  const before = nodes(run, ({ process }) => process.cpuSeconds());
  const began = performance.now();
  await Bun.sleep(run.options.idleMs);
  const seconds = (performance.now() - began) / 1000;
  const measures: Record<string, number> = {};
  for (const role of ["outbound", "inbound"] as const) {
    const { process } = run[role];
    measures[`idle CPU ms a second ${role}`] = ((process.cpuSeconds() - before[role]) * 1000) / seconds;
    measures[`MB anonymous ${role}`] = process.memory().anonymousBytes / 1e6;
  }
  return measures;
}

function callers({ peers }: Point): readonly string[] {
  return peers > 1 ? ["-from", firstCaller, "-sources", `${peers}`] : [];
}

async function rotate(run: Run): Promise<LoadResult> {
  return await load(run, "rotate", [
    ...["-connections", `${run.point.connections}`],
    ...["-outstanding", `${Math.min(outstanding, run.point.connections)}`],
  ]);
}

async function connect(run: Run): Promise<LoadResult> {
  return await load(run, "connections", ["-connections", `${outstanding}`]);
}

async function load(run: Run, command: string, flags: readonly string[]): Promise<LoadResult> {
  const { lab, options, outbound, inbound } = run;
  const pids = [outbound, inbound].map(({ process }) => process.pid).join(",");
  const argv = [
    ...[options.loadPath, command, "-target", outbound.dial(appPorts.http), "-pids", pids],
    ...["-warm-up-ms", `${options.warmUpMs}`, "-window-ms", `${options.windowMs}`],
    ...callers(run.point),
    ...flags,
  ];
  const child = Bun.spawn(lab.place.client.command(argv), { stdout: "pipe", stderr: "pipe" });
  const [output, complaint, code] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  if (code !== 0) {
    const last = [outbound, inbound].flatMap(({ process }) => [
      `${process.name}:`,
      ...process.lines().slice(-5),
    ]);
    throw new Error(`${command}: ${complaint.trim()}\n${last.join("\n")}`);
  }
  const result: LoadResult = JSON.parse(output);
  if (result.errors > 0)
    throw new Error(`${command}: ${result.errors} errors, the first: ${result.firstError ?? ""}`);
  // A tunnel that stalls makes no errors; it must not pass for one that is idle.
  if (result.requests === 0) throw new Error(`${command}: nothing came through in ${options.windowMs} ms`);
  return result;
}
