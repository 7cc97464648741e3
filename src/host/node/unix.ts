/**
 * Unix sockets of this host. `node:net` does not say who is at the other end, so it is known only where the mode of the socket's file lets
 * no one in but the user of this process (and root, who may be anyone); at any other socket every caller is unknown, and is refused as such.
 */
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type Socket as NetSocket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MeshError } from "../../base/errors.ts";
import { hostLimits } from "../../base/limits/host.ts";
import type { Listener, PeerCredentials, Socket } from "../host.ts";
import { connectError, systemErrorName } from "../socket_errors.ts";
import { listenUnixFile, maxUnixPathBytes, type UnixLife, unixListenError } from "../system/unix_file.ts";
import { unixSocketAddress } from "../unix_address.ts";
import { handleClassOf, listenBy, type NativeHandle } from "./listen.ts";
import { resetNative, type SocketContext } from "./native.ts";
import { NodeSocket } from "./socket.ts";

/** `PipeConstants.SERVER`. */
const serverHandle = 1;
const ofOthers = 0o077;
const backlogRetryMs = 10;

class NodeUnixSocket extends NodeSocket {
  readonly credentials: PeerCredentials | null;

  constructor(
    context: SocketContext,
    native: NetSocket,
    credentials: PeerCredentials | null,
    side: "peer" | "upstream",
  ) {
    super(context, native, { local: unixSocketAddress, remote: unixSocketAddress }, side);
    this.credentials = credentials;
  }
}

export class NodeUnixNetwork {
  readonly #context: SocketContext;

  constructor(context: SocketContext) {
    this.#context = context;
  }

  /** @throws MeshError as `Network.listenUnix` says. */
  listen(path: string, mode: number, onAccept: (socket: Socket) => void): Listener {
    const credentials = (mode & ofOthers) === 0 ? ownCredentials() : null;
    return listenUnixFile(path, mode, lifeOf, (name) => this.#bind(name, credentials, onAccept));
  }

  /** @throws MeshError as `Network.connectUnix` says. */
  async connect(path: string, timeoutMs: number): Promise<Socket> {
    const { clock, open, maxOpen } = this.#context;
    if (Buffer.byteLength(path) > maxUnixPathBytes) throw connectError("ENAMETOOLONG", path);
    if (open >= maxOpen) throw connectError("EMFILE", path);
    const deadlineMs = clock.now() + timeoutMs;
    for (;;) {
      try {
        return new NodeUnixSocket(this.#context, await this.#dial(path, deadlineMs), null, "upstream");
      } catch (thrown) {
        const name = systemErrorName(thrown) ?? String(thrown);
        // The listener's backlog is full, and a Unix socket knows no connect under way.
        if (name !== "EAGAIN") throw connectError(name, path);
        if (clock.now() >= deadlineMs) throw connectError("ETIMEDOUT", path);
        await new Promise<void>((resolve) => clock.setTimer(backlogRetryMs, resolve));
      }
    }
  }

  /** @throws MeshError as `Network.socketPair` says. By a socket in a directory that only this user can enter, for a moment. */
  async pair(): Promise<readonly [Socket, Socket]> {
    if (this.#context.open + 2 > this.#context.maxOpen) throw connectError("EMFILE", "a pair of sockets");
    const directory = mkdtempSync(join(tmpdir(), "fairlead-"));
    const path = join(directory, "s");
    const accepted = Promise.withResolvers<Socket>();
    try {
      const stop = this.#bind(path, null, accepted.resolve);
      try {
        const near = await this.connect(path, hostLimits.runTimeoutMs);
        return [near, await accepted.promise];
      } finally {
        stop();
      }
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }

  peerCredentials(socket: Socket): PeerCredentials | null {
    return socket instanceof NodeUnixSocket ? socket.credentials : null;
  }

  #bind(path: string, credentials: PeerCredentials | null, onAccept: (socket: Socket) => void): () => void {
    const context = this.#context;
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true });
    server.on("connection", (native: NetSocket) => {
      if (context.open >= context.maxOpen) resetNative(native);
      else onAccept(new NodeUnixSocket(context, native, credentials, "peer"));
    });
    const handle = new (pipeHandle())(serverHandle);
    listenBy(server, handle, handle.bind(path), path);
    server.on("error", () => {});
    return () => void server.close();
  }

  #dial(path: string, deadlineMs: number): Promise<NetSocket> {
    const { promise, resolve, reject } = Promise.withResolvers<NetSocket>();
    const native = connect({ path, allowHalfOpen: true });
    native.pause();
    const { clock } = this.#context;
    const timer = clock.setTimer(deadlineMs - clock.now(), () => fail({ code: "ETIMEDOUT" }));
    const fail = (error: unknown): void => {
      timer.cancel();
      reject(error);
      native.destroy();
    };
    native.on("error", fail);
    native.once("connect", () => {
      timer.cancel();
      native.off("error", fail);
      native.on("error", () => {});
      resolve(native);
    });
    return promise;
  }
}

let knownPipeHandle: (new (kind: number) => NativeHandle) | null = null;

function pipeHandle(): new (kind: number) => NativeHandle {
  knownPipeHandle ??= handleClassOf(connect({ path: join(tmpdir(), "fairlead-nowhere") }));
  return knownPipeHandle;
}

function ownCredentials(): PeerCredentials | null {
  const [uid, gid] = [process.getuid?.(), process.getgid?.()];
  return uid === undefined || gid === undefined ? null : { uid, gid, groups: [], pid: 0 };
}

/**
 * Whether anybody answers has to be known at once, and this runtime dials only later: so another process is asked, for its exit code. It
 * comes to that only when a socket's file is in the way, at a start.
 */
function lifeOf(path: string): UnixLife {
  const program = `import("node:net").then(({ connect }) => { const socket = connect(${JSON.stringify(path)});
    socket.on("connect", () => process.exit(10));
    socket.on("error", ({ code }) => process.exit({ ECONNREFUSED: 11, ENOENT: 12, EACCES: 13, EPERM: 13 }[code] ?? 10)); })`;
  const { status } = spawnSync(process.execPath, "Deno" in globalThis ? ["eval", program] : ["-e", program], {
    stdio: "ignore",
    timeout: hostLimits.runTimeoutMs,
  });
  if (status === 11) return "dead";
  if (status === 12) return "gone";
  if (status === 13) throw unixListenError({ code: "EACCES" }, path);
  // In doubt it is somebody's.
  if (status === 10) return "alive";
  throw new MeshError("io", "local", `listen on ${path}: whether somebody listens there cannot be found out`);
}
