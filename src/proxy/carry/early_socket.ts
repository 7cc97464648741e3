/** A client's socket before its connection is carried: what happens on it already is kept and told again later, and its leaving is noticed. */
import { MeshError } from "../../base/errors.ts";
import { proxyLimits } from "../../base/limits/proxy.ts";
import type { Socket, SocketHandler } from "../../host/host.ts";

export class EarlySocket implements SocketHandler {
  protected readonly socket: Socket;
  /** The client has left and does not need the connection that is being made. */
  onGone: ((error: MeshError) => void) | null = null;
  readonly #chunks: Uint8Array[] = [];
  #bytes = 0;
  #ended = false;
  #closed: { readonly error: MeshError | null } | null = null;

  constructor(socket: Socket) {
    this.socket = socket;
  }

  /** From now on `handler` has the socket; it is told first what happened so far. */
  handOver(handler: SocketHandler): void {
    for (const chunk of this.#chunks) handler.onData(chunk);
    if (this.#ended) handler.onEnd();
    if (this.#closed !== null) handler.onClose(this.#closed.error);
    else this.socket.setHandler(handler);
  }

  /** More than a first packet or two waits in the client's own kernel, not here. */
  keep(bytes: Uint8Array): void {
    this.#chunks.push(bytes);
    this.#bytes += bytes.length;
    if (this.#bytes > proxyLimits.earlyBytes) this.socket.pause();
  }

  get isPaused(): boolean {
    return this.#bytes > proxyLimits.earlyBytes;
  }

  onData(bytes: Uint8Array): void {
    this.keep(bytes);
  }

  onDrain(): void {}

  onEnd(): void {
    this.#ended = true;
  }

  onClose(error: MeshError | null): void {
    this.#closed = { error };
    this.onGone?.(
      error ?? new MeshError("connection_closed", "peer", "the client left before its connection was made"),
    );
  }
}
