/**
 * Drives a `Machine` over a `Socket`: bytes in, output out in gathered writes, deadlines kept, the end told once. Input that asks for
 * more work than a turn of the event loop has time for waits, and the socket with it.
 */
import type { MeshError } from "../base/errors.ts";
import { hostLimits } from "../base/limits/host.ts";
import type { Machine } from "../base/machine.ts";
import { Turns } from "../base/turns/turns.ts";
import type { Clock, Socket, SocketHandler, Timer } from "../host/host.ts";

export class Drive implements SocketHandler {
  readonly #clock: Clock;
  readonly #turns: Turns;
  readonly #socket: Socket;
  readonly #machine: Machine;
  readonly #retains: boolean;
  readonly #onGone: (error: MeshError | null) => void;
  /** What the socket did not take yet, oldest first. While there is any, the machine is not asked for more. */
  #blocked: Uint8Array[] = [];
  /**
   * What the next batch may have. What was taken is ahead of all that the machine says later (a new request, a reset, an answer to a
   * ping), so a socket that was full gets little, and twice as much after each time it took all and there was more.
   */
  #batchBytes: number = hostLimits.blockedBatchBytes;
  /** What the machine had no time for yet, oldest first; null is the usual case. The socket is paused meanwhile. */
  #unread: Uint8Array[] | null = null;
  /** What follows the unread: the peer's end, then the end of the transport. */
  #endUnread = false;
  #closeUnread: { readonly error: MeshError | null } | null = null;
  #flushPending = false;
  #closing = false;
  #gone = false;
  #timer: Timer | null = null;
  #timerAtMs = 0;
  /** Set while a machine that is done has output that the peer does not take. */
  #lastWords: Timer | null = null;
  readonly #flush = () => {
    this.#flushPending = false;
    this.#write();
  };
  readonly #readOn = () => this.#receiveUnread();

  /**
   * @param onGone the transport is gone, exactly once; the error is the transport's, null for an orderly end. The machine has
   *   been told with `receiveEnd` before.
   */
  constructor(clock: Clock, socket: Socket, machine: Machine, onGone: (error: MeshError | null) => void) {
    this.#clock = clock;
    this.#turns = Turns.of(clock);
    this.#socket = socket;
    this.#machine = machine;
    this.#retains = socket.retainsWrites === true;
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
    if (this.#unread !== null) {
      this.#unread.push(bytes);
      return;
    }
    const rest = this.#receive(bytes);
    if (rest !== null) this.#wait([rest]);
  }

  onDrain(): void {
    this.#write();
  }

  onEnd(): void {
    if (this.#gone) return;
    if (this.#unread !== null) {
      this.#endUnread = true;
      return;
    }
    this.#machine.receiveEnd(this.#clock.now());
    this.outputReady();
  }

  onClose(error: MeshError | null): void {
    if (this.#gone) return;
    // A peer that said its last and left is still heard to the end; one that broke off, or that we left, is not.
    if (this.#unread !== null && error === null && !this.#closing) {
      this.#closeUnread = { error };
      return;
    }
    this.#gone = true;
    this.#timer?.cancel();
    this.#lastWords?.cancel();
    this.#blocked = [];
    this.#unread = null;
    this.#machine.receiveEnd(this.#clock.now());
    this.#onGone(error);
  }

  /** Ends the transport at once, without waiting for output. */
  abort(): void {
    if (this.#gone) return;
    this.#closing = true;
    // The transport may be gone already, and only its last words be unread.
    if (this.#closeUnread !== null) this.onClose(null);
    else this.#socket.reset();
  }

  /** @returns what the turn had no time for, or null. */
  #receive(bytes: Uint8Array): Uint8Array | null {
    let rest = bytes;
    let now = this.#clock.now();
    while (this.#turns.hasTime) {
      const taken = this.#machine.receive(rest, now);
      const after = this.#clock.now();
      this.#turns.spend(after - now);
      now = after;
      if (this.#gone || taken === rest.length) {
        if (this.#machine.done) this.outputReady();
        this.#arm();
        return null;
      }
      rest = rest.subarray(taken);
    }
    return rest;
  }

  #wait(unread: Uint8Array[]): void {
    if (this.#unread === null) this.#socket.pause();
    this.#unread = unread;
    this.#turns.later(this.#readOn);
  }

  #receiveUnread(): void {
    const unread = this.#unread;
    if (unread === null) return;
    for (let index = 0; index < unread.length; index++) {
      const bytes = unread[index];
      const rest = bytes === undefined ? null : this.#receive(bytes);
      if (this.#gone) return;
      if (rest === null) continue;
      this.#wait([rest, ...unread.slice(index + 1)]);
      return;
    }
    this.#unread = null;
    this.#socket.resume();
    if (this.#endUnread) this.onEnd();
    if (this.#closeUnread !== null) this.onClose(this.#closeUnread.error);
  }

  #write(): void {
    if (this.#gone || !this.#writeBlocked()) {
      this.#boundLastWords();
      return;
    }
    while (this.#machine.wantsOutput) {
      const chunks = this.#machine.takeOutput(this.#batchBytes);
      for (let index = 0; index < chunks.length; index++) {
        const chunk = chunks[index];
        if (chunk === undefined) continue;
        const given = this.#retains && this.#machine.isScratch(chunk) ? chunk.slice() : chunk;
        const taken = this.#socket.write(given);
        if (taken === chunk.length) continue;
        this.#keep(chunks, index, taken);
        this.#batchBytes = hostLimits.blockedBatchBytes;
        this.#boundLastWords();
        return;
      }
      if (this.#machine.wantsOutput && this.#batchBytes < hostLimits.writeBatchBytes) this.#batchBytes *= 2;
    }
    if (this.#machine.done && !this.#gone) this.#close();
    else this.#arm();
  }

  #close(): void {
    this.#closing = true;
    if (this.#closeUnread !== null) this.onClose(null);
    else this.#socket.close();
  }

  /** A machine that is done has a socket only for its last words: a peer that does not read them in time loses them. */
  #boundLastWords(): void {
    if (this.#gone || !this.#machine.done || this.#lastWords !== null) return;
    this.#lastWords = this.#clock.setTimer(hostLimits.lingerMs, () => this.abort());
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
