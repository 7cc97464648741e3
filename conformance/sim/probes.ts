/** Connections made when all is well again: each must do exactly what the documents say. */
import type { SeededRandom } from "../../src/host/memory/random.ts";
import { type ConnectionPlan, destinationsOf, type Entry, type Plan } from "./plan.ts";
import { probeScripts } from "./scripts.ts";
import { serverPort, type WorkloadPlan } from "./workloads.ts";

const firstProbeId = 10_000;
const maxProbes = 16;

/** @param round which one it is of those of a run: their numbers are apart. */
export function drawProbes(plan: Plan, random: SeededRandom, round = 0): readonly ConnectionPlan[] {
  const pairs: (readonly [WorkloadPlan | null, WorkloadPlan])[] = [null, ...plan.workloads].flatMap(
    (source) =>
      destinationsOf(source, plan.machines, plan.workloads).map(
        (destination) => [source, destination] as const,
      ),
  );
  const chosen = pairs.map((pair) => ({ pair, order: random.next() })).sort((a, b) => a.order - b.order);
  return chosen.slice(0, maxProbes).map(({ pair: [source, destination] }, index): ConnectionPlan => {
    const captured = source !== null && plan.machines[source.machine]?.mode === "capture";
    const entries: readonly [Entry, ...Entry[]] = captured
      ? ["captured", "socks5"]
      : ["socks5", "http_connect", "local_port"];
    return {
      id: firstProbeId + round * maxProbes + index,
      startMs: random.between(0, 2_000),
      source,
      destination,
      port: serverPort,
      entry: source === null ? "plain" : random.pick(entries),
      byName: random.chance(0.5),
      kind: "probe",
      ...probeScripts,
    };
  });
}
