/** Listening sockets of this host. */
import { connect, createServer, type Socket as NetSocket, type Server } from "node:net";
import { getSystemErrorName } from "node:util";
import { assert } from "../../base/assert.ts";
import { MeshError } from "../../base/errors.ts";
import { formatSocketAddress, type SocketAddress } from "../../base/ip.ts";
import type { Listener, ListenOptions, Socket } from "../host.ts";
import { listenError, systemErrorName } from "../socket_errors.ts";
import { keepAliveSeconds } from "../system/keep_alive.ts";
import { resetNative, type SocketContext, socketAddresses } from "./native.ts";
import { NodeSocket } from "./socket.ts";

/** What `node:net` binds by. Of no published type, and the same in Node and Deno: only with it a port is had, or refused, at once. */
export interface NativeHandle {
  bind(where: string, port?: number, flags?: number): number;
  bind6?(ip: string, port: number, flags: number): number;
  listen(backlog: number): number;
  close(): void;
}

type HandleClass = new (kind: number) => NativeHandle;

/** `TCPConstants.SERVER` and `PipeConstants.SERVER`. */
const serverHandle = 1;
/** UV_TCP_IPV6ONLY and UV_TCP_REUSEPORT (uv.h). */
const ipv6Only = 1;
const sharedPort = 2;

let tcpHandle: HandleClass | null = null;

/** @throws MeshError `address_in_use`, `permission_denied`, `descriptors_exhausted`, `unsupported` or `io`, blame local. */
export function nodeListen(
  context: SocketContext,
  options: ListenOptions,
  onAccept: (socket: Socket) => void,
): Listener {
  const target = formatSocketAddress(options.address);
  if (options.transparent === true)
    throw new MeshError("unsupported", "local", `listen on ${target}: transparent sockets need Bun`);
  const server = createServer({
    allowHalfOpen: true,
    pauseOnConnect: true,
    noDelay: true,
  });
  server.on("connection", (native: NetSocket) => accept(context, options, native, onAccept));
  listenTcp(server, options.address, options.reusePort ?? false);
  server.on("error", (error) => {
    const name = systemErrorName(error) ?? error.message;
    options.onRefused?.(new MeshError("descriptors_exhausted", "local", `accept on ${target}: ${name}`));
  });
  return { address: boundAddress(server, options.address), close: () => server.close() };
}

function accept(
  context: SocketContext,
  { address, onRefused }: ListenOptions,
  native: NetSocket,
  onAccept: (socket: Socket) => void,
): void {
  native.on("error", () => {});
  native.setKeepAlive(true, keepAliveSeconds() * 1000);
  const addresses = socketAddresses(native);
  // The peer was gone before we looked: no caller hears of it. Deno's IPv6 listeners take IPv4 as well; ours do not.
  if (addresses === null || addresses.local.ip.isIpv4 !== address.ip.isIpv4) return void resetNative(native);
  if (context.open >= context.maxOpen) {
    resetNative(native);
    onRefused?.(new MeshError("descriptors_exhausted", "local", "no descriptor left for a connection"));
    return;
  }
  onAccept(new NodeSocket(context, native, addresses, "peer"));
}

/** Listens at once. @throws MeshError as `nodeListen`. */
export function listenTcp(server: Server, { ip, port }: SocketAddress, reusePort: boolean): void {
  // One that never connects: it is gone before it would.
  tcpHandle ??= handleClassOf(connect({ host: "127.0.0.1", port: 1 }));
  const handle = new tcpHandle(serverHandle);
  if (reusePort && "Deno" in globalThis)
    throw new MeshError(
      "unsupported",
      "local",
      `listen on ${ip.text}: Deno lets no two listeners share a port`,
    );
  const flags = reusePort ? sharedPort : 0;
  const bound = ip.isIpv4
    ? handle.bind(ip.text, port, flags)
    : handle.bind6?.(ip.text, port, flags | ipv6Only);
  listenBy(server, handle, bound ?? 0, formatSocketAddress({ ip, port }));
}

/** @param bound what binding gave: 0, or the negated errno. @throws MeshError as `nodeListen`. */
export function listenBy(server: Server, handle: NativeHandle, bound: number, target: string): void {
  let outcome = bound;
  if (bound === 0) {
    const listen = handle.listen;
    handle.listen = (backlog) => {
      outcome = listen.call(handle, backlog);
      return outcome;
    };
    // It tells of a failure once more, later.
    const ignore = (): void => {};
    server.on("error", ignore);
    server.listen(handle);
    setImmediate(() => server.off("error", ignore));
  }
  if (outcome === 0 && server.listening) return;
  if (bound !== 0) handle.close();
  throw listenError(outcome === 0 ? "EIO" : getSystemErrorName(outcome), target);
}

export function handleClassOf(socket: NetSocket): HandleClass {
  socket.on("error", () => {});
  const handle = "_handle" in socket ? (socket._handle as NativeHandle | null) : null;
  assert(handle !== null, "a socket that connects has a handle");
  socket.destroy();
  return handle.constructor as HandleClass;
}

export function boundAddress(server: Server, { ip }: SocketAddress): SocketAddress {
  const bound = server.address();
  assert(bound !== null && typeof bound === "object", "it listens on a port");
  return { ip, port: bound.port };
}
