/** For liveness: when the faults of a seed end, and what an operator does to a mesh that is well. */
import { SeededRandom } from "../../src/host/memory/random.ts";
import { drawPolicy, type PolicyState } from "./documents.ts";
import { type Plan, trafficMs } from "./plan.ts";

export type Upheaval =
  /** New documents. */
  | { readonly kind: "reload"; readonly workload: string; readonly policy: PolicyState }
  /** A node is stopped, in order or by SIGKILL, and a new process goes on with its state. */
  | { readonly kind: "upgrade"; readonly machine: number; readonly drains: boolean; readonly downMs: number }
  | { readonly kind: "control_upgrade"; readonly downMs: number }
  /** Connections to the control plane break, one time after the other. */
  | { readonly kind: "control_blips"; readonly times: number };

export interface LivenessPlan {
  /** From the first connection to the end of all faults; connections go on. */
  readonly stopMs: number;
  readonly upheavals: readonly Upheaval[];
}

export function drawLiveness(plan: Plan): LivenessPlan {
  const random = new SeededRandom(plan.seed, "liveness");
  const reload = (): Upheaval => ({
    kind: "reload",
    workload: random.pick([plan.workloads[0], ...plan.workloads])?.name ?? "",
    policy: drawPolicy(random, plan.workloads),
  });
  const upgrades = plan.machines.map(
    (_, machine): Upheaval => ({
      kind: "upgrade",
      machine,
      drains: random.chance(0.5),
      downMs: random.pick([10, 300, 2_000]),
    }),
  );
  const ofControl: readonly Upheaval[] = plan.control
    ? [
        { kind: "control_blips", times: 1 + random.below(3) },
        { kind: "control_upgrade", downMs: random.pick([50, 1_000, 4_000]) },
      ]
    : [];
  const ordered = [reload(), reload(), ...upgrades.slice(0, 2), ...ofControl]
    .map((upheaval) => ({ upheaval, order: random.next() }))
    .sort((a, b) => a.order - b.order);
  return {
    stopMs: random.between(trafficMs * 0.3, trafficMs),
    upheavals: ordered.map(({ upheaval }) => upheaval),
  };
}
