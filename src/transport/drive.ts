/** Drives a `Machine` over a `Socket`: bytes in, output out in gathered writes, deadlines kept, the end told once. */
import type { MeshError } from "../base/errors.ts";
import { hostLimits } from "../base/limits/host.ts";
import type { Machine } from "../base/machine.ts";
import type { Clock, Socket, SocketHandler, Timer } from "../host/host.ts";

export class Drive implements SocketHandler {
  readonly #clock: Clock;
  readonly #socket: Socket;
  readonly #machine: Machine;
  readonly #onGone: (error: MeshError | null) => void;
  /** What the socket did not take yet, oldest first. While there is any, the machine is not asked for more. */
  #blocked: Uint8Array[] = [];
  #flushPending = false;
  #gone = false;
  #timer: Timer | null = null;
  #timerAtMs = 0;
  readonly #flush = () => {
    this.#flushPending = false;
    this.#write();
  };

  /**
   * @param onGone the transport is gone, exactly once; the error is the transport's, null for an orderly end. The machine has
   *   been told with `receiveEnd` before.
   */
  constructor(clock: Clock, socket: Socket, machine: Machine, onGone: (error: MeshError | null) => void) {
    this.#clock = clock;
    this.#socket = socket;
    this.#machine = machine;
    this.#onGone = onGone;
  }

  /** Starts delivery of the socket's bytes to the machine. */
  start(): void {
    this.#socket.setHandler(this);
    this.outputReady();
    this.#arm();
  }

  /**
   * To be called when the machine has output that it had not before. The write itself waits for the end of this turn,
   * so that what many connections give to one tunnel leaves in one TLS record and one system call.
   */
  outputReady(): void {
    if (this.#flushPending || this.#gone) return;
    this.#flushPending = true;
    this.#clock.defer(this.#flush);
  }

  onData(bytes: Uint8Array): void {
    if (this.#gone) return;
    this.#machine.receive(bytes, this.#clock.now());
    if (this.#machine.done) this.outputReady();
    this.#arm();
  }

  onDrain(): void {
    this.#write();
  }

  onEnd(): void {
    if (this.#gone) return;
    this.#machine.receiveEnd(this.#clock.now());
    this.outputReady();
  }

  onClose(error: MeshError | null): void {
    if (this.#gone) return;
    this.#gone = true;
    this.#timer?.cancel();
    this.#blocked = [];
    this.#machine.receiveEnd(this.#clock.now());
    this.#onGone(error);
  }

  /** Ends the transport at once, without waiting for output. */
  abort(): void {
    if (!this.#gone) this.#socket.reset();
  }

  #write(): void {
    if (this.#gone || !this.#writeBlocked()) return;
    while (this.#machine.wantsOutput) {
      const chunks = this.#machine.takeOutput(hostLimits.writeBatchBytes);
      for (let index = 0; index < chunks.length; index++) {
        const chunk = chunks[index];
        if (chunk === undefined) continue;
        const taken = this.#socket.write(chunk);
        if (taken === chunk.length) continue;
        this.#keep(chunks, index, taken);
        return;
      }
    }
    if (this.#machine.done && !this.#gone) this.#socket.close();
    else this.#arm();
  }

  /** @returns whether everything that was blocked is written now. */
  #writeBlocked(): boolean {
    while (this.#blocked.length > 0) {
      const chunk = this.#blocked[0];
      if (chunk === undefined) return true;
      const taken = this.#socket.write(chunk);
      if (taken < chunk.length) {
        if (taken > 0) this.#blocked[0] = chunk.subarray(taken);
        return false;
      }
      this.#blocked.shift();
    }
    return true;
  }

  /** Keeps what was not taken, at most one batch; of the machine's scratch memory a copy. */
  #keep(chunks: readonly Uint8Array[], from: number, taken: number): void {
    for (let index = from; index < chunks.length; index++) {
      const chunk = chunks[index];
      if (chunk === undefined) continue;
      const rest = index === from ? chunk.subarray(taken) : chunk;
      this.#blocked.push(this.#machine.isScratch(chunk) ? rest.slice() : rest);
    }
  }

  /** One timer a connection, moved only when it fires: the deadline moves with each frame, the timer must not. */
  #arm(): void {
    const deadlineMs = this.#machine.deadlineMs;
    if (deadlineMs === null || this.#gone) return;
    if (this.#timer !== null && this.#timerAtMs <= deadlineMs) return;
    this.#timer?.cancel();
    this.#timerAtMs = deadlineMs;
    this.#timer = this.#clock.setTimer(Math.max(0, deadlineMs - this.#clock.now()), () => {
      this.#timer = null;
      if (this.#gone) return;
      const now = this.#clock.now();
      const due = this.#machine.deadlineMs;
      if (due !== null && due <= now) this.#machine.tick(now);
      if (this.#machine.wantsOutput || this.#machine.done) this.outputReady();
      this.#arm();
    });
  }
}
