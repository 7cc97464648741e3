/** `fairlead up` and `fairlead node`: a node and its administration, and the processes before and after it. */

import type { UpgradeSource } from "../../admin/node/sources.ts";
import type { ControlStatus } from "../../agent/join/control_status.ts";
import { takeCounts } from "../../base/counts/passed.ts";
import { MeshError } from "../../base/errors.ts";
import type { StartedNode } from "../../cli/bindings.ts";
import type { Config } from "../../config/node/config.ts";
import type { Handover } from "../../host/handover.ts";
import type { Host, ServeHttp } from "../../host/host.ts";
import type { WorkerProcesses } from "../../host/workers.ts";
import { serveAdministration } from "../node/administration.ts";
import { prepareNode, type Tenure } from "../node/node.ts";
import type { NodePlace } from "../node/place.ts";
import { succeed } from "../node/succession.ts";
import { type UpgradeParts, Upgrades } from "../node/upgrade.ts";
import { openLog, serveProgram } from "../served.ts";
import { isBuilt, versionFields } from "../version.ts";

interface Serving {
  readonly serveHttp: ServeHttp;
  readonly handover: Handover;
  readonly workers: WorkerProcesses;
}

const toldToEnd = "this node was told to end";

/** @param place default: the whole host. @throws MeshError when it cannot start as it was told to. */
export async function startServedNode(
  host: Host,
  { serveHttp, handover, workers }: Serving,
  config: Config,
  place?: NodePlace,
): Promise<StartedNode & { readonly listening: Promise<unknown> }> {
  const logger = openLog(host, config.log);
  const { received } = handover;
  if (received !== null && config.workers > 1) throw notWithWorkers();
  const tenure: Tenure = { holds: received === null };
  const node = await prepareNode(host, config, logger, tenure, place, workers);
  // With documents it listens now or never; a control plane may be away for long, and administration says so meanwhile.
  if (config.control === null) await node.listening;
  // One after the other: what an upgrade needs of the served program is there before any is asked for.
  let afterwards: Pick<UpgradeParts, "announce" | "giveWay"> = { announce: () => {}, giveWay: () => {} };
  // However this process ends, the one in its place is told first what was counted here.
  let counted = async (): Promise<void> => {};
  let predecessorGone: Promise<void> = Promise.resolve();
  const upgrades = new Upgrades({
    clock: host.clock,
    logger,
    process: host.process,
    handover,
    version: versionFields(host.name).version ?? "unknown",
    executable: () => ownProgram(host),
    host: node.host,
    announce: (pid) => afterwards.announce(pid),
    giveWay: (deadlineMs, last) => afterwards.giveWay(deadlineMs, last),
    metrics: node.metrics,
  });
  const inPlace = Promise.withResolvers<void>();
  const served = await serveProgram({
    host,
    logger,
    serveHttp,
    program: {
      ...node,
      stop: () => node.stop().then(() => counted()),
      isIdle: () => node.context.connections.size === 0 && node.pending().length === 0,
    },
    unit: "connection",
    open: (ports, drain) =>
      serveAdministration(host, node, config, logger, ports, {
        drain: () => {
          upgrades.abandon(toldToEnd);
          drain();
        },
        upgrades: upgradeSource(host, upgrades, config.workers),
      }),
    started: node.listening,
    ...(received === null ? {} : { inPlace: inPlace.promise }),
  });
  afterwards = {
    announce: (pid) => served.announce(pid),
    giveWay: (deadlineMs, last) => {
      counted = last;
      // What the process before this one carries to its end is told to this one alone, which tells it further.
      const ended = node.giveWay(deadlineMs).then(() => predecessorGone);
      served.endBy(ended.then(last));
    },
  };
  if (received !== null) {
    await node.listening;
    const parts = {
      ...{ pid: host.process.pid, clock: host.clock, logger, tenure },
      pending: () => node.pending(),
      takeCounts: (text: string) => void takeCounts(node.metrics, text),
    };
    void succeed(received, parts).then((succession) => {
      if (succession === null) return served.stop();
      predecessorGone = succession.predecessorGone;
      inPlace.resolve();
    });
  }
  return {
    ended: served.ended,
    drain: () => {
      upgrades.abandon(toldToEnd);
      served.drain();
    },
    stop: () => {
      upgrades.abandon(toldToEnd);
      served.stop();
    },
    listening: node.listening,
    createdAuthority: node.createdAuthority,
    trustDomain: node.trustDomain,
    control: describeControl(node.control()),
    localWorkloads: node.context.locals.all.map(({ namespace, name, addresses }) => ({
      name: `${namespace}/${name}`,
      addresses: addresses.map((ip) => ip.text),
    })),
  };
}

function describeControl(status: ControlStatus | null): StartedNode["control"] {
  if (status === null) return null;
  return { server: status.server, identity: status.node?.identity ?? null };
}

/** Their listening sockets are not this process's to hand over. */
function notWithWorkers(): MeshError {
  return new MeshError(
    "unsupported",
    "local",
    "a node with --workers cannot be upgraded while it runs: drain and restart it",
  );
}

function upgradeSource(host: Host, upgrades: Upgrades, workers: number): UpgradeSource {
  return {
    run: (request) => (workers > 1 ? Promise.reject(notWithWorkers()) : upgrades.run(request)),
    status: async () => ({
      version: versionFields(host.name).version ?? "unknown",
      pid: host.process.pid,
      executable: await ownProgram(host),
      step: upgrades.step,
    }),
  };
}

/** Where it is on the disk, also when another file is there by now. */
async function ownProgram({ process }: Host): Promise<string | null> {
  if (!isBuilt) return null;
  const { exitCode, output } = await process.run("readlink", [`/proc/${process.pid}/exe`]);
  return exitCode === 0 ? output.trim().replace(/ \(deleted\)$/, "") : null;
}
