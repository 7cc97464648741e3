/** What may have kept one connection from coming to its orderly end: nothing else is accepted as a reason. */
import { SpiffeId } from "../../../src/mesh/identity.ts";
import { address } from "../address.ts";
import type { FaultKind } from "../faults.ts";
import type { Question } from "../model.ts";
import { type ConnectionLog, endOf, machineOf, type Observed, stalenessMs, staleSince } from "../observed.ts";
import { isRude } from "../scripts.ts";
import { outsiderAddress, refusedPort, trustDomain, type WorkloadPlan } from "../workloads.ts";

export type Cause =
  | "script"
  | "policy"
  | "removal"
  | "outage"
  | "cut"
  | "partition"
  | "revocation"
  | "wall_jump"
  | "descriptors"
  | "rogue"
  /** A root was replaced under an open connection. */
  | "root_removed"
  | "end_of_run";

const causeOfKind: Readonly<Partial<Record<FaultKind, Cause>>> = {
  cut: "cut",
  partition: "partition",
  removal: "removal",
  revocation: "revocation",
  drain: "outage",
  kill: "outage",
  rogue: "rogue",
  node_revoked: "revocation",
  root_rotation: "root_removed",
};

/** What there was in the whole run, for records of which it cannot be told whose they are; what a machine suffered, if it was at that time. */
export function causesOfRecord(
  { plan, troubles }: Observed,
  fromMs: number,
  untilMs: number,
): ReadonlySet<Cause> {
  return new Set<Cause>([
    "script",
    "policy",
    "end_of_run",
    ...[...plan.kinds].flatMap((kind) => causeOfKind[kind] ?? []),
    ...troubles
      .filter((trouble) => trouble.fromMs <= untilMs && trouble.untilMs >= fromMs)
      .map(({ kind }) => kind),
    ...plan.faults.flatMap(({ action }) =>
      action.kind === "root_rotation" && action.away !== null ? ["outage" as const] : [],
    ),
  ]);
}

/** Time-outs that a partition leaves behind: keep-alive, connect, answer. */
const partitionTailMs = 16_000;

export function causesOf(log: ConnectionLog, observed: Observed, endMs = endOf(log, observed)): Set<Cause> {
  const { plan, startedMs } = log;
  const causes = new Set<Cause>();
  const overlaps = (fromMs: number, untilMs: number) => fromMs <= endMs && untilMs >= startedMs;
  if (isRude({ ...plan, refused: plan.port === refusedPort })) causes.add("script");
  const sinceMs = staleSince(log, observed, startedMs);
  if (!alwaysAllowed(log, observed, sinceMs, endMs)) causes.add("policy");
  for (const workload of [plan.source, plan.destination]) {
    if (workload === null) continue;
    if (observed.model.everRemoved(workload.name, sinceMs - certificateMs(observed), endMs))
      causes.add("removal");
    if ((observed.revokedNodes.get(workload.machine) ?? Number.POSITIVE_INFINITY) <= endMs)
      causes.add("revocation");
    for (const outage of machineOf(observed, workload)?.outages ?? [])
      if (overlaps(outage.fromMs, outage.untilMs + stalenessMs)) causes.add("outage");
  }
  if (observed.rootsRemovedMs.some((atMs) => startedMs <= atMs + stalenessMs && atMs <= endMs))
    causes.add("root_removed");
  if (observed.cutsMs.some((atMs) => overlaps(atMs, atMs + stalenessMs))) causes.add("cut");
  const names = [plan.source, plan.destination].map((workload) =>
    workload === null ? "outsider" : (machineOf(observed, workload)?.plan.name ?? ""),
  );
  for (const { machines, fromMs, untilMs } of observed.partitions)
    if (
      names.every((name) => machines.some((machine) => machine === name)) &&
      overlaps(fromMs, untilMs + partitionTailMs)
    )
      causes.add("partition");
  const isParty = (name: string) => name === plan.source?.name || name === plan.destination.name;
  if (observed.revoked.some(({ workload, atMs }) => isParty(workload) && atMs <= endMs))
    causes.add("revocation");
  for (const { kind, machine, fromMs, untilMs } of observed.troubles)
    if ([plan.source, plan.destination].some((workload) => workload?.machine === machine))
      if (overlaps(fromMs, untilMs)) causes.add(kind);
  if (log.finishedMs === null || log.finishedMs >= observed.drainMs) causes.add("end_of_run");
  return causes;
}

/** How long a workload that is new on its node may wait for its certificate where the CA may be away. */
function certificateMs({ plan: { kinds } }: Observed): number {
  const isHindered = (["control_kill", "control_partition", "ca_away", "ca_slow"] as const).some((kind) =>
    kinds.has(kind),
  );
  return isHindered ? 20_000 : 0;
}

/** The questions that policy may be asked about this connection. */
export function questionsOf(
  log: ConnectionLog,
  observed: Observed,
  fromMs: number,
  untilMs: number,
): readonly Question[] {
  const { source, destination, port } = log.plan;
  const destinationIp = address(destination.address, 0).ip;
  const plain = (sourceAddress: string): Question => ({
    sourceIp: address(sourceAddress, 0).ip,
    sourceIdentity: null,
    destinationIp,
    destinationPort: port,
  });
  if (source === null) return [plain(outsiderAddress)];
  const own = { ...plain(source.address), sourceIdentity: identityOf(source) };
  const spokenFor = speakersOf(log, observed).map((workload) => ({
    ...plain(workload.address),
    sourceIdentity: identityOf(workload),
  }));
  // Another document may have claimed the caller's address while its own was gone.
  const claimed = observed.model
    .identitiesOf(own.sourceIp, fromMs, untilMs)
    .filter((id) => !id.equals(own.sourceIdentity))
    .map((sourceIdentity) => ({ ...own, sourceIdentity }));
  // While the documents do not have the destination, its callers do not know it for a workload and go in the clear.
  const inMesh = [own, ...spokenFor, ...claimed];
  if (!observed.model.everRemoved(destination.name, fromMs, untilMs)) return inMesh;
  const machine = machineOf(observed, source);
  return [...inMesh, ...(machine?.plan.workloads ?? []).map((workload) => plain(workload.address))];
}

export function alwaysAllowed(
  log: ConnectionLog,
  observed: Observed,
  fromMs: number,
  untilMs: number,
): boolean {
  const certain = 1 + speakersOf(log, observed).length;
  return questionsOf(log, observed, fromMs, untilMs)
    .slice(0, certain)
    .every((question) => observed.model.alwaysAllowed(question, fromMs, untilMs));
}

/**
 * The neighbours in whose name a caller may be let in beside its own. A host with just one workload takes whoever calls for it, except
 * from an address that another workload had: of that, a node that was started while the documents did not have the caller knows nothing.
 */
export function speakersOf(log: ConnectionLog, observed: Observed): readonly WorkloadPlan[] {
  const { plan, startedMs } = log;
  const { source } = plan;
  const machine = source === null ? null : machineOf(observed, source);
  // Other entries say by themselves whose they are.
  if (source === null || machine === null || plan.entry !== "captured") return [];
  const { model } = observed;
  const sinceMs = staleSince(log, observed, startedMs);
  const [, ...restartsMs] = machine.startsMs;
  const bornMs = restartsMs.findLast((atMs) => atMs <= startedMs);
  if (bornMs === undefined || !model.everRemoved(source.name, sinceMs, startedMs)) return [];
  // By the time the first documents are read; where a control plane tells, that may be any time.
  const readMs = bornMs + stalenessMs;
  const mayHaveKnown =
    !observed.plan.control && readMs < sinceMs && !model.alwaysRemoved(source.name, readMs, sinceMs);
  return mayHaveKnown ? [] : machine.plan.workloads.filter((workload) => workload !== source);
}

export function identityOf(workload: WorkloadPlan): SpiffeId {
  return new SpiffeId(trustDomain, workload.namespace, workload.name);
}

export function describeConnection({ plan }: ConnectionLog): string {
  return `#${plan.id} (${plan.kind}, ${plan.source?.name ?? "outside"} → ${plan.destination.name}:${plan.port} by ${plan.entry})`;
}
