/** A node begins to listen: when its mesh is known, and what leads traffic to it last. */
import { MeshError } from "../../base/errors.ts";
import type { MetricRegistry } from "../../base/metrics.ts";
import type { Config } from "../../config/node/config.ts";
import { opensIpv6Sockets } from "../../host/capture/ipv6_sockets.ts";
import type { Host } from "../../host/host.ts";
import { NodeTunnel } from "../../proxy/node.ts";
import type { NodeContext } from "../../proxy/node_context.ts";
import type { Lifecycle } from "../lifecycle.ts";
import type { NodeCapture } from "./capture.ts";
import type { MeshSource } from "./mesh_source.ts";
import type { NodePlace } from "./place.ts";
import { anyAddresses, listenerSettings } from "./settings.ts";

/** Whoever carries the traffic: this process, or its workers. */
export type Carrying = Pick<NodeTunnel, "drain">;

export interface ListeningParts {
  /** Those that carry the traffic in place of this process; null where there are none. */
  readonly workers: { start(life: Lifecycle): Promise<Carrying> } | null;
  readonly mesh: MeshSource;
  readonly makeWaypoint: ConstructorParameters<typeof NodeTunnel>[2];
  readonly serveNames: () => Promise<void>;
  /** Takes back what leads this host's programs to names, when capture is not confirmed. */
  readonly withdraw: () => Promise<void>;
  /** What is set up on this host is this process's to undo. */
  readonly holds: () => boolean;
  readonly place: NodePlace;
}

/** @throws MeshError when a port cannot be had, or `stopped` when the node was stopped while it waited. */
export async function listen(
  host: Host,
  config: Config,
  context: NodeContext,
  { mesh, makeWaypoint, serveNames, withdraw, holds, place, workers }: ListeningParts,
  life: Lifecycle,
  onCapture: (capture: NodeCapture) => void,
): Promise<Carrying> {
  const stopped = (): MeshError => new MeshError("stopped", "local", "stopped while waiting for the mesh");
  const { promise: giveUp, reject } = Promise.withResolvers<never>();
  life.onStop(() => reject(stopped()));
  try {
    await Promise.race([mesh.ready, giveUp]);
    if (life.isStopping) throw stopped();
    if (context.locals.all.length === 0)
      context.logger.log(
        "warn",
        "node",
        "no workload runs here yet: no workload of the mesh has an address or the node name of this host",
      );
    const carrying =
      workers === null
        ? await openTunnel(host, config, context, { makeWaypoint, place }, life)
        : await workers.start(life);
    await serveNames();
    // Last, so that nothing is redirected to a port that does not listen yet; and first undone.
    if (config.capture.mode !== "off") {
      const capture = await place.capture(config, context, { withdraw, holds });
      life.onStop(() => capture.remove());
      if (life.isStopping) await life.stop();
      onCapture(capture);
    }
    return carrying;
  } catch (error) {
    await life.stop();
    throw error;
  }
}

async function openTunnel(
  host: Host,
  config: Config,
  context: NodeContext,
  { makeWaypoint, place }: Pick<ListeningParts, "makeWaypoint" | "place">,
  life: Lifecycle,
): Promise<NodeTunnel> {
  const hasIpv6 = await opensIpv6Sockets(host.files);
  const wildcards = anyAddresses.filter((ip) => ip.isIpv4 || hasIpv6);
  const tunnel = new NodeTunnel(
    context,
    listenerSettings(config, wildcards, place.bindInbound),
    makeWaypoint,
  );
  life.onStop(() => tunnel.stop());
  return tunnel;
}

/** What readiness waits for. @param capture null until the rules are installed. */
export function pendingCapture(capture: NodeCapture | null): readonly string[] {
  const pending = capture === null ? "capture rules" : capture.pending;
  return pending === null ? [] : [pending];
}

/** @param read null until the rules are installed. */
export function registerCaptureMetrics(metrics: MetricRegistry, read: () => NodeCapture | null): void {
  const inForce = metrics
    .gauge("fairlead_capture_in_force", "1 while the capture rules are loaded, 0 while they are missing", [])
    .with({});
  const repairs = metrics
    .counter(
      "fairlead_capture_repairs",
      "Times that another program removed or changed the capture rules, and they were put back",
      [],
    )
    .with({});
  metrics.onCollect(() => {
    const capture = read();
    inForce.set(capture?.inForce === true ? 1 : 0);
    repairs.add((capture?.repairs ?? 0) - repairs.value);
  });
}
