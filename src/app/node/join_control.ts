/** A node's way into the mesh of its control plane. */
import { ControlMembership } from "../../agent/join/membership.ts";
import type { Config } from "../../config/node/config.ts";
import type { Host, Network } from "../../host/host.ts";
import type { LogWriter } from "../../host/log_writer.ts";
import type { CryptoProvider } from "../../pki/crypto/provider.ts";
import { versionFields } from "../version.ts";

/** @throws MeshError as `ControlMembership.join`. */
export async function joinControl(
  host: Host,
  config: Config,
  settings: NonNullable<Config["control"]>,
  logger: LogWriter,
  provider: CryptoProvider,
): Promise<ControlMembership> {
  const { nodeName, network, clusterId, trustDomain, rootNamespace, capture } = config;
  return await ControlMembership.join({
    host: capture.mode === "off" ? host : markedHost(host, capture.mark),
    logger,
    provider,
    settings,
    facts: { nodeName, network, clusterId, trustDomain, rootNamespace },
    version: versionFields(host.name).version ?? "unknown",
  });
}

/** Our own connections to the control plane carry the mark, or capture would lead them back to us. */
function markedHost(host: Host, mark: number): Host {
  const { net } = host;
  const marked: Network = {
    listen: (options, onAccept) => net.listen(options, onAccept),
    connect: (options) => net.connect({ ...options, mark }),
    tlsServer: (socket, options) => net.tlsServer(socket, options),
    tlsClient: (socket, options) => net.tlsClient(socket, options),
    listenUnix: (path, mode, onAccept) => net.listenUnix(path, mode, onAccept),
    connectUnix: (path, timeoutMs) => net.connectUnix(path, timeoutMs),
    socketPair: () => net.socketPair(),
    bindUdp: (address, onDatagram) => net.bindUdp(address, onDatagram),
    openDatagrams: (to) => net.openDatagrams(to),
    speech: (socket) => net.speech(socket),
    peerCredentials: (socket) => net.peerCredentials(socket),
    originalDestination: (socket) => net.originalDestination(socket),
    localAddresses: () => net.localAddresses(),
    resolve: (hostname) => net.resolve(hostname),
  };
  const { name, clock, random, files, process, http, databases } = host;
  return { name, clock, random, files, process, http, databases, net: marked };
}
