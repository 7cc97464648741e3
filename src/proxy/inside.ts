/** Sidecar mode: what the application inside a workload's own tunnel is told of a connection into it. */
import type { SocketAddress } from "../base/ip.ts";
import { hasWaypoint } from "../mesh/route/client_route.ts";
import type { AppProtocol, Service } from "../mesh/service.ts";
import type { MeshStore } from "../mesh/store/store.ts";
import type { Workload } from "../mesh/workload.ts";
import type { Permit } from "../policy/decision.ts";
import type { NodeContext } from "./node_context.ts";
import type { CallPlace } from "./waypoint_flow.ts";
import { connectWorkload } from "./workload_dial.ts";

/** @param seen the service that the caller says, or that fits the port; for telemetry. */
export function inboundPlace(
  context: NodeContext,
  {
    local,
    target,
    permit,
    seen,
  }: {
    readonly local: Workload;
    readonly target: SocketAddress;
    readonly permit: Permit;
    readonly seen: Service | null;
  },
): Extract<CallPlace, { side: "inbound" }> {
  const ports = servicePorts(context.store, local, target.port);
  const [first] = ports;
  const protocols = new Set(ports.map(({ protocol }) => protocol));
  return {
    side: "inbound",
    service: seen ?? first?.service ?? null,
    targets: ports.flatMap(({ service }) => (hasWaypoint(service) ? [] : [service])),
    // Where its services do not agree the first bytes tell.
    protocol: protocols.size === 1 ? (first?.protocol ?? "UNKNOWN") : "UNKNOWN",
    // Shared by callers, so none of them is shown.
    application: () => connectWorkload(context, { permit, source: null, onLoopback: false }),
  };
}

interface PortOfService {
  readonly service: Service;
  readonly protocol: AppProtocol;
}

/** By which of its services the workload is called at a port of its own. */
function servicePorts(store: MeshStore, workload: Workload, port: number): readonly PortOfService[] {
  const found: PortOfService[] = [];
  for (const [key, own] of workload.services) {
    const service = store.serviceByKey(key);
    if (service === null) continue;
    for (const { servicePort, targetPort, protocol } of service.ports.values())
      if ((own.get(servicePort) ?? targetPort) === port) {
        found.push({ service, protocol });
        break;
      }
  }
  return found;
}
