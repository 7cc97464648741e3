/** Unix sockets of the Bun host. */
import { MeshError } from "../../base/errors.ts";
import type { Listener, PeerCredentials, Socket } from "../host.ts";
import { connectError, errnoName, systemErrorName } from "../socket_errors.ts";
import { listenUnixFile, type UnixLife, unixListenError } from "../system/unix_file.ts";
import { unixSocketAddress } from "../unix_address.ts";
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
    return listenUnixFile(
      path,
      mode,
      () => this.#life(linux, path),
      (name) => {
        const native = this.#bind(linux, name, onAccept);
        return () => native.stop();
      },
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
    path: string,
    onAccept: (socket: Socket) => void,
  ): Bun.UnixSocketListener<NativeEvents> {
    const context = this.#context;
    return Bun.listen<NativeEvents>({
      unix: path,
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
