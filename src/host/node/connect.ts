/** Outgoing connections of this host. */
import { connect } from "node:net";
import { MeshError } from "../../base/errors.ts";
import { formatSocketAddress } from "../../base/ip.ts";
import type { ConnectOptions, Socket } from "../host.ts";
import { connectError, systemErrorName } from "../socket_errors.ts";
import { keepAliveSeconds } from "../system/keep_alive.ts";
import { resetNative, type SocketContext, socketAddresses } from "./native.ts";
import { NodeSocket } from "./socket.ts";

/** @throws MeshError as `Network.connect` says. */
export function nodeConnect(context: SocketContext, options: ConnectOptions): Promise<Socket> {
  const { to, from, mark, keepAlive, timeoutMs } = options;
  const target = formatSocketAddress(to);
  const { promise, resolve, reject } = Promise.withResolvers<Socket>();
  if (mark !== undefined || from?.transparent === true) {
    reject(new MeshError("unsupported", "local", "marks and addresses of others as source need Bun"));
    return promise;
  }
  if (context.open >= context.maxOpen) {
    reject(connectError("EMFILE", target));
    return promise;
  }
  const native = connect({
    host: to.ip.text,
    port: to.port,
    ...(from === undefined ? {} : { localAddress: from.ip.text, localPort: from.port }),
    allowHalfOpen: true,
    noDelay: true,
    keepAlive: true,
    keepAliveInitialDelay: keepAlive?.timeMs ?? keepAliveSeconds() * 1000,
  });
  // Nothing is read before there is a handler, or TLS.
  native.pause();
  const fail = (name: string): void => {
    timer.cancel();
    reject(connectError(name, target));
    native.destroy();
  };
  const timer = context.clock.setTimer(timeoutMs, () => fail("ETIMEDOUT"));
  const onError = (error: Error): void => fail(systemErrorName(error) ?? error.message);
  native.on("error", onError);
  native.once("connect", () => {
    timer.cancel();
    const addresses = socketAddresses(native);
    if (addresses === null) {
      reject(connectError("ECONNRESET", target));
      return resetNative(native);
    }
    const socket = new NodeSocket(context, native, addresses, "upstream");
    native.off("error", onError);
    resolve(socket);
  });
  return promise;
}
