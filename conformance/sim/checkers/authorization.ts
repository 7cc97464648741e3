/** No byte reaches a workload that the documents of the last second would not have let through, decided by the reference engine. */
import { type ConnectionLog, type Observed, serialAt, stalenessMs, staleSince } from "../observed.ts";
import { describeConnection, questionsOf } from "./causes.ts";

export function checkAuthorization(observed: Observed): string[] {
  const found: string[] = [];
  for (const log of [...observed.connections.values(), ...observed.probes.values()]) {
    const denied = log.atWorkloadMs.find((atMs) => !mayReach(log, observed, atMs));
    if (denied !== undefined)
      found.push(
        `authorization: ${describeConnection(log)}: bytes reached the workload at ${denied.toFixed(1)} ms that no policy in force allowed`,
      );
    const revoked =
      log.atWorkloadMs.find((atMs) => isRevoked(log, observed, atMs, log.plan.destination.name)) ??
      log.atCallerMs.find((atMs) => isRevoked(log, observed, atMs, log.plan.source?.name ?? ""));
    if (revoked !== undefined)
      found.push(
        `authorization: ${describeConnection(log)}: bytes passed at ${revoked.toFixed(1)} ms under a revoked certificate`,
      );
  }
  for (const { atMs, id } of observed.clear) {
    const log = observed.connections.get(id) ?? observed.probes.get(id);
    if (log === undefined || log.plan.source === null) continue;
    if (observed.model.everRemoved(log.plan.destination.name, staleSince(log, observed, log.startedMs), atMs))
      continue;
    found.push(
      `authorization: ${describeConnection(log)}: its payload was in the clear between machines at ${atMs.toFixed(1)} ms`,
    );
  }
  for (const { machine, bytes, atMs } of observed.leaks)
    found.push(
      `authorization: ${bytes} bytes were given at ${atMs.toFixed(1)} ms to an impostor in place of ${machine}`,
    );
  for (const { how, workload, fromMs, closedMs } of observed.rogues)
    if (closedMs === null || closedMs - fromMs > rogueMs)
      found.push(`authorization: a ${how} caller of ${workload} was not sent away within ${rogueMs} ms`);
  return found;
}

/** The handshake's time-out and some. */
const rogueMs = 13_000;

function mayReach(log: ConnectionLog, observed: Observed, atMs: number): boolean {
  const fromMs = staleSince(log, observed, atMs);
  return questionsOf(log, observed, Math.min(fromMs, log.startedMs), atMs).some((question) =>
    observed.model.everAllowed(question, fromMs, atMs),
  );
}

/** Whether one of the certificates that this connection must have been made with was revoked long enough ago. */
function isRevoked(log: ConnectionLog, observed: Observed, atMs: number, receiver: string): boolean {
  const { source, destination } = log.plan;
  const sinceMs = staleSince(log, observed, atMs);
  if (source === null || observed.model.everRemoved(destination.name, sinceMs, atMs)) return false;
  if (isThrownOut(log, observed, sinceMs, atMs, receiver)) return true;
  return observed.revoked.some((revoked) => {
    if (revoked.atMs > sinceMs) return false;
    const workload = [source, destination].find(({ name }) => name === revoked.workload);
    if (workload === undefined) return false;
    // A host does not judge its own certificate: its peer cuts the connection, and a partition holds back what was sent before, and the cut.
    if (
      workload.name === receiver &&
      observed.partitions.some(({ fromMs, untilMs }) => fromMs < atMs && untilMs + stalenessMs > revoked.atMs)
    )
      return false;
    // A certificate made after the revocation is another one. A connection has that of its beginning: when the certificate is renewed,
    // as before its root is replaced, what is open stays in tunnels that were made with the one before, which is not revoked.
    return [log.startedMs, atMs].every(
      (whenMs) => serialAt(observed, workload, whenMs) === revoked.serialNumber,
    );
  });
}

/** Whether one of the two hosts was thrown out long enough ago; a host does not judge itself, and a partition holds back what was sent before. */
function isThrownOut(
  { plan: { source, destination } }: ConnectionLog,
  observed: Observed,
  sinceMs: number,
  atMs: number,
  receiver: string,
): boolean {
  if (source === null || source.machine === destination.machine) return false;
  return [source, destination].some(({ name, machine }) => {
    const revokedMs = observed.revokedNodes.get(machine) ?? Number.POSITIVE_INFINITY;
    const isHeldBack = observed.partitions.some(
      ({ fromMs, untilMs }) => fromMs < atMs && untilMs + stalenessMs > revokedMs,
    );
    return revokedMs <= sinceMs && !(name === receiver && isHeldBack);
  });
}
