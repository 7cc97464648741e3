/**
 * `npm run bench -- control [--rounds n] [--workloads n] [--services n] [--nodes n] [--certificates n] [--json file] [--keep]`: how fast and at
 * what cost a control plane gives the mesh, and changes of it, to many nodes, and certificates to their workloads. Control plane and nodes are two
 * processes on one machine, over TLS on loopback.
 */
import { cpus } from "node:os";
import { adsLimits } from "../../src/base/limits/rpc.ts";
import { keepRaw, place } from "../keep.ts";
import { busyReason, machineState } from "../machine.ts";
import { benchCertificates, type CertificateRow } from "./certificates.ts";
import type { MeshSize } from "./mesh.ts";
import type { Arrivals, ClientsAnswer, ClientsCommand, ServerAnswer, ServerCommand, Usage } from "./words.ts";
import { Worker } from "./worker.ts";

interface Row {
  readonly what: string;
  /** From the change, or from the first connect, until the median and the last node had it. */
  readonly medianMs: number | null;
  readonly lastMs: number | null;
  /** Of the control plane's process, all threads. */
  readonly cpuMs: number;
  readonly bytes: number;
  readonly responses: number;
  /** Of the control plane's process, right afterwards, garbage and all. */
  readonly residentBytes: number;
}

type ServerSays<Kind extends ServerAnswer["kind"]> = Extract<ServerAnswer, { kind: Kind }>;
type ClientsSay<Kind extends ClientsAnswer["kind"]> = Extract<ClientsAnswer, { kind: Kind }>;

export async function benchControl(args: readonly string[]): Promise<number> {
  const number = (flag: string, otherwise: number) => {
    const at = args.indexOf(flag);
    return at === -1 ? otherwise : Number(args[at + 1]);
  };
  const workloads = number("--workloads", 10_000);
  const services = Math.min(number("--services", 1_000), workloads);
  const size = { workloads, services, policies: Math.min(200, services) };
  const nodes = number("--nodes", 100);
  const rounds: Round[] = [];
  const keep = args.includes("--keep");
  const state = await machineState();
  // A range needs some.
  for (let round = 1; round <= number("--rounds", keep ? 3 : 1); round++) {
    const measured = await measureOnce(size, nodes);
    const certificates = await benchCertificates(number("--certificates", 600));
    rounds.push({ ...measured, certificates });
    print(size, nodes, measured.rows, measured.memory);
    printCertificates(certificates);
  }
  console.log(istiodNote());
  const json = args.indexOf("--json");
  const results = { ...place(), busy: busyReason(state), load: state.load, size, nodes, rounds };
  if (json !== -1) await Bun.write(args[json + 1] ?? "control.json", `${JSON.stringify(results, null, 1)}\n`);
  if (keep) keepRaw("control", results);
  return 0;
}

/** One after the other, each with processes of its own. */
export interface Round {
  readonly rows: readonly Row[];
  readonly memory: Memory;
  readonly certificates: readonly CertificateRow[];
}

async function measureOnce(
  size: MeshSize,
  nodes: number,
): Promise<{ readonly rows: readonly Row[]; readonly memory: Memory }> {
  const server = new Worker<ServerCommand, ServerAnswer>("server.ts");
  const clients = new Worker<ClientsCommand, ClientsAnswer>("clients.ts");
  try {
    await clients.hear("ready");
    return await measure(server, clients, size, nodes);
  } finally {
    server.end();
    clients.end();
  }
}

interface Memory {
  readonly beforeBytes: number;
  readonly encodedBytes: number;
  readonly connectedBytes: number;
  readonly heapBytes: number;
}

async function measure(
  server: Worker<ServerCommand, ServerAnswer>,
  clients: Worker<ClientsCommand, ClientsAnswer>,
  size: MeshSize,
  nodes: number,
): Promise<{ readonly rows: readonly Row[]; readonly memory: Memory }> {
  const rows: Row[] = [];
  server.say({ kind: "start", size });
  const started: ServerSays<"started"> = await server.hear("started");
  rows.push({
    what: "mesh to resources, once",
    medianMs: null,
    lastMs: started.encodeMs,
    cpuMs: started.encodeCpuMs,
    bytes: 0,
    responses: 0,
    residentBytes: started.usage.rssBytes,
  });
  const usage = async (collect = false): Promise<Usage> => {
    server.say({ kind: "usage", collect });
    return (await server.hear("usage")).usage;
  };
  const { kind: _, encodeMs: __, encodeCpuMs: ___, usage: ____, rssBeforeBytes, ...address } = started;
  const connect = async (what: string, count: number, holding: boolean) => {
    const before = await usage();
    clients.say({ kind: "connect", ...address, count, holding });
    const { beganAtMs, arrivals }: ClientsSay<"connected"> = await clients.hear("connected");
    const after = await usage();
    rows.push(row(what, beganAtMs, arrivals, before, after));
  };
  const disconnect = async () => {
    clients.say({ kind: "disconnect" });
    await clients.hear("disconnected");
    await Bun.sleep(200);
  };
  await connect("first push, 1 node", 1, false);
  await disconnect();
  await connect(`first push, ${nodes} nodes at once`, nodes, false);
  await Bun.sleep(1_000);
  const connected = await usage(true);
  await disconnect();
  await connect(`${nodes} nodes again, holding what is`, nodes, true);
  let revision = 2;
  const changes = async (
    what: string,
    kind: "workload" | "service" | "policy",
    count: number,
    times: number,
  ) => {
    const each: Row[] = [];
    for (let time = 0; time < times; time++) {
      const before = await usage();
      clients.say({ kind: "expect", resources: count });
      server.say({ kind: "change", what: kind, count, revision: revision++ });
      const { usage: began } = await server.hear("changed");
      const { arrivals } = await clients.hear("arrived");
      await Bun.sleep(30);
      const after = await usage();
      each.push(row(what, began.atMs, arrivals, before, after));
    }
    rows.push(medians(what, each));
  };
  await changes(`1 workload to ${nodes} nodes`, "workload", 1, 21);
  await changes(`1 service to ${nodes} nodes`, "service", 1, 11);
  await changes(`1 policy to ${nodes} nodes`, "policy", 1, 11);
  await changes(`100 workloads to ${nodes} nodes`, "workload", 100, 11);
  await changes(`all ${size.workloads} workloads to ${nodes} nodes`, "workload", size.workloads, 3);
  await disconnect();
  await connect(`${nodes} nodes again, all workloads changed`, nodes, true);
  return {
    rows,
    memory: {
      beforeBytes: rssBeforeBytes,
      encodedBytes: started.usage.rssBytes,
      connectedBytes: connected.rssBytes,
      heapBytes: connected.heapBytes,
    },
  };
}

function row(
  what: string,
  beganAtMs: number,
  { atMs, bytes, responses }: Arrivals,
  before: Usage,
  after: Usage,
): Row {
  const medianMs = (atMs[atMs.length >> 1] ?? Number.NaN) - beganAtMs;
  const lastMs = (atMs.at(-1) ?? Number.NaN) - beganAtMs;
  const cpuMs = after.cpuMs - before.cpuMs;
  return { what, medianMs, lastMs, cpuMs, bytes, responses, residentBytes: after.rssBytes };
}

function medians(what: string, rows: readonly Row[]): Row {
  const of = (pick: (row: Row) => number) =>
    rows.map(pick).sort((a, b) => a - b)[rows.length >> 1] ?? Number.NaN;
  return {
    what,
    medianMs: of((each) => each.medianMs ?? 0),
    lastMs: of((each) => each.lastMs ?? 0),
    cpuMs: of((each) => each.cpuMs),
    bytes: of((each) => each.bytes),
    responses: of((each) => each.responses),
    residentBytes: of((each) => each.residentBytes),
  };
}

function print(size: MeshSize, nodes: number, rows: readonly Row[], memory: Memory): void {
  const { workloads, services, policies } = size;
  console.log(`${cpus()[0]?.model ?? "unknown CPU"}, ${cpus().length} cores, Bun ${Bun.version}`);
  console.log(`${workloads} workloads, ${services} services, ${policies} policies, ${nodes} nodes`);
  console.log(`times include the ${adsLimits.quietMs} ms that the control plane waits for quiet\n`);
  console.log(line(["what", "median ms", "last ms", "CPU ms", "KB", "responses", "RSS MB"]));
  console.log(line(Array.from({ length: 7 }, () => "---")));
  for (const { what, medianMs, lastMs, cpuMs, bytes, responses, residentBytes } of rows) {
    const cells = [medianMs, lastMs, cpuMs].map((value) => (value === null ? "" : value.toFixed(1)));
    const resident = (residentBytes / 1024 / 1024).toFixed(0);
    console.log(line([what, ...cells, (bytes / 1024).toFixed(1), String(responses), resident]));
  }
  const megabytes = (value: number) => `${(value / 1024 / 1024).toFixed(0)} MB`;
  console.log(
    `\nresident: ${megabytes(memory.beforeBytes)} with the mesh, ${megabytes(memory.encodedBytes)} with its resources, ${megabytes(memory.connectedBytes)} with ${nodes} nodes (heap ${megabytes(memory.heapBytes)})`,
  );
}

function printCertificates(rows: readonly CertificateRow[]): void {
  console.log(
    `\n${line(["certificates for workloads", "per second", "p50 ms", "p99 ms", "CPU ms each", "RSS MB"])}`,
  );
  console.log(line(Array.from({ length: 6 }, () => "---")));
  for (const { what, perSecond, p50Ms, p99Ms, cpuMs, residentBytes } of rows) {
    const cells = [perSecond.toFixed(0), p50Ms.toFixed(1), p99Ms.toFixed(1), cpuMs.toFixed(2)];
    console.log(line([what, ...cells, (residentBytes / 1024 / 1024).toFixed(0)]));
  }
}

/** Printed each time, so that no reader takes the table for a comparison. */
function istiodNote(): string {
  return process.env.ISTIOD_BINARY === undefined
    ? "\nreal istiod: NOT measured, ISTIOD_BINARY is not set."
    : "\nreal istiod: NOT measured. It gets its mesh from a Kubernetes API server alone, which this benchmark does not have; ISTIOD_BINARY is ignored.";
}

function line(cells: readonly string[]): string {
  return `| ${cells.join(" | ")} |`;
}
