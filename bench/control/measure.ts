/** The same questions to any control plane, with the same nodes: a first push, changes to all, all of them again. */
import type { MeshSize } from "./mesh.ts";
import type { Arrivals, ClientsAnswer, ClientsCommand, Usage } from "./words.ts";
import { Worker } from "./worker.ts";

export interface Row {
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

/** A control plane that has the mesh. */
export interface ControlPlane {
  /** Where it is, and as whom the nodes come. */
  readonly address: {
    readonly port: number;
    readonly rootsPem: string;
    readonly certificateChainPem: string;
    readonly privateKeyPem: string;
  };
  /** What it took to have the mesh ready to be sent. */
  readonly started: { readonly tookMs: number; readonly cpuMs: number; readonly usage: Usage };
  /** Whether changes of the whole mesh come to it at once; else they are left out. */
  readonly takesAllAtOnce: boolean;
  /** @param collect garbage first, where that can be asked for. */
  usage(collect?: boolean): Promise<Usage>;
  /** @returns when it had been told. */
  change(what: "workload" | "service" | "policy", count: number, revision: number): Promise<number>;
}

export interface Measured {
  readonly rows: readonly Row[];
  /** With all nodes. */
  readonly connected: Usage;
}

export async function measure(server: ControlPlane, size: MeshSize, nodes: number): Promise<Measured> {
  const clients = new Worker<ClientsCommand, ClientsAnswer>("clients.ts");
  try {
    await clients.hear("ready");
    return await measureWith(clients, server, size, nodes);
  } finally {
    clients.end();
  }
}

async function measureWith(
  clients: Worker<ClientsCommand, ClientsAnswer>,
  server: ControlPlane,
  size: MeshSize,
  nodes: number,
): Promise<Measured> {
  const { tookMs, cpuMs, usage: ready } = server.started;
  const nothing = { medianMs: null, bytes: 0, responses: 0 };
  const rows: Row[] = [{ what: readyRow, ...nothing, lastMs: tookMs, cpuMs, residentBytes: ready.rssBytes }];
  const connect = async (what: string, count: number, holding: boolean): Promise<void> => {
    const before = await server.usage();
    clients.say({ kind: "connect", ...server.address, count, holding });
    const { beganAtMs, arrivals } = await clients.hear("connected");
    rows.push(row(what, beganAtMs, arrivals, before, await server.usage()));
  };
  const disconnect = async (): Promise<void> => {
    clients.say({ kind: "disconnect" });
    await clients.hear("disconnected");
    await Bun.sleep(200);
  };
  await connect("first push, 1 node", 1, false);
  await disconnect();
  await connect(`first push, ${nodes} nodes at once`, nodes, false);
  await Bun.sleep(1_000);
  const connected = await server.usage(true);
  await disconnect();
  await connect(`${nodes} nodes again, holding what is`, nodes, true);
  let revision = 2;
  const changes = async (
    what: string,
    kind: "workload" | "service" | "policy",
    count: number,
    times: number,
  ): Promise<void> => {
    const each: Row[] = [];
    for (let time = 0; time < times; time++) {
      const before = await server.usage();
      clients.say({ kind: "expect", resources: count });
      const beganAtMs = await server.change(kind, count, revision++);
      const { arrivals } = await clients.hear("arrived");
      await Bun.sleep(30);
      each.push(row(what, beganAtMs, arrivals, before, await server.usage()));
    }
    rows.push(medians(what, each));
  };
  await changes(`1 workload to ${nodes} nodes`, "workload", 1, 21);
  await changes(`1 service to ${nodes} nodes`, "service", 1, 11);
  await changes(`1 policy to ${nodes} nodes`, "policy", 1, 11);
  await changes(`100 workloads to ${nodes} nodes`, "workload", 100, 11);
  if (server.takesAllAtOnce) {
    await changes(`all ${size.workloads} workloads to ${nodes} nodes`, "workload", size.workloads, 3);
    await disconnect();
    await connect(`${nodes} nodes again, all workloads changed`, nodes, true);
  }
  return { rows, connected };
}

const readyRow = "mesh to resources, once";

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
