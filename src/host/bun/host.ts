/** The Host over Bun's own sockets, files and process. `contract.ts` says what it has to keep. */
import type { SocketAddress } from "../../base/ip.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { Clock, Host, Network, Socket } from "../host.ts";
import { SystemClock, systemRandom } from "../system/clock.ts";
import { SystemFiles } from "../system/files.ts";
import { SocketHttpClient } from "../system/http_client.ts";
import { localAddresses, resolve } from "../system/names.ts";
import { bunConnect } from "./connect.ts";
import { bunDatabases } from "./database.ts";
import { openDatagrams } from "./datagrams.ts";
import { LinuxSockets } from "./linux_socket.ts";
import { bunListen } from "./listen.ts";
import type { SocketContext } from "./native.ts";
import { bunProcess } from "./process.ts";
import { ResetQueue } from "./resets.ts";
import { BunSocket } from "./socket.ts";
import { bunTls } from "./tls.ts";
import { bindUdp } from "./udp.ts";
import { BunUnixNetwork } from "./unix.ts";

export function createBunHost(): Host {
  const clock = new SystemClock();
  const linux = LinuxSockets.open();
  const net = bunNetwork(clock, linux);
  return {
    name: "bun",
    clock,
    random: systemRandom,
    net,
    files: new SystemFiles(clock),
    process: bunProcess(linux),
    http: new SocketHttpClient(clock, net.resolve),
    databases: bunDatabases,
  };
}

function bunNetwork(clock: Clock, linux: LinuxSockets | null): Network {
  const context: SocketContext = {
    clock,
    linux,
    resets: new ResetQueue(clock, linux),
    lingering: 0,
    descriptorCeiling: descriptorCeiling(linux),
  };
  const unix = new BunUnixNetwork(context);
  return {
    listen: (options, onAccept) => bunListen(context, linux, options, onAccept),
    connect: (options) => bunConnect(context, linux, options),
    tlsServer: (socket, options) => bunTls(context, socket, options, "server"),
    tlsClient: (socket, options) => bunTls(context, socket, options, "client"),
    listenUnix: (path, mode, onAccept) => unix.listen(path, mode, onAccept),
    connectUnix: (path, timeoutMs) => unix.connect(path, timeoutMs),
    socketPair: () => unix.pair(),
    bindUdp: (address, onDatagram) => bindUdp(address, onDatagram),
    openDatagrams: (to) => openDatagrams(to, context.descriptorCeiling),
    peerCredentials: (socket) => unix.peerCredentials(socket),
    speech: (socket) => speech(linux, socket),
    originalDestination: (socket) => originalDestination(linux, socket),
    localAddresses,
    resolve,
  };
}

/** The kernel always gives the lowest free number, so a high one says that few are left. */
function descriptorCeiling(linux: LinuxSockets | null): number {
  const limit = linux?.descriptorLimit() ?? Number.POSITIVE_INFINITY;
  return limit - Math.min(hostLimits.reservedDescriptors, Math.floor(limit / 4));
}

/** By descriptor: the socket itself has none any more once TLS has it. One that is closed counts as having spoken. */
function speech(linux: LinuxSockets | null, socket: Socket): (() => boolean) | null {
  if (linux === null || !(socket instanceof BunSocket) || socket.fd < 0) return null;
  const { fd } = socket;
  return linux.receivedBytes(fd) === null ? null : () => linux.receivedBytes(fd) !== 0;
}

/** Connection tracking knows every connection; only one whose destination was changed is a redirected one. */
function originalDestination(linux: LinuxSockets | null, socket: Socket): SocketAddress | null {
  if (linux === null || !(socket instanceof BunSocket) || socket.fd < 0) return null;
  const original = linux.originalDestination(socket.fd, socket.local.ip.isIpv4);
  if (original === null) return null;
  const unchanged = original.ip.equals(socket.local.ip) && original.port === socket.local.port;
  return unchanged ? null : original;
}
