/** The end of a carried connection that is a TCP socket. */
import { MeshError } from "../../base/errors.ts";
import type { Socket, SocketHandler } from "../../host/host.ts";
import type { Copy, CopyEnd } from "./copy.ts";
import type { EarlySocket } from "./early_socket.ts";

export class SocketEnd implements CopyEnd, SocketHandler {
  readonly #socket: Socket;
  /** Null once it has told what there was: nothing of the time before is kept. */
  #early: Pick<EarlySocket, "handOver" | "isPaused"> | null;
  #copy: Copy | null = null;
  #other: CopyEnd | null = null;
  /** What the socket did not take yet; null while there is nothing, which is nearly always. */
  #queue: Uint8Array[] | null = null;
  /** Bytes we gave that the other end still keeps: while there are any we do not read. */
  #keptByOther = 0;
  #readEnded = false;
  #endAfterQueue = false;
  #breakAfterQueue = false;
  #writeEnded = false;
  #stopped = false;

  /** @param early who has had the socket until now. */
  constructor(socket: Socket, early: Pick<EarlySocket, "handOver" | "isPaused"> | null = null) {
    this.#socket = socket;
    this.#early = early;
  }

  start(copy: Copy, other: CopyEnd): void {
    this.#copy = copy;
    this.#other = other;
    const early = this.#early;
    this.#early = null;
    if (early === null) this.#socket.setHandler(this);
    else {
      early.handOver(this);
      if (early.isPaused && this.#keptByOther === 0) this.#socket.resume();
    }
  }

  write(bytes: Uint8Array): number {
    if (this.#queue !== null) {
      this.#queue.push(bytes);
      return 0;
    }
    const taken = this.#socket.write(bytes);
    if (taken < bytes.length) this.#queue = [bytes.subarray(taken)];
    return taken;
  }

  end(): void {
    if (this.#queue === null) this.#endWrite();
    else this.#endAfterQueue = true;
  }

  released(count: number): void {
    this.#keptByOther -= count;
    if (this.#keptByOther === 0) this.#socket.resume();
  }

  stop(): void {
    if (this.#readEnded) return;
    this.#readEnded = true;
    this.#stopped = true;
    if (!this.#writeEnded) return;
    this.#socket.close();
    this.#copy?.endDone();
  }

  break(): void {
    // Its bytes have nowhere to go; its kernel holds it back.
    this.#socket.pause();
    if (this.#queue === null) this.#breakNow();
    else this.#breakAfterQueue = true;
  }

  abort(): void {
    this.#queue = null;
    this.#socket.reset();
  }

  onData(bytes: Uint8Array): void {
    const copy = this.#copy;
    if (copy?.finished !== false || this.#stopped) return;
    copy.count(this, bytes.length);
    const taken = this.#other?.write(bytes) ?? 0;
    if (taken === bytes.length) return;
    this.#keptByOther += bytes.length - taken;
    this.#socket.pause();
  }

  onDrain(): void {
    while (this.#queue !== null) {
      const chunk = this.#queue[0];
      if (chunk === undefined) {
        this.#queue = null;
        break;
      }
      const taken = this.#socket.write(chunk);
      if (taken === chunk.length) this.#queue.shift();
      else this.#queue[0] = chunk.subarray(taken);
      this.#other?.released(taken);
      if (taken < chunk.length) return;
    }
    if (this.#breakAfterQueue) this.#breakNow();
    else if (this.#endAfterQueue) this.#endWrite();
  }

  onEnd(): void {
    if (this.#readEnded || this.#copy?.finished === true) return;
    this.#readEnded = true;
    this.#other?.end();
    if (this.#writeEnded) this.#copy?.endDone();
  }

  onClose(error: MeshError | null): void {
    const copy = this.#copy;
    if (this.#breakAfterQueue) copy?.broken();
    if (copy?.finished !== false || (this.#readEnded && this.#writeEnded)) return;
    copy.fail(
      this,
      error ?? new MeshError("connection_closed", "peer", "the connection closed before its end"),
    );
  }

  #breakNow(): void {
    this.#breakAfterQueue = false;
    this.#socket.resetAfterSent();
    this.#copy?.broken();
  }

  #endWrite(): void {
    if (this.#writeEnded) return;
    this.#endAfterQueue = false;
    this.#writeEnded = true;
    if (this.#stopped) this.#socket.close();
    else this.#socket.end();
    if (this.#readEnded) this.#copy?.endDone();
  }
}
