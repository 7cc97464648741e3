/**
 * Bulk transfers that are torn off while the tunnel's socket is full, and small calls over the same tunnel around that moment: what
 * was about to be sent is gone, and those who share the tunnel must not notice.
 */
import type { SeededRandom } from "../../src/host/memory/random.ts";
import { closedBeforeHalfMs, type Fault, lookAfterCutMs } from "./faults.ts";
import type { ConnectionPlan, Entry, MachinePlan } from "./plan.ts";
import { polite } from "./scripts.ts";
import { serverPort, type WorkloadPlan } from "./workloads.ts";

/** Numbers of their own, beside those of other traffic and of probes. */
const firstVolleyId = 1_000;
const bulkBytes = 400_000;

export interface Pair {
  readonly source: WorkloadPlan;
  readonly destination: WorkloadPlan;
}

/** @param pairs who may call whom, on two machines; empty gives nothing. */
export function drawVolleys(
  random: SeededRandom,
  machines: readonly MachinePlan[],
  pairs: readonly Pair[],
  spanMs: number,
): ConnectionPlan[] {
  const [first, ...rest] = pairs;
  if (first === undefined) return [];
  const connections: ConnectionPlan[] = [];
  const count = 2 + random.below(4);
  for (let volley = 0; volley < count; volley++) {
    const pair = random.pick([first, ...rest]);
    const entry: Entry = machines[pair.source.machine]?.mode === "capture" ? "captured" : "socks5";
    const call = (startMs: number, scripts: Pick<ConnectionPlan, "kind" | "client" | "server">) =>
      connections.push({
        id: firstVolleyId + connections.length,
        startMs,
        ...pair,
        port: serverPort,
        entry,
        byName: false,
        ...scripts,
      });
    const atMs = random.between(0, spanMs);
    call(atMs, drawTornBulk(random));
    for (let more = 1 + random.below(3); more > 0; more--)
      call(atMs + random.between(0, 1_500), {
        kind: "volley's call",
        client: { ...polite, sendBytes: 200 },
        server: { ...polite, sendBytes: random.pick([100, 2_000]), end: "peer_ended" },
      });
  }
  return connections;
}

/** Whoever receives leaves in the middle of it. */
function drawTornBulk(random: SeededRandom): Pick<ConnectionPlan, "kind" | "client" | "server"> {
  const leave = {
    how: random.pick(["reset", "reset", "close"] as const),
    afterBytes: 1 + random.below(60_000),
  };
  const source = { ...polite, sendBytes: bulkBytes, chunkBytes: 16_384 };
  const sink = { ...polite, sendBytes: 10, leave, end: "peer_ended" as const };
  return random.chance(0.7)
    ? { kind: "torn download", client: sink, server: source }
    : { kind: "torn upload", client: source, server: sink };
}

/** Numbers of their own again. */
const firstHalfId = 5_000;

/** Callers of a workload whose policy is missing from a file for a moment: whoever takes half a document for a whole one lets them in. */
export function drawHalfCalls(
  random: SeededRandom,
  machines: readonly MachinePlan[],
  pairs: readonly Pair[],
  faults: readonly Fault[],
): ConnectionPlan[] {
  const connections: ConnectionPlan[] = [];
  for (const { atMs, action } of faults) {
    if (action.kind !== "half_written") continue;
    const callers = pairs.filter(({ destination }) => destination.name === action.workload);
    for (const { source, destination } of callers.slice(0, 3))
      connections.push({
        id: firstHalfId + connections.length,
        startMs: atMs + closedBeforeHalfMs + lookAfterCutMs + random.between(0, action.forMs),
        source,
        destination,
        port: serverPort,
        entry: machines[source.machine]?.mode === "capture" ? "captured" : "socks5",
        byName: false,
        kind: "call at half a document",
        client: { ...polite, sendBytes: 100 },
        server: { ...polite, sendBytes: 100, end: "peer_ended" },
      });
  }
  return connections;
}
