/** What capture is told, of the configuration and of this host: its users by number, and what is never captured. */
import { MeshError } from "../../base/errors.ts";
import type { SocketAddress } from "../../base/ip.ts";
import type { Config } from "../../config/node/config.ts";
import { readResolvConf } from "../../dns/resolv_conf.ts";
import { resolvConfPath } from "../../dns/resolver_setup.ts";
import type { CaptureOptions } from "../../host/capture/options.ts";
import type { Host } from "../../host/host.ts";

/** @throws MeshError `configuration` for a user that does not exist. */
export async function captureOptions(host: Host, config: Config): Promise<CaptureOptions> {
  const { ports, capture } = config;
  const control = await controlPlanes(host, config);
  const own = [config.admin, config.metrics, config.readiness].flatMap((address) =>
    // What listens on loopback alone is not reached from outside, so its number stays the applications' there.
    address === null || address.ip.isLoopback ? [] : [address.port],
  );
  const localAddresses = host.net.localAddresses();
  // A control plane of this host itself is called by others.
  const served = control.filter(({ ip }) => localAddresses.some((local) => local.equals(ip)));
  return {
    method: capture.mode === "tproxy" ? "tproxy" : "redirect",
    backend: capture.backend,
    outboundPort: ports.outbound,
    inboundPort: ports.inboundPlaintext,
    mark: capture.mark,
    ownPorts: [ports.hbone, ...own, ...served.map(({ port }) => port)],
    includeCidrs: capture.includeCidrs,
    excludeCidrs: capture.excludeCidrs,
    includePorts: capture.includePorts,
    excludePorts: capture.excludePorts,
    includeUids: await userNumbers(host, "--capture-user", capture.includeUsers),
    excludeUids: await userNumbers(host, "--capture-exclude-user", capture.excludeUsers),
    includeCgroups: capture.includeCgroups,
    excludeCgroups: capture.excludeCgroups,
    neverTo: [...control, ...(await resolvers(host))].filter(({ ip }) => !ip.isLoopback),
    excludeInboundCidrs: capture.excludeInboundCidrs,
    excludeInterfaces: capture.excludeInterfaces,
    containers: capture.containers,
    originalSource: config.originalSource !== "off",
  };
}

/** The node's own calls are never captured; these are other programs', an administrator's among them, which must not need the node. */
async function controlPlanes({ net }: Host, { control }: Config): Promise<readonly SocketAddress[]> {
  if (control === null) return [];
  const found = new Map<string, SocketAddress>();
  for (const { address } of [control.xds, control.ca])
    for (const ip of await net.resolve(address.host).catch(() => []))
      found.set(`${ip.text} ${address.port}`, { ip, port: address.port });
  return [...found.values()];
}

/** DNS by TCP; that by UDP, and DHCP, are not captured anyway. */
async function resolvers({ files }: Host): Promise<readonly SocketAddress[]> {
  const texts = await Promise.all(
    [resolvConfPath, "/run/systemd/resolve/resolv.conf"].map((path) => files.readText(path).catch(() => "")),
  );
  const found = new Map(texts.flatMap((text) => readResolvConf(text).servers).map((at) => [at.ip.text, at]));
  return [...found.values()];
}

async function userNumbers(
  { files }: Host,
  flag: string,
  users: readonly string[],
): Promise<readonly number[]> {
  if (users.length === 0) return [];
  const lines = (await files.readText("/etc/passwd").catch(() => "")).split("\n");
  return users.map((user) => {
    if (/^\d{1,10}$/.test(user)) return Number(user);
    const uid = lines.find((line) => line.startsWith(`${user}:`))?.split(":")[2] ?? "";
    if (/^\d+$/.test(uid)) return Number(uid);
    throw new MeshError("configuration", "local", `${flag}: there is no user ${user} in /etc/passwd`);
  });
}
