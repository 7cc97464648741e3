/** Outgoing connections of the Bun host. */
import { MeshError } from "../../base/errors.ts";
import { formatSocketAddress } from "../../base/ip.ts";
import type { ConnectOptions, Socket, Timer } from "../host.ts";
import { connectError, errnoName, systemErrorName } from "../socket_errors.ts";
import { type LinuxSockets, SystemCallError } from "./linux_socket.ts";
import {
  type NativeEvents,
  type NativeSocket,
  type SocketContext,
  socketAddresses,
  socketCallbacks,
} from "./native.ts";
import { BunSocket } from "./socket.ts";

/** Not in Bun's published types: a descriptor, connected or still connecting, that Bun takes over. */
type ConnectDescriptor = (options: {
  readonly fd: number;
  readonly allowHalfOpen: boolean;
  readonly data: NativeEvents;
  readonly socket: Bun.SocketHandler<NativeEvents>;
}) => Promise<unknown>;

/**
 * On Linux the socket is made by hand and given to Bun: `Bun.connect` calls every failure ECONNREFUSED, and an operator
 * must see a missing route as what it is. It costs the same.
 *
 * @throws MeshError as `Network.connect` says.
 */
export function bunConnect(
  context: SocketContext,
  linux: LinuxSockets | null,
  options: ConnectOptions,
): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const pending = new PendingConnect(context, options, resolve, reject);
    if (linux !== null) pending.startByDescriptor(linux);
    else pending.startByAddress();
  });
}

/** A connect under way: the time-out against Bun's callbacks, whichever comes first. */
class PendingConnect implements NativeEvents {
  readonly #context: SocketContext;
  readonly #options: ConnectOptions;
  readonly #resolve: (socket: Socket) => void;
  readonly #reject: (error: MeshError) => void;
  readonly #timer: Timer;
  #native: NativeSocket | null = null;
  #settled = false;

  constructor(
    context: SocketContext,
    options: ConnectOptions,
    resolve: (socket: Socket) => void,
    reject: (error: MeshError) => void,
  ) {
    this.#context = context;
    this.#options = options;
    this.#resolve = resolve;
    this.#reject = reject;
    this.#timer = context.clock.setTimer(options.timeoutMs, () => this.#fail("ETIMEDOUT"));
  }

  startByDescriptor(linux: LinuxSockets): void {
    let fd: number;
    try {
      fd = linux.dial({
        to: this.#options.to,
        from: this.#options.from ?? null,
        mark: this.#options.mark ?? null,
        keepAlive: this.#options.keepAlive ?? null,
        descriptorCeiling: this.#context.descriptorCeiling,
      });
    } catch (thrown) {
      if (!(thrown instanceof SystemCallError)) throw thrown;
      this.#failDial(thrown);
      return;
    }
    const connectDescriptor = Bun.connect as unknown as ConnectDescriptor;
    connectDescriptor({
      fd,
      allowHalfOpen: true,
      data: this,
      socket: descriptorCallbacks,
    }).catch((thrown) => {
      linux.close(fd);
      this.#fail(systemErrorName(thrown) ?? String(thrown));
    });
  }

  startByAddress(): void {
    const { to, from, mark } = this.#options;
    if (from !== undefined || mark !== undefined) {
      this.#settle();
      this.#reject(new MeshError("unsupported", "local", "source addresses and marks need Linux"));
      return;
    }
    Bun.connect<NativeEvents>({
      hostname: to.ip.text,
      port: to.port,
      allowHalfOpen: true,
      data: this,
      socket: addressCallbacks,
    }).catch((thrown) => this.#fail(systemErrorName(thrown) ?? String(thrown)));
  }

  onNativeOpen(native: NativeSocket): void {
    this.#native = native;
    if (this.#settled) native.terminate();
  }

  onNativeDrain(native: NativeSocket): void {
    if (this.#settled) return;
    const addresses = socketAddresses(this.#context, native, null);
    // Writable also means failed; then there is no peer's address and the close callback says why.
    if (addresses === null) return;
    this.#settle();
    const socket = new BunSocket(this.#context, native, addresses, "upstream");
    native.data = socket;
    this.#resolve(socket);
  }

  onNativeData(): void {}

  onNativeEnd(): void {}

  onNativeError(error: unknown): void {
    this.#fail(systemErrorName(error) ?? String(error));
  }

  onNativeClose(error: unknown): void {
    this.#fail(systemErrorName(error) ?? "ECONNREFUSED");
  }

  #failDial(thrown: SystemCallError): void {
    this.#settle();
    const target = formatSocketAddress(this.#options.to);
    const name = errnoName(thrown.errno);
    if (thrown.call === "connect" || thrown.call === "socket") this.#reject(connectError(name, target));
    else {
      const code = name === "EPERM" || name === "EACCES" ? "permission_denied" : "io";
      this.#reject(new MeshError(code, "local", `connect to ${target}: ${thrown.call}: ${name}`));
    }
  }

  #fail(name: string): void {
    if (this.#settled) return;
    this.#settle();
    this.#native?.terminate();
    this.#reject(connectError(name, formatSocketAddress(this.#options.to)));
  }

  #settle(): void {
    this.#settled = true;
    this.#timer.cancel();
  }
}

/** One object for all connections, as `socketCallbacks` is. With a connectError callback Bun does not report the rejection a second time as an unhandled one. */
const descriptorCallbacks: Bun.SocketHandler<NativeEvents> = {
  ...socketCallbacks,
  // Bun opens at once; the connection stands when the descriptor becomes writable.
  open(native) {
    if (native.data instanceof PendingConnect) native.data.onNativeOpen(native);
  },
  connectError() {},
};

const addressCallbacks: Bun.SocketHandler<NativeEvents> = {
  ...descriptorCallbacks,
  open(native) {
    if (!(native.data instanceof PendingConnect)) return;
    native.data.onNativeOpen(native);
    native.data.onNativeDrain(native);
  },
};
