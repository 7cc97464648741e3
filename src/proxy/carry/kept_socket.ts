/** A TCP socket that somebody else has had so far, given on with what came meanwhile: whoever serves it sees one socket like any other. */
import type { MeshError } from "../../base/errors.ts";
import type { SocketAddress } from "../../base/ip.ts";
import type { Socket, SocketHandler } from "../../host/host.ts";
import type { CopyCounters } from "./copy.ts";
import type { EarlySocket } from "./early_socket.ts";

export class KeptSocket implements Socket, SocketHandler {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly retainsWrites?: true;
  /** Counts what passes, for the record of the connection that is served; null for none. */
  counters: CopyCounters | null = null;
  readonly #socket: Socket;
  #early: EarlySocket | null;
  #handler: SocketHandler | null = null;
  #isPaused = false;

  constructor(socket: Socket, early: EarlySocket) {
    this.#socket = socket;
    this.#early = early;
    this.local = socket.local;
    this.remote = socket.remote;
    if (socket.retainsWrites === true) this.retainsWrites = true;
  }

  /** This stays the socket's own handler: one that is set while it is told of the past is told the rest of it. */
  setHandler(handler: SocketHandler): void {
    this.#handler = handler;
    const early = this.#early;
    if (early === null) return;
    this.#early = null;
    early.handOver(this);
    if (early.isPaused && !this.#isPaused) this.#socket.resume();
  }

  write(bytes: Uint8Array): number {
    const taken = this.#socket.write(bytes);
    if (this.counters !== null) this.counters.bytesToDownstream += taken;
    return taken;
  }

  end(): void {
    this.#socket.end();
  }

  pause(): void {
    this.#isPaused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#isPaused = false;
    this.#socket.resume();
  }

  close(): void {
    this.#socket.close();
  }

  reset(): void {
    this.#socket.reset();
  }

  resetAfterSent(): void {
    this.#socket.resetAfterSent();
  }

  onData(bytes: Uint8Array): void {
    if (this.counters !== null) this.counters.bytesToUpstream += bytes.length;
    this.#handler?.onData(bytes);
  }

  onDrain(): void {
    this.#handler?.onDrain();
  }

  onEnd(): void {
    this.#handler?.onEnd();
  }

  onClose(error: MeshError | null): void {
    this.#handler?.onClose(error);
  }
}
