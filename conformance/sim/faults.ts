/**
 * What goes wrong in a seed. First which kinds there are at all, then how often each (swarm testing: Groce et al., 2012): a seed
 * with everything in it hides what a few kinds alone would show.
 */
import type { SeededRandom } from "../../src/host/memory/random.ts";
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

/** Where a control plane says what the mesh is, in place of those that are of documents in files. */
export const controlFaultKinds = [
  "control_kill",
  "control_cut",
  "control_partition",
  "ca_away",
  "ca_slow",
  "policies_held_up",
  "bad_resource",
  "burst",
  "node_revoked",
  "root_rotation",
] as const;
const fileKinds: readonly string[] = ["bad_document", "half_written"];

type ControlFaultKind = (typeof controlFaultKinds)[number];
export type FaultKind = (typeof faultKinds)[number] | ControlFaultKind;

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
  /** A workload's policy closes it, and later the file is cut, at the latest before that policy: callers come in between. */
  | {
      readonly kind: "half_written";
      readonly workload: string;
      readonly share: number;
      readonly forMs: number;
    }
  | { readonly kind: "drain"; readonly machine: number; readonly downMs: number }
  | {
      readonly kind: "kill";
      readonly machine: number;
      readonly downMs: number;
      readonly impostor: boolean;
      readonly power: boolean;
    }
  | { readonly kind: "control_kill"; readonly downMs: number }
  /** Connections to the control plane break, the first time in the middle of a push. */
  | { readonly kind: "control_cut"; readonly afterMs: number }
  | { readonly kind: "control_partition"; readonly machine: number; readonly forMs: number }
  /** The answer to one policy is still out when a workload gets its first. */
  | {
      readonly kind: "policies_held_up";
      readonly machine: number;
      readonly workloads: readonly [string, string];
    }
  | { readonly kind: "ca_away"; readonly forMs: number }
  | { readonly kind: "ca_slow"; readonly holdMs: number; readonly forMs: number }
  /** Something that no node can read, beside something that all can. */
  | { readonly kind: "bad_resource"; readonly forMs: number }
  | { readonly kind: "burst"; readonly count: number; readonly forMs: number }
  | { readonly kind: "node_revoked"; readonly machine: number }
  /** Begun while a machine is out of touch, and is started again when only the CA can tell it. */
  | { readonly kind: "root_rotation"; readonly away: number | null }
  | { readonly kind: "rogue"; readonly workload: string; readonly how: "garbage" | "foreign" | "silent" };

/** From a workload's closing to the cut: by then no old decision may stand any more. */
export const closedBeforeHalfMs = 2_000;
/** What stays as it is for so long is a finished file (`docs/mesh-documents.md`): half a one does not stay so long. */
const finishedMs = 50;
const halfSlackMs = 5;
/** From the cut to when a node looks at its files, for something else that was written before. */
export const lookAfterCutMs = 1;

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

/** For a mesh with a control plane: what it draws of the other faults, without those of files, and those of its own. */
export function drawControlFaults(
  random: SeededRandom,
  others: { readonly kinds: ReadonlySet<FaultKind>; readonly faults: readonly Fault[] },
  machineCount: number,
  workloads: readonly WorkloadPlan[],
  spanMs: number,
): { readonly kinds: ReadonlySet<FaultKind>; readonly faults: readonly Fault[] } {
  const share = random.pick([0.1, 0.25, 0.5]);
  // A host that cannot write down the new root and is killed does not know its control plane any more.
  const hasDisk = others.kinds.has("disk");
  const mayRotate = !hasDisk || !(others.kinds.has("kill") || others.kinds.has("drain"));
  const drawn = controlFaultKinds.filter(
    (kind) => random.chance(share) && (kind !== "root_rotation" || mayRotate),
  );
  const faults = others.faults.filter(({ action }) => !fileKinds.includes(action.kind));
  for (const kind of drawn) {
    const isOnce = kind === "node_revoked" || kind === "root_rotation";
    for (let count = isOnce ? 1 : 1 + random.below(3); count > 0; count--)
      faults.push({
        atMs: random.between(0, spanMs),
        action: drawControl(kind, random, machineCount, workloads, !hasDisk),
      });
  }
  faults.sort((a, b) => a.atMs - b.atMs);
  const kinds = [...others.kinds].filter((kind) => !fileKinds.includes(kind));
  return { kinds: new Set([...kinds, ...drawn]), faults };
}

function drawControl(
  kind: ControlFaultKind,
  random: SeededRandom,
  machineCount: number,
  workloads: readonly WorkloadPlan[],
  mayRestart: boolean,
): FaultAction {
  const machine = random.below(machineCount);
  switch (kind) {
    case "control_kill":
      return { kind, downMs: random.pick([100, 2_000, 8_000, 15_000]) };
    case "control_cut":
      return { kind, afterMs: random.between(0, 60) };
    case "control_partition":
      return { kind, machine, forMs: random.pick([200, 3_000, 15_000]) };
    case "policies_held_up": {
      const first = random.below(workloads.length);
      const second = (first + 1) % workloads.length;
      return { kind, machine, workloads: [workloads[first]?.name ?? "", workloads[second]?.name ?? ""] };
    }
    case "ca_away":
      return { kind, forMs: random.pick([1_000, 5_000, 15_000]) };
    case "ca_slow":
      return { kind, holdMs: random.between(200, 5_000), forMs: random.between(1_000, 15_000) };
    case "bad_resource":
      return { kind, forMs: random.between(100, 8_000) };
    case "burst":
      return { kind, count: 10 + random.below(60), forMs: random.between(20, 3_000) };
    case "node_revoked":
      return { kind, machine };
    case "root_rotation":
      return { kind, away: mayRestart && random.chance(0.5) ? machine : null };
  }
}

function drawOne(
  kind: Exclude<FaultKind, "split" | "delay" | ControlFaultKind>,
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
      return { kind, workload, share: random.float(), forMs: random.between(5, finishedMs - halfSlackMs) };
    case "drain":
      return { kind, machine, downMs: random.between(10, 3_000) };
    case "kill":
      return {
        kind,
        machine,
        downMs: random.between(10, 3_000),
        impostor: random.chance(0.5),
        power: random.chance(0.5),
      };
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
