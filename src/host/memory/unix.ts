/** Unix sockets of a simulated machine: paths, the modes they have, and who connects. */
import { MeshError } from "../../base/errors.ts";
import type { PeerCredentials, Socket } from "../host.ts";
import { connectError, listenError } from "../socket_errors.ts";
import { unixSocketAddress } from "../unix_address.ts";
import { MemoryListener, type SocketFile } from "./listener.ts";
import type { MachineNetwork } from "./machine_network.ts";
import type { NetworkedProcess } from "./networked_process.ts";
import { MemorySocket } from "./socket.ts";

/** `sun_path` holds 108 bytes, the last of them a zero. */
const maxPathBytes = 107;
const backlogRetryMs = 10;

export function memoryListenUnix(
  host: NetworkedProcess,
  machine: MachineNetwork,
  path: string,
  mode: number,
  onAccept: (socket: Socket) => void,
  onClose: (listener: MemoryListener) => void,
): MemoryListener {
  if (Buffer.byteLength(path) > maxPathBytes) throw listenError("ENAMETOOLONG", path);
  if (machine.unixSockets.isLive(path)) throw listenError("EADDRINUSE", path);
  if (machine.hasFile(path))
    throw new MeshError("address_in_use", "local", `listen on ${path}: there is a file that is no socket`);
  if (!machine.hasFile(path.slice(0, path.lastIndexOf("/")) || "/")) throw listenError("ENOENT", path);
  if (!host.takeDescriptor()) throw listenError("EMFILE", path);
  host.giveDescriptor();
  const listener = new MemoryListener(
    host,
    { address: unixSocketAddress },
    unixSocketAddress,
    onAccept,
    (closed) => {
      machine.unixSockets.remove(path, closed);
      onClose(closed);
    },
  );
  machine.unixSockets.add(path, { listener, mode, owner: host.credentials });
  return listener;
}

export async function memoryConnectUnix(
  host: NetworkedProcess,
  machine: MachineNetwork,
  path: string,
  timeoutMs: number,
): Promise<Socket> {
  const deadlineMs = host.schedule.nowMs + timeoutMs;
  for (;;) {
    const socket = attempt(host, machine, path);
    if (socket !== null) return socket;
    if (host.schedule.nowMs >= deadlineMs) throw connectError("ETIMEDOUT", path);
    await new Promise<void>((resolve) => host.schedule.timer(backlogRetryMs, host, resolve));
  }
}

export async function memorySocketPair(
  host: NetworkedProcess,
  machine: MachineNetwork,
): Promise<readonly [Socket, Socket]> {
  if (!host.takeDescriptor()) throw connectError("EMFILE", "a pair of sockets");
  if (!host.takeDescriptor()) {
    host.giveDescriptor();
    throw connectError("EMFILE", "a pair of sockets");
  }
  host.giveDescriptor();
  host.giveDescriptor();
  const link = machine.newLink(machine.machine, machine.machine);
  const near = unixSocket(host, link, "client", host.credentials);
  const far = unixSocket(host, link, "server", host.credentials);
  host.addSocket(near);
  host.addSocket(far);
  return [near, far];
}

/** @returns null while the backlog is full. */
function attempt(host: NetworkedProcess, machine: MachineNetwork, path: string): Socket | null {
  if (Buffer.byteLength(path) > maxPathBytes) throw connectError("ENAMETOOLONG", path);
  const file = machine.unixSockets.find(path);
  if (file === null) throw connectError(machine.hasFile(path) ? "ECONNREFUSED" : "ENOENT", path);
  if (!mayConnect(file, host.credentials)) throw connectError("EACCES", path);
  const { listener } = file;
  if (listener.host.ended) throw connectError("ECONNREFUSED", path);
  if (listener.backlogFull) return null;
  if (!host.takeDescriptor()) throw connectError("EMFILE", path);
  host.giveDescriptor();
  const link = machine.newLink(machine.machine, machine.machine);
  const served = unixSocket(listener.host, link, "server", host.credentials);
  const socket = unixSocket(host, link, "client", file.owner);
  host.addSocket(socket);
  host.schedule.io(machine.latencyMs(machine.machine), listener.host, () => listener.offer(served));
  return socket;
}

function unixSocket(
  host: NetworkedProcess,
  link: ReturnType<MachineNetwork["newLink"]>,
  side: "server" | "client",
  credentials: PeerCredentials,
): MemorySocket {
  return new MemorySocket(host, link, side, {
    local: unixSocketAddress,
    remote: unixSocketAddress,
    originalDestination: null,
    credentials,
  });
}

/** unix(7): connecting needs write permission. */
function mayConnect(file: SocketFile, who: PeerCredentials): boolean {
  if (who.uid === 0) return true;
  const bit = who.uid === file.owner.uid ? 0o200 : who.gid === file.owner.gid ? 0o020 : 0o002;
  return (file.mode & bit) !== 0;
}
