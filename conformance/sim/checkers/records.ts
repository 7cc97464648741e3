/** One access record for each connection on each side, with the identities that are true and a reason that there was. */
import { formatSocketAddress } from "../../../src/base/ip.ts";
import { hostLimits } from "../../../src/base/limits/host.ts";
import { address } from "../address.ts";
import type { LoggedLine } from "../node.ts";
import { drainDeadlineMs } from "../node_config.ts";
import { type ConnectionLog, endOf, machineOf, type Observed, stalenessMs } from "../observed.ts";
import type { WorkloadPlan } from "../workloads.ts";
import { type Cause, causesOf, causesOfRecord, describeConnection, speakersOf } from "./causes.ts";

/** What each reason needs to have happened. A code that is not here is never right. */
const reasons: Readonly<Record<string, readonly Cause[]>> = {
  connection_reset: [
    "script",
    "cut",
    "outage",
    "policy",
    "root_removed",
    "revocation",
    "partition",
    "removal",
    "wall_jump",
    "descriptors",
    "end_of_run",
  ],
  connection_closed: [
    "script",
    "cut",
    "outage",
    "policy",
    "root_removed",
    "revocation",
    "partition",
    "removal",
    "wall_jump",
    "descriptors",
    "end_of_run",
  ],
  h2_reset: [
    "script",
    "cut",
    "outage",
    "policy",
    "root_removed",
    "revocation",
    "partition",
    "removal",
    "wall_jump",
    "end_of_run",
  ],
  h2_refused: ["cut", "outage", "root_removed", "revocation", "partition", "end_of_run"],
  h2_keepalive_timeout: ["partition", "outage"],
  hbone_status: ["script", "policy", "outage", "removal", "descriptors", "revocation"],
  connect_refused: ["script", "outage", "removal"],
  connect_timeout: ["partition", "descriptors", "outage"],
  tls_handshake: [
    "removal",
    "rogue",
    "cut",
    "outage",
    "partition",
    "root_removed",
    "revocation",
    "wall_jump",
    "descriptors",
    "end_of_run",
  ],
  certificate_revoked: ["revocation"],
  certificate_unexpected: ["outage"],
  certificate_untrusted: ["rogue", "outage", "revocation", "root_removed"],
  certificate_signature: ["rogue"],
  certificate_expired: ["wall_jump"],
  certificate_not_yet_valid: ["wall_jump"],
  identity_unavailable: ["wall_jump", "removal", "outage", "revocation"],
  descriptors_exhausted: ["descriptors"],
  policy_denied: ["policy"],
  policy_changed: ["policy", "removal"],
  unknown_workload: ["removal"],
  workload_changed: ["removal"],
  no_route: ["removal"],
  connect_unreachable: ["removal"],
  no_healthy_upstream: ["removal"],
  name_not_found: ["removal"],
  draining: ["outage", "end_of_run"],
};

function isExplained(error: string, causes: ReadonlySet<Cause>): boolean {
  const code = error.split(":")[0] ?? "";
  return reasons[code]?.some((cause) => causes.has(cause)) ?? false;
}

export function checkRecords(observed: Observed): string[] {
  const access = observed.lines.filter(({ target }) => target === "access");
  return [
    ...checkOutbound(observed, access),
    ...checkInbound(observed, access),
    ...checkDrains(observed, access),
  ];
}

/** A drain gives open connections its whole deadline. */
function checkDrains(observed: Observed, access: readonly LoggedLine[]): string[] {
  const cut = access.filter(({ fields }) => String(fields.error).startsWith("draining: cut"));
  return cut
    .filter(({ atMs, machine }) =>
      (observed.machines[machine]?.drainsMs ?? []).every(
        (fromMs) => atMs < fromMs || atMs - fromMs < drainDeadlineMs - 1,
      ),
    )
    .map(
      ({ atMs, machine }) =>
        `drain: m${machine} cut a connection at ${atMs.toFixed(1)} ms, before the deadline of its drain`,
    );
}

function checkOutbound(observed: Observed, access: readonly LoggedLine[]): string[] {
  const found: string[] = [];
  const byCaller = new Map<string, LoggedLine[]>();
  for (const line of access) {
    if (line.fields.direction !== "outbound") continue;
    const key = `${line.machine} ${line.fields["src.addr"]}`;
    byCaller.set(key, [...(byCaller.get(key) ?? []), line]);
  }
  for (const log of [...observed.connections.values(), ...observed.probes.values()]) {
    const { source } = log.plan;
    if (source === null || log.local === null) continue;
    const lines = byCaller.get(`${source.machine} ${formatSocketAddress(log.local)}`) ?? [];
    // A node may be busy with a connection for longer than its caller waits.
    const recordedMs = lines[0]?.atMs ?? 0;
    const causes = causesOf(log, observed, Math.max(recordedMs, endOf(log, observed)));
    const say = (what: string) => found.push(`records: ${describeConnection(log)}: ${what}`);
    if (lines.length > 1) say(`${lines.length} outbound records`);
    // A node that was killed, or that had no descriptor to accept with, has nothing to say.
    if (lines.length === 0 && !(["outage", "descriptors", "cut"] as const).some((cause) => causes.has(cause)))
      if (!wasKilledAtWork(log, observed, source)) say("no outbound record");
    const [line] = lines;
    if (line !== undefined) checkOutboundLine(log, observed, line, causes, say);
    if (causes.size === 0 && !isComplete(log))
      say(`nothing was wrong, yet it did not complete: ${progress(log)}`);
  }
  return found;
}

/** What was left unread is carried on after both ends have seen theirs: until the kernel of an application that closed answers it with RST. */
const afterEndMs = hostLimits.lingerMs + stalenessMs;

/** Whether the node of `workload`, one of the two, was killed while it still carried what was not read. */
function wasKilledAtWork(log: ConnectionLog, observed: Observed, workload: WorkloadPlan): boolean {
  if (isComplete(log)) return false;
  const endMs = endOf(log, observed);
  const killsMs = machineOf(observed, workload)?.killsMs ?? [];
  return killsMs.some((atMs) => atMs >= endMs && atMs <= endMs + afterEndMs);
}

function checkOutboundLine(
  log: ConnectionLog,
  observed: Observed,
  line: LoggedLine,
  causes: ReadonlySet<Cause>,
  say: (what: string) => void,
): void {
  const { source, destination } = log.plan;
  const { error } = line.fields;
  if (typeof error === "string") {
    const code = error.split(":")[0] ?? "";
    const explained = reasons[code]?.some((cause) => causes.has(cause)) ?? false;
    if (!explained)
      say(`outbound record says ${error}, and there was ${[...causes].join(", ") || "nothing wrong"}`);
  } else if (
    log.client?.closed?.error &&
    !["cut", "outage", "script", "end_of_run"].some((cause) => causes.has(cause as Cause))
  )
    say(`outbound record says all was well, the caller saw ${log.client.closed.error.code}`);
  const shown = line.fields["dst.identity"];
  if (typeof shown === "string" && shown !== destination.identity)
    say(`outbound record names ${shown} as destination`);
  const own = line.fields["src.identity"];
  const isOf = (uri: string, workload: WorkloadPlan | null) =>
    uri === workload?.identity || claimed(workload?.address, observed).includes(uri);
  const isCaller = (uri: string) =>
    [source, ...speakersOf(log, observed)].some((workload) => isOf(uri, workload));
  if (typeof own === "string" && !isCaller(own)) say(`outbound record names ${own} as source`);
  if (
    log.servers.length > 0 &&
    log.atCallerMs.length > 0 &&
    error === undefined &&
    endOf(log, observed) > 0 &&
    shown === null &&
    !causes.has("removal")
  )
    say("outbound record does not name the destination it reached");
}

function isComplete({ client, servers: [server], plan }: ConnectionLog): boolean {
  if (client === null || server === undefined) return false;
  return (
    client.closed?.error === null &&
    server.closed?.error === null &&
    server.received === plan.client.sendBytes &&
    client.received === plan.server.sendBytes
  );
}

function progress({ client, servers: [server], turnedAway }: ConnectionLog): string {
  if (turnedAway !== null) return turnedAway;
  const end = (one: typeof client | undefined) =>
    one === null || one === undefined
      ? "absent"
      : `sent ${one.sent}, received ${one.received}, ${one.closed === null ? "open" : (one.closed.error?.code ?? "closed")}`;
  return `client ${end(client)}; server ${end(server)}`;
}

function checkInbound(observed: Observed, access: readonly LoggedLine[]): string[] {
  const found: string[] = [];
  const byAddress = new Map(observed.plan.workloads.map((workload) => [workload.address, workload]));
  const records = new Map<string, number>();
  for (const line of access) {
    if (line.fields.direction !== "inbound") continue;
    const { error } = line.fields;
    const beganMs = line.atMs - durationMs(line);
    if (typeof error === "string" && !isExplained(error, causesOfRecord(observed, beganMs, line.atMs)))
      found.push(
        `records: an inbound record at ${line.atMs.toFixed(1)} ms of ${line.fields["src.addr"]} says ${error}`,
      );
    if (line.message !== "connection complete") continue;
    const caller = byAddress.get(ipOf(line.fields["src.addr"]));
    const called = byAddress.get(ipOf(line.fields["dst.addr"]));
    const shown = line.fields["src.identity"];
    // Tunnels are dialled from the caller's own address, so the address says who it must be.
    if (
      typeof shown === "string" &&
      shown !== caller?.identity &&
      !claimed(caller?.address, observed).includes(shown)
    )
      found.push(
        `records: an inbound record at ${line.atMs.toFixed(1)} ms names ${shown}, the call came from ${caller?.identity ?? "outside"}`,
      );
    const own = line.fields["dst.identity"];
    if (typeof own === "string" && own !== called?.identity)
      found.push(`records: an inbound record names ${own} as destination of ${line.fields["dst.addr"]}`);
    if (called === undefined) continue;
    const key = `${typeof shown === "string" ? shown : "in the clear"} → ${called.name}`;
    records.set(key, (records.get(key) ?? 0) + 1);
  }
  for (const [key, accepted] of acceptedCalls(observed)) {
    const written = records.get(key) ?? 0;
    if (written < accepted)
      found.push(`records: ${accepted} connections ${key} reached the workload, ${written} were recorded`);
  }
  return found;
}

/** Calls that reached their workload over a node that lived to record them. */
function acceptedCalls(observed: Observed): ReadonlyMap<string, number> {
  const calls = new Map<string, number>();
  const wasThere = (workload: WorkloadPlan, log: ConnectionLog) =>
    (machineOf(observed, workload)?.outages ?? []).every(
      ({ fromMs, untilMs }) => fromMs > endOf(log, observed) || untilMs < log.startedMs,
    );
  for (const log of [...observed.connections.values(), ...observed.probes.values()]) {
    const { source, destination } = log.plan;
    const causes = causesOf(log, observed);
    if (log.servers.length === 0 || causes.has("removal") || !wasThere(destination, log)) continue;
    if (wasKilledAtWork(log, observed, destination)) continue;
    const key = `${source?.identity ?? "in the clear"} → ${destination.name}`;
    calls.set(key, (calls.get(key) ?? 0) + 1);
  }
  return calls;
}

/** Whoever had the address by the documents of any time. */
function claimed(ip: string | undefined, observed: Observed): readonly string[] {
  if (ip === undefined) return [];
  return observed.model.identitiesOf(address(ip, 0).ip, 0, Number.POSITIVE_INFINITY).map(({ uri }) => uri);
}

function durationMs({ fields }: LoggedLine): number {
  return Number(/^(\d+)ms$/.exec(String(fields.duration))?.[1] ?? 0);
}

function ipOf(shown: unknown): string {
  return typeof shown === "string" ? shown.slice(0, shown.lastIndexOf(":")) : "";
}
