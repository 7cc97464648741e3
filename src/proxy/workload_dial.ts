/** The one door to a local application. It asks for a Permit: code that forgets authorization does not compile. */
import { assert } from "../base/assert.ts";
import { MeshError } from "../base/errors.ts";
import { formatSocketAddress, type SocketAddress } from "../base/ip.ts";
import { proxyLimits } from "../base/limits/proxy.ts";
import type { Socket } from "../host/host.ts";
import { Permit } from "../policy/decision.ts";
import type { NodeContext } from "./node_context.ts";

/** Loopback ports stand for themselves, and a source of another family cannot be shown. */
function canShowSource(source: SocketAddress, target: SocketAddress): boolean {
  return source.ip.isIpv4 === target.ip.isIpv4 && !source.ip.isLoopback;
}

/**
 * Connects to the application that `permit` was given for, from the caller's own address where that is set up.
 *
 * @param source the caller's address, shown to the application when `originalSource` permits.
 * @throws MeshError `connect_*`, blame upstream.
 */
export async function connectWorkload(
  context: NodeContext,
  permit: Permit,
  source: SocketAddress,
): Promise<Socket> {
  assert(Permit.isGenuine(permit), "a local workload is dialled with a Permit alone");
  const target = { ip: permit.connection.destinationIp, port: permit.connection.destinationPort };
  const { settings, net } = context;
  const to = settings.applicationAddresses.get(formatSocketAddress(target)) ?? target;
  const options = {
    to,
    timeoutMs: proxyLimits.connectTimeoutMs,
    ...(settings.mark === null ? {} : { mark: settings.mark }),
  };
  if (settings.originalSource === "off" || to !== target || !canShowSource(source, to))
    return net.connect(options);
  try {
    return await net.connect({ ...options, from: { ip: source.ip, port: 0, transparent: true } });
  } catch (error) {
    if (
      settings.originalSource === "on" ||
      !(error instanceof MeshError) ||
      error.code !== "permission_denied"
    )
      throw error;
    return net.connect(options);
  }
}
