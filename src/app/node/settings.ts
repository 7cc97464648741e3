/** What the flows and the listeners of a node are told, of its configuration. */
import { formatSocketAddress, IpAddress, type SocketAddress } from "../../base/ip.ts";
import type { Config } from "../../config/node/config.ts";
import type { ListenerSettings } from "../../proxy/listeners.ts";
import type { NodeSettings } from "../../proxy/node_context.ts";

export function nodeSettings(config: Config): NodeSettings {
  const { ports, capture } = config;
  return {
    network: config.network,
    hbonePort: ports.hbone,
    mark: capture.mode === "off" ? null : capture.mark,
    originalSource:
      config.capture.mode === "off" && config.originalSource === "auto" ? "off" : config.originalSource,
    h2: config.h2,
    maxStreamsPerConnection: config.pool.maxStreamsPerConnection,
    poolUnusedMs: config.pool.unusedMs,
    workers: config.workers,
    applicationAddresses: new Map(
      config.applications.map(({ workload, listens }) => [formatSocketAddress(workload), listens]),
    ),
  };
}

/** The tunnel's ports on every address, also where capture is off. */
export function reservedAddresses({ ports }: Config): SocketAddress[] {
  return anyAddresses.flatMap((ip) =>
    [ports.hbone, ports.outbound, ports.inboundPlaintext].map((port) => ({ ip, port })),
  );
}

/** @param bindInbound in place of the configuration's; null: as that says. */
export function listenerSettings(
  config: Config,
  wildcards: readonly IpAddress[],
  bindInbound: ListenerSettings["bindInbound"] | null,
): ListenerSettings {
  const { ports, capture } = config;
  return {
    bindInbound: bindInbound ?? config.bindInbound,
    hbonePort: ports.hbone,
    wildcards,
    captured:
      capture.mode === "off"
        ? null
        : {
            outboundPort: ports.outbound,
            inboundPort: ports.inboundPlaintext,
            transparent: capture.mode === "tproxy",
          },
    socks5: config.socks5,
    httpConnect: config.httpConnect,
    localPorts: config.localPorts,
    applications: config.applications.map((application) => application.workload),
  };
}

export const anyAddresses = [
  IpAddress.fromBytes(new Uint8Array(4)),
  IpAddress.fromBytes(new Uint8Array(16)),
].filter((ip) => ip !== null);
