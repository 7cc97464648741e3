/**
 * What goes wrong in a seed. First which kinds there are at all, then how often each (swarm testing: Groce et al., 2012): a seed
 * with everything in it hides what a few kinds alone would show.
 */
import type { SeededRandom } from "../../src/host/memory_random.ts";
import { drawPolicy, type PolicyState } from "./documents.ts";
import type { WorkloadPlan } from "./workloads.ts";

export const faultKinds = [
  "split",
  "delay",
  "cut",
  "partition",
  "policy",
  "strict",
  "removal",
  "revocation",
  "wall_jump",
  "descriptors",
  "disk",
  "bad_document",
  "half_written",
  "drain",
  "kill",
  "rogue",
] as const;

export type FaultKind = (typeof faultKinds)[number];

export type FaultAction =
  | { readonly kind: "cut"; readonly pick: number }
  | { readonly kind: "partition"; readonly machines: readonly [number, number]; readonly forMs: number }
  | { readonly kind: "policy"; readonly workload: string; readonly policy: PolicyState }
  | { readonly kind: "strict"; readonly name: string }
  | { readonly kind: "removal"; readonly workload: string; readonly forMs: number }
  | { readonly kind: "revocation"; readonly workload: string }
  | { readonly kind: "wall_jump"; readonly machine: number; readonly byMs: number }
  | { readonly kind: "descriptors"; readonly machine: number; readonly spare: number; readonly forMs: number }
  | { readonly kind: "disk"; readonly machine: number; readonly forMs: number }
  | { readonly kind: "bad_document"; readonly text: string }
  | { readonly kind: "half_written"; readonly share: number; readonly forMs: number }
  | { readonly kind: "drain"; readonly machine: number; readonly downMs: number }
  | { readonly kind: "kill"; readonly machine: number; readonly downMs: number; readonly impostor: boolean }
  | { readonly kind: "rogue"; readonly workload: string; readonly how: "garbage" | "foreign" | "silent" };

export interface Fault {
  readonly atMs: number;
  readonly action: FaultAction;
}

export function drawFaults(
  random: SeededRandom,
  machineCount: number,
  workloads: readonly WorkloadPlan[],
  spanMs: number,
): { readonly kinds: ReadonlySet<FaultKind>; readonly faults: readonly Fault[] } {
  const share = random.pick([0, 0.1, 0.25, 0.5]);
  const kinds = new Set(faultKinds.filter(() => random.chance(share)));
  const faults: Fault[] = [];
  for (const kind of kinds) {
    if (kind === "split" || kind === "delay") continue;
    const count = 1 + random.below(kind === "cut" || kind === "policy" ? 6 : 3);
    for (let index = 0; index < count; index++) {
      const atMs = random.between(0, spanMs);
      faults.push({ atMs, action: drawOne(kind, random, machineCount, workloads) });
    }
  }
  faults.sort((a, b) => a.atMs - b.atMs);
  return { kinds, faults };
}

function drawOne(
  kind: Exclude<FaultKind, "split" | "delay">,
  random: SeededRandom,
  machineCount: number,
  workloads: readonly WorkloadPlan[],
): FaultAction {
  const machine = random.below(machineCount);
  const workload = workloads[random.below(workloads.length)]?.name ?? "";
  switch (kind) {
    case "cut":
      return { kind, pick: random.float() };
    case "partition": {
      const other = (machine + 1 + random.below(machineCount - 1)) % machineCount;
      return { kind, machines: [machine, other], forMs: random.pick([200, 3_000, 15_000, 40_000]) };
    }
    case "policy":
      return { kind, workload, policy: drawPolicy(random, workloads) };
    case "strict":
      return { kind, name: random.pick(["mesh", workload]) };
    case "removal":
      return { kind, workload, forMs: random.between(100, 8_000) };
    case "revocation":
      return { kind, workload };
    case "wall_jump":
      return { kind, machine, byMs: random.pick([-7_200_000, -30_000, 30_000, 7_200_000, 200_000_000]) };
    case "descriptors":
      return { kind, machine, spare: random.below(6), forMs: random.between(500, 6_000) };
    case "disk":
      return { kind, machine, forMs: random.between(500, 8_000) };
    case "bad_document":
      return { kind, text: random.pick(badDocuments) };
    case "half_written":
      return { kind, share: random.float(), forMs: random.between(5, 95) };
    case "drain":
      return { kind, machine, downMs: random.between(10, 3_000) };
    case "kill":
      return { kind, machine, downMs: random.between(10, 3_000), impostor: random.chance(0.5) };
    case "rogue":
      return { kind, workload, how: random.pick(["garbage", "foreign", "silent"]) };
  }
}

/** Put behind the good documents. None of them may change what is in force. */
const badDocuments: readonly [string, ...string[]] = [
  "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: bad, namespace: shop}\nspec: {address: not an address}\n",
  "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: thief, namespace: shop}\nspec: {address: 10.0.0.1, serviceAccount: thief}\n",
  "---\n{[}\n",
  "---\napiVersion: v1\nkind: Unheard\nmetadata: {name: x}\n",
];
