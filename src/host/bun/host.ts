/** The Host over Bun's own sockets, files and process. `contract.ts` says what it has to keep. */
import type { SocketAddress } from "../../base/ip.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { Handover } from "../handover.ts";
import type { Clock, Host, HttpClient, Network, ServeHttp, Socket } from "../host.ts";
import { SystemClock, systemRandom } from "../system/clock.ts";
import { SystemFiles } from "../system/files.ts";
import { localAddresses, resolve } from "../system/names.ts";
import type { WorkerProcesses } from "../workers.ts";
import { bunConnect } from "./connect.ts";
import { bunDatabases } from "./database.ts";
import { openDatagrams } from "./datagrams.ts";
import { BunHandover, takeReceived } from "./handover/handover.ts";
import { ListenerTable } from "./handover/listener_table.ts";
import { LinuxSockets } from "./linux_socket.ts";
import { bunListen } from "./listen.ts";
import type { SocketContext } from "./native.ts";
import type { Passing } from "./passing/passing.ts";
import { bunProcess } from "./process.ts";
import { ResetQueue } from "./resets.ts";
import { httpServer } from "./serve_http.ts";
import { BunSocket } from "./socket.ts";
import { bunTls } from "./tls.ts";
import { bindUdp } from "./udp.ts";
import { BunUnixNetwork } from "./unix.ts";
import { BunWorkers, takePlace } from "./workers.ts";

/** What this process is of: its host, and what it has of, and gives to, the processes before and after it. */
export interface BunRuntime {
  readonly host: Host;
  readonly handover: Handover;
  readonly workers: WorkerProcesses;
  readonly serveHttp: ServeHttp;
}

export function createBunHost(listeners = new ListenerTable()): Host {
  return createHost(listeners).host;
}

/** For the main program, which may have been started to take the place of another. @throws MeshError for a hand-over that cannot be read. */
export async function createBunRuntime(): Promise<BunRuntime> {
  const received = takeReceived(process.env);
  const listeners = new ListenerTable(received?.listeners);
  const place = takePlace(process.env);
  const { host, unix } = createHost(listeners, place?.passing);
  const handover = await BunHandover.open(listeners, unix, received);
  const workers = await BunWorkers.open(unix, host.process.self, place);
  return { host, handover, workers, serveHttp: httpServer(listeners) };
}

function createHost(
  listeners: ListenerTable,
  passing: Passing | null = null,
): { readonly host: Host; readonly unix: BunUnixNetwork } {
  const clock = new SystemClock();
  const linux = LinuxSockets.open();
  const context = { ...socketContext(clock, linux, listeners), passing };
  const unix = new BunUnixNetwork(context);
  const net = bunNetwork(context, unix);
  const host: Host = {
    name: "bun",
    clock,
    random: systemRandom,
    net,
    files: new SystemFiles(clock),
    process: bunProcess(linux),
    http: httpClient(clock, net.resolve),
    databases: bunDatabases,
  };
  return { host, unix };
}

/** Most programs never ask by HTTP, and what asks brings `node:tls` with it: it is loaded for the first request. */
function httpClient(clock: Clock, resolve: Network["resolve"]): HttpClient {
  return {
    async send(request) {
      const { SocketHttpClient } = await import("../system/http_client.ts");
      return await new SocketHttpClient(clock, resolve).send(request);
    },
  };
}

function socketContext(
  clock: Clock,
  linux: LinuxSockets | null,
  listeners: ListenerTable,
): Omit<SocketContext, "passing"> {
  return {
    clock,
    linux,
    listeners,
    resets: new ResetQueue(clock, linux),
    lingering: 0,
    descriptorCeiling: descriptorCeiling(linux),
  };
}

function bunNetwork(context: SocketContext, unix: BunUnixNetwork): Network {
  const { linux } = context;
  return {
    listen: (options, onAccept) => bunListen(context, linux, options, onAccept),
    connect: (options) => bunConnect(context, linux, options),
    tlsServer: (socket, options) => bunTls(context, socket, options, "server"),
    tlsClient: (socket, options) => bunTls(context, socket, options, "client"),
    listenUnix: (path, mode, onAccept) => unix.listen(path, mode, onAccept),
    connectUnix: (path, timeoutMs) => unix.connect(path, timeoutMs),
    socketPair: () => unix.pair(),
    bindUdp: (address, onDatagram) => bindUdp(context.listeners, address, onDatagram),
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
