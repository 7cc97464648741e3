/** What Bun's sockets of every kind have in common: whom their callbacks go to, their addresses, their descriptor. */
import { assert } from "../../base/assert.ts";
import { IpAddress, type SocketAddress } from "../../base/ip.ts";
import type { Clock } from "../host.ts";
import { systemErrorName } from "../socket_errors.ts";
import type { ListenerTable } from "./handover/listener_table.ts";
import type { LinuxSockets } from "./linux_socket.ts";
import type { Passing } from "./passing/passing.ts";

/** What Bun's callbacks are passed on to. It changes during a connection's life: connecting, plain, handshake, TLS. */
export interface NativeEvents {
  onNativeData(bytes: Uint8Array): void;
  onNativeDrain(native: NativeSocket): void;
  onNativeEnd(): void;
  onNativeError(error: unknown): void;
  onNativeClose(error: unknown): void;
}

export type NativeSocket = Bun.Socket<NativeEvents>;

/** Shared by the sockets of one host. */
export interface SocketContext {
  readonly clock: Clock;
  /** Null where there is no Linux C library. */
  readonly linux: LinuxSockets | null;
  /** Descriptors at or above it are the reserve: a connection that gets one is refused. */
  readonly descriptorCeiling: number;
  readonly listeners: ListenerTable;
  /** Where accepted connections go on to other workers of a node; null in every other process. */
  readonly passing: Passing | null;
  /** A `ResetQueue`. */
  readonly resets: { reset(native: NativeSocket): void };
  /** Sockets that wait for their peer's end after `close()`. */
  lingering: number;
}

/** Passes Bun's callbacks on to whoever has the connection now. */
export const socketCallbacks: Bun.SocketHandler<NativeEvents> = {
  // Not a Buffer, whose `slice` shares memory where a Uint8Array's copies.
  binaryType: "uint8array",
  data(native, bytes) {
    native.data.onNativeData(bytes);
  },
  drain(native) {
    native.data.onNativeDrain(native);
  },
  end(native) {
    native.data.onNativeEnd();
  },
  error(native, error) {
    native.data?.onNativeError(error);
    if (isSystemError(error)) return;
    // Bun also brings what our own code threw inside a callback, and is silent about it otherwise. A bug has to be loud,
    // and the connection that met it is over.
    native.terminate();
    queueMicrotask(() => {
      throw error;
    });
  },
  close(native, error) {
    native.data?.onNativeClose(error ?? null);
  },
};

/** `EPROTO`, `ECONNRESET`: a fault of the connection. A MeshError or one of Node's `ERR_…` was thrown by us. */
function isSystemError(error: unknown): boolean {
  return /^E(?!RR_)[A-Z0-9]+$/.test(systemErrorName(error) ?? "");
}

export interface SocketAddresses {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
}

/**
 * Both ends of a connection; null when it is gone already. Read once and kept: they are forgotten when the connection closes,
 * and the access log wants them after that. By one call an end where there is a C library: each of Bun's getters makes its own.
 *
 * @param known the local end where it can only be this one.
 */
export function socketAddresses(
  context: SocketContext,
  native: NativeSocket,
  known: SocketAddress | null,
): SocketAddresses | null {
  const { linux } = context;
  if (linux === null) return gottenAddresses(native);
  const fd = nativeDescriptor(native);
  const remote = linux.remoteAddress(fd);
  const local = remote === null ? null : (known ?? linux.localAddress(fd));
  return remote === null || local === null ? null : { local, remote };
}

function gottenAddresses(native: NativeSocket): SocketAddresses | null {
  const local = IpAddress.parse(withoutZone(native.localAddress ?? ""));
  const remote = IpAddress.parse(withoutZone(native.remoteAddress ?? ""));
  if (local === null || remote === null) return null;
  assert(native.localPort > 0, "a connected socket has a local port");
  return {
    local: { ip: local, port: native.localPort },
    remote: { ip: remote, port: native.remotePort },
  };
}

/** `fe80::1%eth0` has its zone for the operating system alone. */
function withoutZone(text: string): string {
  const percent = text.indexOf("%");
  return percent === -1 ? text : text.slice(0, percent);
}

/** Bun's sockets carry their descriptor, which the published types leave out. */
export function nativeDescriptor(native: NativeSocket): number {
  return "fd" in native && typeof native.fd === "number" ? native.fd : -1;
}
