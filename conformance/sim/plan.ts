/** What a seed stands for, drawn before anything runs: the mesh, its traffic, and what goes wrong. */
import { SeededRandom } from "../../src/host/memory/random.ts";
import { drawDocuments, type MeshState } from "./documents.ts";
import { drawControlFaults, drawFaults, type Fault, type FaultKind } from "./faults.ts";
import { drawScripts, type EndScript } from "./scripts.ts";
import { drawHalfCalls, drawVolleys, type Pair } from "./volleys.ts";
import { bannerPort, refusedPort, serverPort, trustDomain, type WorkloadPlan } from "./workloads.ts";

/** How an application's traffic reaches the node: redirected, or through ports that it calls by choice. */
export type MachineMode = "capture" | "entries";

export interface MachinePlan {
  readonly name: string;
  readonly mode: MachineMode;
  readonly originalSource: boolean;
  readonly workloads: readonly WorkloadPlan[];
}

export type Entry = "socks5" | "http_connect" | "local_port" | "captured" | "plain";

export interface ConnectionPlan {
  readonly id: number;
  readonly startMs: number;
  /** Null: from outside of the mesh, in the clear. */
  readonly source: WorkloadPlan | null;
  readonly destination: WorkloadPlan;
  readonly port: number;
  readonly entry: Entry;
  /** By name instead of by address, where the entry takes names. */
  readonly byName: boolean;
  readonly client: EndScript;
  readonly server: EndScript;
  /** For failures: what it is like. */
  readonly kind: string;
}

export interface Plan {
  readonly seed: number;
  readonly machines: readonly MachinePlan[];
  readonly workloads: readonly WorkloadPlan[];
  readonly state: MeshState;
  /** Its nodes join a control plane and take the mesh from it; without one, from files. */
  readonly control: boolean;
  readonly connections: readonly ConnectionPlan[];
  readonly kinds: ReadonlySet<FaultKind>;
  readonly faults: readonly Fault[];
  readonly splitRate: number;
  readonly latencyMs: number;
  readonly jitterMs: number;
  readonly bufferBytes: number;
  readonly streamWindowBytes: number;
  readonly maxStreamsPerConnection: number;
  readonly svidLifetimeMs: number;
}

/** When new faults and new connections have come to an end. */
export const trafficMs = 20_000;

/** Of all seeds, those with transfers that are torn off over small sockets. */
const tornShare = 0.2;
/** Of the others, those with a control plane. */
const controlShare = 0.4;

export function drawPlan(seed: number): Plan {
  const random = new SeededRandom(seed, "plan");
  const machines = drawMachines(random.fork("machines"));
  const workloads = machines.flatMap((machine) => machine.workloads);
  const state = drawDocuments(random.fork("documents"), workloads);
  const drawn = drawFaults(random.fork("faults"), machines.length, workloads, trafficMs);
  const network = random.fork("network");
  const connections = drawConnections(random.fork("connections"), machines, workloads);
  const torn = random.fork("torn");
  // A socket is full when the peer resets only where it holds less than what is sent at once.
  const isTorn = torn.chance(tornShare);
  const control = random.fork("control");
  const isControlled = !isTorn && control.chance(controlShare);
  const { kinds, faults } = isControlled
    ? drawControlFaults(control, drawn, machines.length, workloads, trafficMs)
    : drawn;
  const pairs = pairsOf(machines, workloads);
  return {
    seed,
    machines,
    workloads,
    state,
    control: isControlled,
    connections: [
      ...connections,
      ...(isTorn ? drawVolleys(torn, machines, pairs, trafficMs) : []),
      ...drawHalfCalls(new SeededRandom(seed, "half"), machines, pairs, faults),
    ],
    kinds,
    faults,
    splitRate: kinds.has("split") ? network.between(0.05, 0.6) : 0,
    latencyMs: kinds.has("delay") ? network.between(1, 40) : 0.5,
    jitterMs: kinds.has("delay") ? network.between(0, 60) : 0.2,
    bufferBytes:
      (isTorn
        ? torn.pick([4, 8, 16])
        : isControlled
          ? control.pick([64, 256])
          : network.pick([16, 64, 256])) * 1024,
    streamWindowBytes: network.pick([64, 256, 1024]) * 1024,
    maxStreamsPerConnection: network.pick([1, 4, 100]),
    svidLifetimeMs: network.pick([60_000, 3_600_000, 86_400_000]),
  };
}

function drawMachines(random: SeededRandom): MachinePlan[] {
  const machines: MachinePlan[] = [];
  const count = 2 + random.below(3);
  for (let machine = 0; machine < count; machine++) {
    const mode = random.pick<MachineMode>(["capture", "entries"]);
    const workloads = Array.from({ length: 1 + random.below(3) }, (_, index): WorkloadPlan => {
      const name = `w${machine}${index}`;
      const namespace = random.pick(["shop", "back"]);
      return {
        name,
        namespace,
        address: `10.0.${machine}.${index + 1}`,
        machine,
        identity: `spiffe://${trustDomain}/ns/${namespace}/sa/${name}`,
        socks5Port: 1080 + index,
        httpConnectPort: 3128 + index,
      };
    });
    machines.push({ name: `m${machine}`, mode, originalSource: random.chance(0.5), workloads });
  }
  return machines;
}

function drawConnections(
  random: SeededRandom,
  machines: readonly MachinePlan[],
  workloads: readonly WorkloadPlan[],
): ConnectionPlan[] {
  const count = 6 + random.below(20);
  const [first, ...rest] = workloads;
  if (first === undefined) return [];
  return Array.from({ length: count }, (_, index): ConnectionPlan => {
    const source = random.chance(0.12) ? null : random.pick([first, ...rest]);
    const others = destinationsOf(source, machines, workloads);
    const destination = random.pick([others[0] ?? first, ...others]);
    const { kind, client, server, refused, banner } = drawScripts(random);
    const captured = source !== null && machines[source.machine]?.mode === "capture";
    const entries: readonly [Entry, ...Entry[]] = captured
      ? ["captured", "captured", "socks5"]
      : ["socks5", "http_connect", "local_port"];
    const entry = source === null ? "plain" : random.pick<Entry>(refused || banner ? ["socks5"] : entries);
    return {
      id: index + 1,
      startMs: random.between(0, trafficMs),
      source,
      destination,
      port: refused ? refusedPort : banner ? bannerPort : serverPort,
      entry,
      byName: random.chance(0.3),
      client,
      server,
      kind,
    };
  });
}

/** Who may call whom over a tunnel. */
function pairsOf(machines: readonly MachinePlan[], workloads: readonly WorkloadPlan[]): readonly Pair[] {
  return workloads.flatMap((source) =>
    destinationsOf(source, machines, workloads)
      .filter(({ machine }) => machine !== source.machine)
      .map((destination) => ({ source, destination })),
  );
}

/** Whom a workload, or the outsider, can call. Capture leaves loopback alone: on a captured machine its workloads are not in the mesh to each other. */
export function destinationsOf(
  source: WorkloadPlan | null,
  machines: readonly MachinePlan[],
  workloads: readonly WorkloadPlan[],
): readonly WorkloadPlan[] {
  return workloads.filter(
    (workload) =>
      workload !== source &&
      (workload.machine !== source?.machine || machines[workload.machine]?.mode !== "capture"),
  );
}
