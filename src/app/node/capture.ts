/** Capture as a part of a node: its rules from the settings, whether they are in force, and what an operator has to know of this host. */
import type { IpAddress } from "../../base/ip.ts";
import type { MetricRegistry } from "../../base/metrics.ts";
import { prefixContains } from "../../base/prefix.ts";
import type { Config } from "../../config/node/config.ts";
import { Capture } from "../../host/capture/capture.ts";
import { inspectHost } from "../../host/capture/findings.ts";
import { addressesOfBridges } from "../../host/capture/host_facts.ts";
import type { CaptureOptions } from "../../host/capture/options.ts";
import type { Host } from "../../host/host.ts";
import type { NodeContext } from "../../proxy/node_context.ts";

/** Says what of this host gets in the way of capture; none of it keeps the node from starting. @throws MeshError as `Capture.install`. */
export async function startCapture(host: Host, config: Config, context: NodeContext): Promise<Capture> {
  const { logger, locals, net } = context;
  const options = captureOptions(config);
  const capture = await Capture.install(host, options, logger);
  const told = new Set<string>(options.containers === "exclude" ? await addressesOfBridges(host) : []);
  const tellAddresses = (): void => {
    if (locals.all.length === 0) return;
    for (const ip of refusedAddresses(net.localAddresses(), options, (ip) => locals.byAddress(ip) !== null)) {
      if (told.has(ip.text)) continue;
      told.add(ip.text);
      logger.log(
        "warn",
        "capture",
        `${ip.text} is an address of this host and of no workload: inbound connections to it are refused; to allow them outside of the mesh, start with --capture-exclude-inbound ${ip.text}`,
      );
    }
  };
  tellAddresses();
  locals.subscribe(tellAddresses);
  const findings = await inspectHost(host, { ...options, hbonePort: config.ports.hbone });
  for (const { message, remedy } of findings) logger.log("warn", "capture", message, { remedy });
  return capture;
}

/** @param read null until the rules are installed. */
export function registerCaptureMetrics(metrics: MetricRegistry, read: () => Capture | null): void {
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

/** Addresses of this host to which captured connections lead nowhere. */
function refusedAddresses(
  addresses: readonly IpAddress[],
  { excludeInboundCidrs }: CaptureOptions,
  isWorkloads: (ip: IpAddress) => boolean,
): readonly IpAddress[] {
  return addresses.filter(
    (ip) =>
      !ip.isLoopback &&
      // Link-local: no application is dialled there but by its neighbour, and every interface has one.
      !/^fe[89ab]/.test(ip.text) &&
      !isWorkloads(ip) &&
      !excludeInboundCidrs.some((prefix) => prefixContains(prefix, ip)),
  );
}

function captureOptions(config: Config): CaptureOptions {
  const { ports, capture } = config;
  const own = [config.admin, config.metrics, config.readiness].filter(
    // What listens on loopback alone is not reached from outside, so its number stays the applications' there.
    (address) => address !== null && !address.ip.isLoopback,
  );
  return {
    backend: capture.backend,
    outboundPort: ports.outbound,
    inboundPort: ports.inboundPlaintext,
    mark: capture.mark,
    ownPorts: [ports.hbone, ...own.flatMap((address) => (address === null ? [] : [address.port]))],
    includeCidrs: capture.includeCidrs,
    excludeCidrs: capture.excludeCidrs,
    excludePorts: capture.excludePorts,
    excludeInboundCidrs: capture.excludeInboundCidrs,
    excludeInterfaces: capture.excludeInterfaces,
    containers: capture.containers,
    originalSource: config.originalSource !== "off",
  };
}
