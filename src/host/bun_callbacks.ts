/** What Bun's sockets of every kind have in common: their callbacks and their addresses. */
import { assert } from "../base/assert.ts";
import { IpAddress, type SocketAddress } from "../base/ip.ts";
import type { NativeEvents, NativeSocket } from "./bun_socket.ts";

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
    native.data.onNativeError(error);
  },
  close(native, error) {
    native.data?.onNativeClose(error ?? null);
  },
};

/** Null when the connection is gone already. Read once and kept: Bun forgets them when the connection closes, and the access log wants them after that. */
export function socketAddresses(
  native: NativeSocket,
): { readonly local: SocketAddress; readonly remote: SocketAddress } | null {
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
