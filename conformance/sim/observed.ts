/** What a simulation wrote down while it ran; the checkers judge it afterwards. */
import type { SocketAddress } from "../../src/base/ip.ts";
import type { Link } from "../../src/host/memory/link.ts";
import type { AppEnd } from "./application.ts";
import type { MeshModel } from "./model.ts";
import type { LoggedLine, SimulatedMachine } from "./node.ts";
import type { ConnectionPlan, Plan } from "./plan.ts";
import type { Unrenewed } from "./renewals.ts";
import type { WorkloadPlan } from "./workloads.ts";

/** How long an old decision may stand after the documents, or the revocation lists, have changed. */
export const stalenessMs = 1_000;

export interface ConnectionLog {
  readonly plan: ConnectionPlan;
  readonly startedMs: number;
  /** The caller's end as its node sees it. */
  local: SocketAddress | null;
  client: AppEnd | null;
  /** More than one would be a connection that reached the workload twice. */
  readonly servers: AppEnd[];
  turnedAway: string | null;
  /** When bytes, or the connection itself, reached the workload and the caller. */
  readonly atWorkloadMs: number[];
  readonly atCallerMs: number[];
  /** When the last of the two applications had come to its end. */
  finishedMs: number | null;
  /** The most that was sent and not yet received, in either direction. */
  mostUnderWay: number;
}

/** How much is under way now: looked at while both ends are there. Once an end has left, what the other sends comes to nothing. */
export function noteUnderWay(log: ConnectionLog): void {
  const { client, servers, finishedMs } = log;
  const [server] = servers;
  if (client === null || server === undefined || finishedMs !== null) return;
  const underWay = Math.max(client.sent - server.received, server.sent - client.received);
  if (client.left === null && server.left === null && underWay > log.mostUnderWay)
    log.mostUnderWay = underWay;
}

export interface Revoked {
  readonly atMs: number;
  readonly workload: string;
  readonly serialNumber: string;
}

/** A machine's wall clock is wrong, or it has no descriptors. */
export interface Trouble {
  readonly kind: "wall_jump" | "descriptors";
  readonly machine: number;
  readonly fromMs: number;
  untilMs: number;
}

/** A workload in a node's mesh that names a policy which the node does not have. */
export interface Unpolicied {
  readonly atMs: number;
  readonly machine: number;
  readonly workload: string;
  readonly policy: string;
}

export interface Observed {
  readonly plan: Plan;
  readonly machines: readonly SimulatedMachine[];
  readonly model: MeshModel;
  readonly connections: ReadonlyMap<number, ConnectionLog>;
  /** Those that were made after all faults had ended. */
  readonly probes: ReadonlyMap<number, ConnectionLog>;
  readonly lines: readonly LoggedLine[];
  readonly revoked: readonly Revoked[];
  /** Hosts that have been thrown out, by machine. */
  readonly revokedNodes: ReadonlyMap<number, number>;
  /** When roots were taken out of the bundle. */
  readonly rootsRemovedMs: readonly number[];
  readonly unpolicied: readonly Unpolicied[];
  /** SVIDs that were near their end, as they were seen. */
  readonly unrenewed: readonly Unrenewed[];
  /** What the nodes and the control plane did not agree on when all should have been well. */
  readonly disagreements: readonly string[];
  readonly cutsMs: readonly number[];
  readonly partitions: readonly {
    readonly machines: readonly [string, string];
    readonly fromMs: number;
    untilMs: number;
  }[];
  /** What was wrong with single machines, each as long as it can have had consequences. */
  readonly troubles: readonly Trouble[];
  /** Bytes at a workload that none of our clients sent. */
  readonly strange: readonly {
    readonly atMs: number;
    readonly workload: string;
    readonly bytes: Uint8Array;
  }[];
  /** Segments between machines with a caller's payload in the clear. */
  readonly clear: readonly { readonly atMs: number; readonly id: number; readonly link: Link }[];
  readonly rogues: readonly {
    readonly how: string;
    readonly workload: string;
    readonly fromMs: number;
    closedMs: number | null;
  }[];
  /** What was said to somebody who answered in place of a node. */
  readonly leaks: readonly { readonly atMs: number; readonly machine: string; readonly bytes: number }[];
  /** What was not right by when it had to be, in a run for liveness. */
  readonly unsettled: readonly string[];
  /** Nodes that still had something open after their drain. */
  readonly leftOpen: readonly string[];
  drainMs: number;
  endMs: number;
}

/** The earliest time of which documents and lists may still be in force at `atMs` for the two nodes of a connection. */
export function staleSince(log: ConnectionLog, observed: Observed, atMs: number): number {
  let sinceMs = atMs - stalenessMs;
  if (!observed.plan.control) return sinceMs;
  for (const workload of [log.plan.source, log.plan.destination]) {
    const contact = workload === null ? undefined : observed.machines[workload.machine]?.contact;
    sinceMs = Math.min(sinceMs, contact?.staleSince(atMs, stalenessMs) ?? sinceMs);
  }
  return sinceMs;
}

/** When the connection was over, or the drain at the end began. */
export function endOf(log: ConnectionLog, observed: Observed): number {
  return log.finishedMs ?? observed.drainMs;
}

export function machineOf(observed: Observed, workload: WorkloadPlan): SimulatedMachine | null {
  return observed.machines[workload.machine] ?? null;
}

/** The serial number of the SVID that the workload's node had last made by then. */
export function serialAt(observed: Observed, workload: WorkloadPlan, atMs: number): string | null {
  let serial: string | null = null;
  for (const line of observed.lines) {
    if (line.atMs > atMs) break;
    if (line.target !== "pki" || line.message !== "new SVID" || line.fields.identity !== workload.identity)
      continue;
    serial = String(line.fields.serial);
  }
  return serial;
}
