/**
 * `npm run bench -- control [--workloads n] [--services n] [--nodes n] [--json file]`: how fast and at what cost a control plane gives
 * the mesh, and changes of it, to many nodes. Control plane and nodes are two processes on one machine, over TLS on loopback.
 */
import { cpus } from "node:os";
import { join } from "node:path";
import { adsLimits } from "../../src/base/limits.ts";
import type { MeshSize } from "./mesh.ts";
import type { Arrivals, ClientsAnswer, ClientsCommand, ServerAnswer, ServerCommand, Usage } from "./words.ts";

interface Row {
  readonly what: string;
  /** From the change, or from the first connect, until the median and the last node had it. */
  readonly medianMs: number | null;
  readonly lastMs: number | null;
  /** Of the control plane's process, all threads. */
  readonly cpuMs: number;
  readonly bytes: number;
  readonly responses: number;
}

type ServerSays<Kind extends ServerAnswer["kind"]> = Extract<ServerAnswer, { kind: Kind }>;
type ClientsSay<Kind extends ClientsAnswer["kind"]> = Extract<ClientsAnswer, { kind: Kind }>;

/** A child process that answers each command once. */
class Worker<Command, Answer extends { readonly kind: string }> {
  readonly #child;
  readonly #answers: Answer[] = [];
  #waiting: ((answer: Answer) => void) | null = null;

  constructor(file: string) {
    this.#child = Bun.spawn([process.execPath, join(import.meta.dir, file)], {
      stdio: ["ignore", "inherit", "inherit"],
      ipc: (message: Answer) => {
        const waiting = this.#waiting;
        this.#waiting = null;
        if (waiting === null) this.#answers.push(message);
        else waiting(message);
      },
    });
  }

  async hear<Kind extends Answer["kind"]>(kind: Kind): Promise<Extract<Answer, { kind: Kind }>> {
    const ready = this.#answers.shift();
    const answer =
      ready ??
      (await Promise.race([
        new Promise<Answer>((resolve) => {
          this.#waiting = resolve;
        }),
        this.#child.exited.then((code) => Promise.reject(new Error(`a worker ended with ${code}`))),
      ]));
    if (answer.kind !== kind) throw new Error(`expected ${kind}, heard ${answer.kind}`);
    return answer as Extract<Answer, { kind: Kind }>;
  }

  say(command: Command): void {
    this.#child.send(command);
  }

  end(): void {
    this.#child.kill();
  }
}

export async function benchControl(args: readonly string[]): Promise<number> {
  const number = (flag: string, otherwise: number) => {
    const at = args.indexOf(flag);
    return at === -1 ? otherwise : Number(args[at + 1]);
  };
  const workloads = number("--workloads", 10_000);
  const services = Math.min(number("--services", 1_000), workloads);
  const size = { workloads, services, policies: Math.min(200, services) };
  const nodes = number("--nodes", 100);
  const server = new Worker<ServerCommand, ServerAnswer>("server.ts");
  const clients = new Worker<ClientsCommand, ClientsAnswer>("clients.ts");
  try {
    await clients.hear("ready");
    const { rows, memory } = await measure(server, clients, size, nodes);
    print(size, nodes, rows, memory);
    const json = args.indexOf("--json");
    if (json !== -1) await writeResults(args[json + 1] ?? "control.json", { size, nodes, rows, memory });
    return 0;
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
    cpuMs: started.encodeMs,
    bytes: 0,
    responses: 0,
  });
  const usage = async (collect = false): Promise<Usage> => {
    server.say({ kind: "usage", collect });
    return (await server.hear("usage")).usage;
  };
  const { kind: _, encodeMs: __, usage: ___, rssBeforeBytes, ...address } = started;
  const connect = async (what: string, count: number, holding: boolean) => {
    const before = await usage();
    clients.say({ kind: "connect", ...address, count, holding });
    const { beganAtMs, arrivals }: ClientsSay<"connected"> = await clients.hear("connected");
    const after = await usage();
    rows.push(row(what, beganAtMs, arrivals, after.cpuMs - before.cpuMs));
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
      each.push(row(what, began.atMs, arrivals, after.cpuMs - before.cpuMs));
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

function row(what: string, beganAtMs: number, { atMs, bytes, responses }: Arrivals, cpuMs: number): Row {
  const median = (atMs[atMs.length >> 1] ?? Number.NaN) - beganAtMs;
  const last = (atMs.at(-1) ?? Number.NaN) - beganAtMs;
  return { what, medianMs: median, lastMs: last, cpuMs, bytes, responses };
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
  };
}

function print(size: MeshSize, nodes: number, rows: readonly Row[], memory: Memory): void {
  const { workloads, services, policies } = size;
  console.log(`${cpus()[0]?.model ?? "unknown CPU"}, ${cpus().length} cores, Bun ${Bun.version}`);
  console.log(`${workloads} workloads, ${services} services, ${policies} policies, ${nodes} nodes`);
  console.log(`times include the ${adsLimits.quietMs} ms that the control plane waits for quiet\n`);
  console.log(line(["", "median ms", "last ms", "CPU ms", "KB", "responses"]));
  for (const { what, medianMs, lastMs, cpuMs, bytes, responses } of rows) {
    const cells = [medianMs, lastMs, cpuMs].map((value) => (value === null ? "" : value.toFixed(1)));
    console.log(line([what, ...cells, (bytes / 1024).toFixed(1), String(responses)]));
  }
  const megabytes = (value: number) => `${(value / 1024 / 1024).toFixed(0)} MB`;
  console.log(
    `\nresident: ${megabytes(memory.beforeBytes)} with the mesh, ${megabytes(memory.encodedBytes)} with its resources, ${megabytes(memory.connectedBytes)} with ${nodes} nodes (heap ${megabytes(memory.heapBytes)})`,
  );
  console.log("real istiod: NOT measured. It needs a Kubernetes API server, which is not at hand here.");
}

function line(cells: readonly string[]): string {
  return cells.map((cell, at) => (at === 0 ? cell.padEnd(48) : cell.padStart(11))).join("");
}

async function writeResults(file: string, results: object): Promise<void> {
  const machine = {
    date: new Date().toISOString(),
    cpu: cpus()[0]?.model ?? "",
    cores: cpus().length,
    bun: Bun.version,
  };
  await Bun.write(file, `${JSON.stringify({ ...machine, ...results }, null, 2)}\n`);
}
