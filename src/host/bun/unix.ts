/**
 * Unix sockets of the Bun host. Bun binds a path with a mode of its own, and takes any file there for a reason not to; so it
 * binds inside a private directory, and the finished socket is linked to where it belongs.
 */
import { randomBytes } from "node:crypto";
import { chmodSync, linkSync, lstatSync, mkdirSync, rmdirSync, type Stats, unlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { MeshError } from "../../base/errors.ts";
import type { Listener, PeerCredentials, Socket } from "../host.ts";
import { connectError, errnoName, listenError, systemErrorName } from "../socket_errors.ts";
import { unixSocketAddress } from "../unix_address.ts";
import { SystemCallError } from "./linux_socket.ts";
import { LinuxUnixSockets, maxUnixPathBytes } from "./linux_unix_socket.ts";
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
    this.#clearTheWay(linux, path);
    const bound = bindPrivately(path, (name) => this.#bind(linux, name, onAccept));
    try {
      chmodSync(bound.path, mode);
      // Fails, where a rename would not, when somebody else has come first.
      linkSync(bound.path, path);
    } catch (thrown) {
      bound.listener.stop();
      throw unixListenError(thrown, path);
    } finally {
      removePrivate(bound.path);
    }
    return publishedListener(path, bound.listener);
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

  /** A socket file without an answer is left over from a process that died; anything else is in use. */
  #clearTheWay(linux: LinuxUnixSockets, path: string): void {
    if (Buffer.byteLength(path) > maxUnixPathBytes) throw unixListenError({ code: "ENAMETOOLONG" }, path);
    const found = look(path);
    if (found === null) return;
    if (!found.isSocket())
      throw new MeshError("address_in_use", "local", `listen on ${path}: there is a file that is no socket`);
    try {
      linux.close(linux.dial(path, Number.POSITIVE_INFINITY));
    } catch (thrown) {
      if (!(thrown instanceof SystemCallError)) throw thrown;
      const name = errnoName(thrown.errno);
      if (name === "ENOENT") return;
      // EAGAIN is a full backlog and EPROTOTYPE another kind of socket: both are alive.
      if (name !== "ECONNREFUSED")
        throw unixListenError({ code: name === "EACCES" ? name : "EADDRINUSE" }, path);
      removeIfSame(path, found);
      return;
    }
    throw unixListenError({ code: "EADDRINUSE" }, path);
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

/**
 * Binds below a directory that only we can enter, beside the path: a link cannot cross file systems, and until the mode
 * is set no process can connect. The umask would do as well, were it not the whole process's.
 */
function bindPrivately(
  path: string,
  bind: (path: string) => Bun.UnixSocketListener<NativeEvents>,
): { readonly path: string; readonly listener: Bun.UnixSocketListener<NativeEvents> } {
  const directory = join(dirname(path), `.${randomBytes(3).toString("hex")}`);
  const bound = join(directory, "s");
  if (Buffer.byteLength(bound) > maxUnixPathBytes) throw unixListenError({ code: "ENAMETOOLONG" }, path);
  try {
    mkdirSync(directory, { mode: 0o700 });
  } catch (thrown) {
    throw unixListenError(thrown, path);
  }
  try {
    return { path: bound, listener: bind(bound) };
  } catch (thrown) {
    rmdirSync(directory);
    throw unixListenError(thrown, path);
  }
}

function removePrivate(bound: string): void {
  unlinkSync(bound);
  rmdirSync(dirname(bound));
}

function publishedListener(path: string, native: Bun.UnixSocketListener<NativeEvents>): Listener {
  const published = look(path);
  let closed = false;
  return {
    address: unixSocketAddress,
    close() {
      if (closed) return;
      closed = true;
      native.stop();
      if (published !== null) removeIfSame(path, published);
    },
  };
}

function look(path: string): Stats | null {
  try {
    return lstatSync(path);
  } catch (thrown) {
    if (systemErrorName(thrown) === "ENOENT") return null;
    throw unixListenError(thrown, path);
  }
}

/** Never a file that somebody else has put there since. */
function removeIfSame(path: string, known: Stats): void {
  try {
    const found = lstatSync(path);
    if (found.ino === known.ino && found.dev === known.dev) unlinkSync(path);
  } catch {
    // Gone already, or not ours to remove.
  }
}

function unixListenError(thrown: unknown, path: string): MeshError {
  const name = systemErrorName(thrown) ?? String(thrown);
  return listenError(name === "EEXIST" ? "EADDRINUSE" : name, path);
}
