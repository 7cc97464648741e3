/** Unix sockets of the Bun host. */
import { MeshError } from "../../base/errors.ts";
import type { Listener, PeerCredentials, Socket } from "../host.ts";
import { connectError, errnoName, systemErrorName } from "../socket_errors.ts";
import { listenUnixFile, publishedListener, type UnixLife, unixListenError } from "../system/unix_file.ts";
import { unixSocketAddress } from "../unix_address.ts";
import type { Accepting } from "./handover/listener_table.ts";
import { SystemCallError } from "./linux_socket.ts";
import { LinuxUnixSockets } from "./linux_unix_socket.ts";
import {
  type NativeEvents,
  type NativeSocket,
  nativeDescriptor,
  type SocketContext,
  socketCallbacks,
} from "./native.ts";
import { BunSocket } from "./socket.ts";

/** Keeps who is at the other end: the kernel does not say so any more when the connection is gone. */
export class BunUnixSocket extends BunSocket {
  readonly credentials: PeerCredentials | null;

  constructor(
    context: SocketContext,
    native: NativeSocket,
    credentials: PeerCredentials | null,
    side: "peer" | "upstream",
  ) {
    super(context, native, { local: unixSocketAddress, remote: unixSocketAddress }, side);
    this.credentials = credentials;
  }
}

export class BunUnixNetwork {
  readonly #context: SocketContext;
  readonly #linux: LinuxUnixSockets | null;

  constructor(context: SocketContext) {
    this.#context = context;
    this.#linux = LinuxUnixSockets.open();
  }

  /** @throws MeshError as `Network.listenUnix` says. */
  listen(path: string, mode: number, onAccept: (socket: Socket) => void): Listener {
    const linux = this.#demandLinux();
    const entry = this.#context.listeners.listen(`unix ${path}`, (fd) =>
      fd === null
        ? this.#publish(linux, path, mode, onAccept)
        : this.#takeOver(path, this.#bind(linux, { fd }, onAccept)),
    );
    return { address: unixSocketAddress, close: () => entry.close() };
  }

  #publish(
    linux: LinuxUnixSockets,
    path: string,
    mode: number,
    onAccept: (socket: Socket) => void,
  ): Accepting {
    let native: Bun.UnixSocketListener<NativeEvents> | null = null;
    const listener = listenUnixFile(
      path,
      mode,
      () => this.#life(linux, path),
      (name) => {
        const bound = this.#bind(linux, { unix: name }, onAccept);
        native = bound;
        return () => bound.stop();
      },
    );
    return accepting(native, listener);
  }

  #takeOver(path: string, native: Bun.UnixSocketListener<NativeEvents>): Accepting {
    return accepting(
      native,
      publishedListener(path, () => native.stop()),
    );
  }

  /** @throws MeshError as `Network.connectUnix` says. */
  async connect(path: string, timeoutMs: number): Promise<Socket> {
    const linux = this.#demandLinux();
    const { clock } = this.#context;
    const deadlineMs = clock.now() + timeoutMs;
    for (;;) {
      try {
        return await this.#adopt(linux, linux.dial(path, this.#context.descriptorCeiling), path);
      } catch (thrown) {
        if (!(thrown instanceof SystemCallError)) throw thrown;
        const name = errnoName(thrown.errno);
        // The listener's backlog is full, and a Unix socket knows no connect under way.
        if (name !== "EAGAIN") throw connectError(name, path);
        if (clock.now() >= deadlineMs) throw connectError("ETIMEDOUT", path);
        await new Promise<void>((resolve) => clock.setTimer(backlogRetryMs, resolve));
      }
    }
  }

  /** @throws MeshError as `Network.socketPair` says. */
  async pair(): Promise<readonly [Socket, Socket]> {
    const linux = this.#demandLinux();
    try {
      const [near, far] = linux.pair(this.#context.descriptorCeiling);
      const first = await this.#adopt(linux, near, "a pair of sockets").catch((error) => {
        linux.close(far);
        throw error;
      });
      const second = await this.#adopt(linux, far, "a pair of sockets").catch((error) => {
        first.reset();
        throw error;
      });
      return [first, second];
    } catch (thrown) {
      if (!(thrown instanceof SystemCallError)) throw thrown;
      throw connectError(errnoName(thrown.errno), "a pair of sockets");
    }
  }

  peerCredentials(socket: Socket): PeerCredentials | null {
    return socket instanceof BunUnixSocket ? socket.credentials : null;
  }

  #demandLinux(): LinuxUnixSockets {
    if (this.#linux !== null) return this.#linux;
    throw new MeshError("unsupported", "local", "Unix sockets with their peers' credentials need Linux");
  }

  #life(linux: LinuxUnixSockets, path: string): UnixLife {
    try {
      linux.close(linux.dial(path, Number.POSITIVE_INFINITY));
    } catch (thrown) {
      if (!(thrown instanceof SystemCallError)) throw thrown;
      const name = errnoName(thrown.errno);
      if (name === "ENOENT") return "gone";
      if (name === "ECONNREFUSED") return "dead";
      if (name === "EACCES") throw unixListenError({ code: name }, path);
      // EAGAIN is a full backlog and EPROTOTYPE another kind of socket: both are alive.
    }
    return "alive";
  }

  #bind(
    linux: LinuxUnixSockets,
    place: { readonly unix: string } | { readonly fd: number },
    onAccept: (socket: Socket) => void,
  ): Bun.UnixSocketListener<NativeEvents> {
    const context = this.#context;
    return Bun.listen<NativeEvents>({
      ...place,
      allowHalfOpen: true,
      socket: {
        ...socketCallbacks,
        open(native) {
          const fd = nativeDescriptor(native);
          if (fd >= context.descriptorCeiling) return void native.terminate();
          const socket = new BunUnixSocket(context, native, linux.peerCredentials(fd), "peer");
          native.data = socket;
          onAccept(socket);
        },
      },
    } as Bun.UnixSocketOptions<NativeEvents>);
  }

  /** One end of a pair, and the descriptor of the other, which is the caller's. @throws MeshError as `pair`. */
  async pairForChild(): Promise<{ readonly socket: Socket; readonly fd: number }> {
    const linux = this.#demandLinux();
    const [near, far] = linux.pair(this.#context.descriptorCeiling);
    return { socket: await this.adopt(near, "a pair of sockets"), fd: far };
  }

  /** A connected descriptor that was inherited. @throws MeshError. */
  adopt(fd: number, name: string): Promise<Socket> {
    return this.#adopt(this.#demandLinux(), fd, name);
  }

  async #adopt(linux: LinuxUnixSockets, fd: number, path: string): Promise<Socket> {
    const credentials = linux.peerCredentials(fd);
    const connectDescriptor = Bun.connect as unknown as (options: object) => Promise<unknown>;
    const { promise, resolve } = Promise.withResolvers<Socket>();
    try {
      await connectDescriptor({
        fd,
        allowHalfOpen: true,
        socket: {
          ...socketCallbacks,
          open: (native: NativeSocket) => {
            const socket = new BunUnixSocket(this.#context, native, credentials, "upstream");
            native.data = socket;
            resolve(socket);
          },
          connectError: () => {},
        },
      });
    } catch (thrown) {
      linux.close(fd);
      throw connectError(systemErrorName(thrown) ?? String(thrown), path);
    }
    return promise;
  }
}

const backlogRetryMs = 10;

/** The file goes with the listener, but not when another process goes on with the socket. */
function accepting(native: Bun.UnixSocketListener<NativeEvents> | null, listener: Listener): Accepting {
  return {
    fd: native !== null && "fd" in native && typeof native.fd === "number" ? native.fd : -1,
    port: 0,
    stop: (isForGood) => (isForGood ? listener.close() : native?.stop()),
  };
}
