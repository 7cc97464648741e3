/** Listening sockets of the Bun host. */
import { MeshError } from "../../base/errors.ts";
import { formatSocketAddress, type SocketAddress } from "../../base/ip.ts";
import type { Listener, ListenOptions, Socket } from "../host.ts";
import { errnoName, listenError, systemErrorName } from "../socket_errors.ts";
import type { Accepting } from "./handover/listener_table.ts";
import { type LinuxSockets, SystemCallError } from "./linux_socket.ts";
import {
  type NativeEvents,
  nativeDescriptor,
  type SocketContext,
  socketAddresses,
  socketCallbacks,
} from "./native.ts";
import { listenerName } from "./passing/passing.ts";
import { openShare } from "./passing/shared_listener.ts";
import { BunSocket } from "./socket.ts";

/** @throws MeshError `address_in_use`, `permission_denied`, `descriptors_exhausted` or `io`, blame local. */
export function bunListen(
  context: SocketContext,
  linux: LinuxSockets | null,
  options: ListenOptions,
  onAccept: (socket: Socket) => void,
): Listener {
  const { ip } = options.address;
  const nameAt = (port: number): string => listenerName({ ip, port });
  const name = nameAt(options.address.port);
  const callbacks = listenerCallbacks(context, options, onAccept);
  const share = options.reusePort === true ? openShare(context, name, options, callbacks) : null;
  try {
    const entry = context.listeners.listen(
      name,
      (fd) => startNative(linux, options, share?.callbacks ?? callbacks, fd),
      nameAt,
    );
    const port = entry.port ?? options.address.port;
    const close = (): void => {
      share?.close();
      entry.close();
    };
    return { address: { ip, port }, close };
  } catch (thrown) {
    share?.close();
    throw thrown;
  }
}

/** @param fd a socket that listens already. */
function startNative(
  linux: LinuxSockets | null,
  options: ListenOptions,
  callbacks: Bun.SocketHandler<NativeEvents>,
  fd: number | null,
): Accepting {
  const target = formatSocketAddress(options.address);
  let native: Bun.TCPSocketListener<NativeEvents>;
  try {
    native = Bun.listen<NativeEvents>(nativeOptions(options, callbacks, fd));
  } catch (thrown) {
    throw listenError(systemErrorName(thrown) ?? String(thrown), target);
  }
  // Also one that was handed over: this program may want more of it than the one before (TPROXY in place of REDIRECT).
  if (linux !== null) prepare(linux, native, options, target);
  return {
    fd: "fd" in native && typeof native.fd === "number" ? native.fd : -1,
    port: fd === null ? native.port : options.address.port,
    stop: () => native.stop(),
  };
}

function nativeOptions(
  options: ListenOptions,
  socket: Bun.SocketHandler<NativeEvents>,
  fd: number | null,
): Bun.TCPSocketListenOptions<NativeEvents> {
  // The published types know neither a descriptor nor, for an address and a port, the last two of the others.
  if (fd !== null)
    return { fd, allowHalfOpen: true, socket } as unknown as Bun.TCPSocketListenOptions<NativeEvents>;
  const more = { ipv6Only: !options.address.ip.isIpv4, reusePort: options.reusePort ?? false };
  return {
    hostname: options.address.ip.text,
    port: options.address.port,
    allowHalfOpen: true,
    socket,
    ...more,
  };
}

function prepare(
  linux: LinuxSockets,
  native: Bun.TCPSocketListener<NativeEvents>,
  options: ListenOptions,
  target: string,
): void {
  if (!("fd" in native) || typeof native.fd !== "number") return;
  try {
    linux.tune(native.fd);
    if (options.transparent === true) linux.setTransparent(native.fd, options.address.ip.isIpv4);
  } catch (thrown) {
    native.stop();
    throw listenError(thrown instanceof SystemCallError ? errnoName(thrown.errno) : String(thrown), target);
  }
}

/**
 * One set of callbacks for all connections of a listener. Under TLS Bun goes on calling the data callback with the
 * ciphertext, a copy of every read (a fifth of the CPU a gigabyte costs); without the callback it makes none.
 */
function listenerCallbacks(
  context: SocketContext,
  options: ListenOptions,
  onAccept: (socket: Socket) => void,
): Bun.SocketHandler<NativeEvents> {
  // A wildcard's connections have each their own.
  const local = isWildcard(options.address) || options.address.port === 0 ? null : options.address;
  const callbacks: Bun.SocketHandler<NativeEvents> = {
    ...socketCallbacks,
    open(native) {
      if (nativeDescriptor(native) >= context.descriptorCeiling) {
        native.terminate();
        options.onRefused?.(
          new MeshError("descriptors_exhausted", "local", "no descriptor left for a connection"),
        );
        return;
      }
      const addresses = socketAddresses(context, native, local);
      // The peer was gone before we looked: no caller hears of it.
      if (addresses === null) return void native.terminate();
      // Tunnels are few, and have pings of their own.
      if (options.tls !== true) context.linux?.probeLater(nativeDescriptor(native));
      const socket = new BunSocket(context, native, addresses, "peer");
      native.data = socket;
      onAccept(socket);
      if (options.tls === true) socket.awaitHandler();
    },
  };
  if (options.tls === true) delete callbacks.data;
  return callbacks;
}

function isWildcard(address: SocketAddress): boolean {
  return address.ip.bytes.every((byte) => byte === 0);
}
