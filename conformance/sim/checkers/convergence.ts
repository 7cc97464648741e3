/** When nothing is wrong any more every new connection does what the documents say, and after a drain nothing is open. */
import { type ConnectionLog, endOf, type Observed, serialAt, stalenessMs } from "../observed.ts";
import { alwaysAllowed, describeConnection } from "./causes.ts";

export function checkConvergence(observed: Observed): string[] {
  const found = observed.leftOpen.map((what) => `drain: open after the deadline: ${what}`);
  for (const log of observed.probes.values()) {
    const allowed =
      alwaysAllowed(log, observed, log.startedMs, endOf(log, observed)) && !isRevoked(log, observed);
    const say = (what: string) => found.push(`convergence: probe ${describeConnection(log)}: ${what}`);
    // Who has been thrown out hears nothing any more; what callers in the clear find there is of an earlier time.
    // A host does not judge itself: between its own workloads it goes by what it knew last.
    const { source, destination } = log.plan;
    // One that never heard that there is such a workload again calls it in the clear, which the checker of authorization judges.
    if (source !== null && neverHeardOf(log, source.machine, observed)) continue;
    const isLocal = source === null || source.machine === destination.machine;
    if (isLocal && observed.revokedNodes.has(destination.machine)) continue;
    const [server] = log.servers;
    if (!allowed && server !== undefined) say("it is not allowed and reached the workload");
    if (!allowed && log.finishedMs === null) say("it is not allowed and was not turned away");
    if (!allowed) continue;
    const { client } = log;
    if (client === null || server === undefined)
      say(`it is allowed and failed: ${log.turnedAway ?? "no answer"}`);
    else if (
      client.closed === null ||
      client.closed.error !== null ||
      client.received !== log.plan.server.sendBytes
    )
      say(
        `it is allowed and broke: ${client.closed?.error?.code ?? "still open"}, ${client.received} bytes came`,
      );
  }
  for (const log of [...observed.connections.values(), ...observed.probes.values()]) {
    const open = [log.client, ...log.servers].filter((end) => end !== null && end.closed === null);
    if (open.length > 0)
      found.push(
        `drain: ${describeConnection(log)}: ${open.map((end) => (end?.sends === "request" ? "the caller" : "the workload")).join(" and ")} still had it open at the end`,
      );
  }
  return found;
}

function neverHeardOf({ plan, startedMs }: ConnectionLog, machine: number, observed: Observed): boolean {
  const thrownOutMs = observed.revokedNodes.get(machine);
  if (thrownOutMs === undefined) return false;
  return observed.model.everRemoved(plan.destination.name, thrownOutMs - stalenessMs, startedMs);
}

function isRevoked(log: ConnectionLog, observed: Observed): boolean {
  const { source, destination } = log.plan;
  if (source === null) return false;
  if ([source, destination].some(({ machine }) => observed.revokedNodes.has(machine))) return true;
  return observed.revoked.some(({ workload: name, serialNumber }) => {
    const workload = [source, destination].find((one) => one.name === name);
    return workload !== undefined && serialAt(observed, workload, log.startedMs) === serialNumber;
  });
}
