/** Listening sockets of simulated machines, and who has which address, port or path. */
import type { IpAddress, SocketAddress } from "../../base/ip.ts";
import type { Listener, ListenOptions, PeerCredentials, Socket } from "../host.ts";
import type { NetworkedProcess } from "./networked_process.ts";
import type { MemorySocket } from "./socket.ts";

export class MemoryListener implements Listener {
  readonly address: SocketAddress;
  readonly reusePort: boolean;
  readonly host: NetworkedProcess;
  readonly #onAccept: (socket: Socket) => void;
  readonly #onClose: (listener: MemoryListener) => void;
  /** Connections that the kernel has made and the process has not taken. */
  #backlog: MemorySocket[] = [];
  #closed = false;

  constructor(
    host: NetworkedProcess,
    options: ListenOptions,
    address: SocketAddress,
    onAccept: (socket: Socket) => void,
    onClose: (listener: MemoryListener) => void,
  ) {
    this.host = host;
    this.address = address;
    this.reusePort = options.reusePort === true;
    this.#onAccept = onAccept;
    this.#onClose = onClose;
  }

  get backlogFull(): boolean {
    return this.#backlog.length >= maxBacklog;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#onClose(this);
    for (const socket of this.#backlog.splice(0)) socket.abandon();
  }

  /** A connection that the kernel has made. */
  offer(socket: MemorySocket): void {
    if (this.#closed) {
      socket.abandon();
      return;
    }
    this.#backlog.push(socket);
    this.accept();
  }

  /** Takes what descriptors there are for; the rest waits, as behind EMFILE. */
  accept(): void {
    while (this.#backlog.length > 0 && !this.#closed && this.host.takeDescriptor()) {
      this.host.giveDescriptor();
      const socket = this.#backlog.shift();
      if (socket === undefined) return;
      if (!socket.isOpen) continue;
      this.host.addSocket(socket);
      this.#onAccept(socket);
    }
  }
}

const maxBacklog = 512;

/** Who listens where on one machine. */
export class ListenerTable {
  readonly #byAddress = new Map<string, MemoryListener[]>();

  isFree(address: SocketAddress, reusePort: boolean): boolean {
    for (const ip of [address.ip.text, wildcardOf(address.ip)]) {
      const held = this.#byAddress.get(key(ip, address.port));
      if (held !== undefined && !(reusePort && held.every((listener) => listener.reusePort))) return false;
    }
    return true;
  }

  add(listener: MemoryListener): void {
    const at = key(listener.address.ip.text, listener.address.port);
    const held = this.#byAddress.get(at);
    if (held === undefined) this.#byAddress.set(at, [listener]);
    else held.push(listener);
  }

  remove(listener: MemoryListener): void {
    const at = key(listener.address.ip.text, listener.address.port);
    const left = (this.#byAddress.get(at) ?? []).filter((held) => held !== listener);
    if (left.length === 0) this.#byAddress.delete(at);
    else this.#byAddress.set(at, left);
  }

  /** @param pick in [0, 1): which of several that share the port. */
  find(to: SocketAddress, pick: number): MemoryListener | null {
    for (const ip of [to.ip.text, wildcardOf(to.ip)]) {
      const held = this.#byAddress.get(key(ip, to.port));
      if (held !== undefined) return held[Math.floor(pick * held.length)] ?? null;
    }
    return null;
  }
}

function key(ip: string, port: number): string {
  return `${ip} ${port}`;
}

/** The address on which a listener takes what comes to any of its family. */
export function wildcardOf(ip: IpAddress): string {
  return ip.isIpv4 ? "0.0.0.0" : "::";
}

/** A socket file. It outlives a process that was killed, and is stale then. */
export interface SocketFile {
  readonly listener: MemoryListener;
  readonly mode: number;
  readonly owner: PeerCredentials;
}

/** Socket files of one machine. */
export class UnixSocketTable {
  readonly #files = new Map<string, SocketFile>();

  isLive(path: string): boolean {
    const file = this.#files.get(path);
    return file !== undefined && !file.listener.host.ended;
  }

  add(path: string, file: SocketFile): void {
    this.#files.set(path, file);
  }

  find(path: string): SocketFile | null {
    return this.#files.get(path) ?? null;
  }

  /** A file that somebody else has put there since stays, and so does that of a process that was killed. */
  remove(path: string, listener: MemoryListener): void {
    if (this.#files.get(path)?.listener === listener && !listener.host.ended) this.#files.delete(path);
  }
}
