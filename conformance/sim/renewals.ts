/** Whether nodes renew what they show in time, rather than when it has expired and the next call has to wait for another. */
import type { FaultKind } from "./faults.ts";
import type { SimulatedMachine } from "./node.ts";
import type { Plan } from "./plan.ts";

/** An SVID whose end was nearer than anything allows. */
export interface Unrenewed {
  readonly atMs: number;
  readonly machine: number;
  readonly identity: string;
  readonly leftMs: number;
}

/** An SVID is renewed at half of its life, and one that is backdated by more than that at a third: this much is always left. */
const leastLeft = 0.5;
/** The CA grants no shorter life. */
const shortestLifeMs = 60_000;

/** With these a renewal may fail, or a clock deceive, for as long as they last. */
const hindrances: readonly FaultKind[] = [
  "wall_jump",
  "descriptors",
  "control_kill",
  "control_cut",
  "control_partition",
  "ca_away",
  "ca_slow",
  "node_revoked",
  "root_rotation",
];

/** @param isHealed nothing is wrong any more, and has not been for as long as a renewal may have to wait. */
export function findUnrenewed(
  plan: Plan,
  { node, machine, index }: SimulatedMachine,
  nowMs: number,
  isHealed: boolean,
): readonly Unrenewed[] {
  if (node === null || (!isHealed && hindrances.some((kind) => plan.kinds.has(kind)))) return [];
  const leastMs = Math.max(plan.svidLifetimeMs, shortestLifeMs) * leastLeft;
  return node.context.secrets.entries().flatMap(({ id, svid }) => {
    const leftMs = svid === null ? leastMs : svid.notAfterMs - machine.wallMs();
    return leftMs < leastMs ? [{ atMs: nowMs, machine: index, identity: id.uri, leftMs }] : [];
  });
}
