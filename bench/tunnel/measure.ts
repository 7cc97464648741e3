/** One run of one subject: fresh namespaces, fresh processes, every measure in the same order. */
import { join } from "node:path";
import { appPorts, type Lab, openLab } from "../../conformance/peer/lab/lab.ts";
import { Subprocess } from "../../conformance/peer/lab/subprocess.ts";
import type { Tunnel, TunnelSubject } from "./subjects.ts";

export interface MeasureOptions {
  /** The built `bench/load`. */
  readonly loadPath: string;
  /** Before each window. */
  readonly warmUpMs: number;
  /** Before the first window: seventeen times this, see `warmUp`. */
  readonly settleMs: number;
  readonly windowMs: number;
  readonly idleConnections: number;
  /** Keep-alive connections to measure at. */
  readonly concurrency: readonly number[];
}

/** Names of measures to their values; NaN never, a measure that does not apply is left out. */
export type Measures = Readonly<Record<string, number>>;

interface LoadResult {
  readonly requests: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly p50Us: number;
  readonly p99Us: number;
  readonly errors: number;
  readonly firstError?: string;
  readonly cpuSeconds: readonly number[];
}

/** Connections made at a time when new connections are measured. */
const newConnectionsAtATime = 16;

export async function measure(
  subject: TunnelSubject,
  directory: string,
  options: MeasureOptions,
): Promise<Measures> {
  const memory = await withTunnel(subject, join(directory, "memory"), options, measureMemory);
  const load = await withTunnel(subject, join(directory, "load"), options, measureLoad);
  return { ...memory, ...load };
}

async function withTunnel(
  subject: TunnelSubject,
  directory: string,
  options: MeasureOptions,
  body: (lab: Lab, tunnel: Tunnel, options: MeasureOptions) => Promise<Measures>,
): Promise<Measures> {
  const lab = openLab(directory, "namespaces", subject.root === null ? {} : { root: subject.root });
  const started: Subprocess[] = [];
  try {
    for (const [command, port] of [
      ["serve-http", appPorts.http],
      ["serve-bulk", appPorts.bulk],
    ] as const) {
      const argv = lab.place.server.command([
        options.loadPath,
        command,
        "-listen",
        `${lab.place.server.address}:${port}`,
      ]);
      const server = Subprocess.start({ name: command, argv, logPath: join(directory, `${command}.log`) });
      started.push(server);
      await server.waitForLine((line) => line === "ready", 5000);
    }
    const tunnel = await subject.start(lab);
    for (const node of [tunnel.outbound, tunnel.inbound]) if (node !== null) started.push(node.process);
    return await body(lab, tunnel, options);
  } finally {
    await Promise.all(started.map((process) => process.stop()));
    lab.place.close();
  }
}

/** In processes that have carried nothing yet: after load a collector's heap would hide what connections need. */
async function measureMemory(lab: Lab, tunnel: Tunnel, options: MeasureOptions): Promise<Measures> {
  if (tunnel.outbound === null || tunnel.inbound === null) return {};
  await Bun.sleep(1000);
  const nodes = { outbound: tunnel.outbound.process, inbound: tunnel.inbound.process };
  const startedCpu = { outbound: nodes.outbound.cpuSeconds(), inbound: nodes.inbound.cpuSeconds() };
  const before = { outbound: nodes.outbound.memory(), inbound: nodes.inbound.memory() };
  const idle = Subprocess.start({
    name: "idle connections",
    argv: lab.place.client.command([
      ...[
        options.loadPath,
        "idle",
        "-target",
        tunnel.dial(appPorts.http),
        "-connections",
        `${options.idleConnections}`,
      ],
    ]),
    logPath: join(lab.directory, "idle.log"),
  });
  try {
    await idle.waitForLine((line) => line.startsWith('{"open":'), 60_000);
    await Bun.sleep(2000);
    const measures: Record<string, number> = {};
    for (const role of ["outbound", "inbound"] as const) {
      measures[`CPU s from start to idle ${role}`] = startedCpu[role];
      const after = nodes[role].memory();
      measures[`idle MB rss ${role}`] = before[role].rssBytes / 1e6;
      measures[`idle MB pss ${role}`] = before[role].pssBytes / 1e6;
      measures[`KB per idle connection ${role}`] =
        (after.anonymousBytes - before[role].anonymousBytes) / 1e3 / options.idleConnections;
      measures[`idle MB anonymous ${role}`] = before[role].anonymousBytes / 1e6;
      measures[`MB rss at ${options.idleConnections} ${role}`] = after.rssBytes / 1e6;
    }
    return measures;
  } finally {
    await idle.stop();
  }
}

/**
 * Every node gets the same: compilers, allocators and pools are to stand as they would after an hour. New connections
 * take longest, since there are far fewer of them in a second than requests.
 */
async function warmUp(lab: Lab, tunnel: Tunnel, options: MeasureOptions): Promise<void> {
  if (tunnel.outbound === null) return;
  const settle = (parts: number): MeasureOptions => ({
    ...options,
    warmUpMs: 0,
    windowMs: parts * options.settleMs,
  });
  await load(lab, tunnel, settle(2), "requests", appPorts.http, ["-connections", "32"]);
  const atATime = ["-connections", `${newConnectionsAtATime}`];
  await load(lab, tunnel, settle(11), "connections", appPorts.http, atATime);
  await load(lab, tunnel, settle(2), "requests", appPorts.http, ["-connections", "1"]);
  for (const direction of ["up", "down"])
    await load(lab, tunnel, settle(1), "bulk", appPorts.bulk, ["-direction", direction]);
}

async function measureLoad(lab: Lab, tunnel: Tunnel, options: MeasureOptions): Promise<Measures> {
  const measures: Record<string, number> = {};
  await warmUp(lab, tunnel, options);
  const cpu = (name: string, result: LoadResult, units: number, scale: number): void => {
    const [outbound, inbound] = result.cpuSeconds;
    if (outbound === undefined || inbound === undefined) return;
    measures[`${name} outbound`] = (outbound / units) * scale;
    measures[`${name} inbound`] = (inbound / units) * scale;
  };
  for (const connections of options.concurrency) {
    const result = await load(lab, tunnel, options, "requests", appPorts.http, [
      "-connections",
      `${connections}`,
    ]);
    measures[`requests/s at ${connections}`] = result.requests / result.seconds;
    measures[`p50 ms at ${connections}`] = result.p50Us / 1000;
    measures[`p99 ms at ${connections}`] = result.p99Us / 1000;
    cpu(`CPU us/request at ${connections}`, result, result.requests, 1e6);
  }
  const fresh = await load(lab, tunnel, options, "connections", appPorts.http, [
    "-connections",
    `${newConnectionsAtATime}`,
  ]);
  measures["new connections/s"] = fresh.requests / fresh.seconds;
  measures["new connection p99 ms"] = fresh.p99Us / 1000;
  cpu("CPU us/connection", fresh, fresh.requests, 1e6);
  for (const direction of ["up", "down"]) {
    const bulk = await load(lab, tunnel, options, "bulk", appPorts.bulk, ["-direction", direction]);
    measures[`bulk Gbit/s ${direction}`] = (bulk.bytes * 8) / bulk.seconds / 1e9;
    cpu(`CPU s/GB ${direction}`, bulk, bulk.bytes, 1e9);
  }
  return measures;
}

async function load(
  lab: Lab,
  tunnel: Tunnel,
  options: MeasureOptions,
  command: string,
  port: number,
  flags: readonly string[],
): Promise<LoadResult> {
  const nodes = [tunnel.outbound, tunnel.inbound].flatMap((node) => (node === null ? [] : [node.process]));
  const argv = [
    ...[
      options.loadPath,
      command,
      "-target",
      tunnel.dial(port),
      "-pids",
      nodes.map((node) => node.pid).join(","),
    ],
    ...["-warm-up-ms", `${options.warmUpMs}`, "-window-ms", `${options.windowMs}`, ...flags],
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
  // A tunnel that stalls makes no errors; it must not pass for one that is idle.
  if (result.requests === 0 || result.bytes === 0)
    throw new Error(`${command} ${flags.join(" ")}: nothing came through in ${options.windowMs} ms`);
  return result;
}
