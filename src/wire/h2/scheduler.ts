import { defaultWindowBytes, frameFlag, frameHeadBytes, frameType, minimumMaxFrameBytes } from "./frame.ts";
import type { Output } from "./output.ts";
import type { StreamState } from "./stream_state.ts";

export interface SchedulerLimits {
  /** Most DATA a stream sends before it is another's turn, when there are others. */
  readonly quantumBytes: number;
  /** Payload pieces from here on are not copied. */
  readonly copyBelowBytes: number;
}

/**
 * Turns queued DATA into frames, round robin over the streams that may send, within the peer's windows and frame size.
 * A stream is in the list exactly while it has DATA queued and a window of its own; the connection's window stops all of them.
 */
export class Scheduler {
  readonly #limits: SchedulerLimits;
  /** The connection's send window (RFC 9113 §6.9.1). */
  windowBytes = defaultWindowBytes;
  /** The peer's SETTINGS_MAX_FRAME_SIZE. */
  maxFrameBytes = minimumMaxFrameBytes;
  #first: StreamState | null = null;
  #last: StreamState | null = null;

  constructor(limits: SchedulerLimits) {
    this.#limits = limits;
  }

  get ready(): boolean {
    return this.#first !== null && this.windowBytes > 0;
  }

  /** The stream's queue or window changed: puts it into the list, or out of it, as is right now. */
  update(stream: StreamState): void {
    const canSend = stream.queuedBytes > 0 && stream.sendWindowBytes > 0 && !stream.closed;
    if (canSend === stream.scheduled) return;
    if (canSend) this.#append(stream);
    else this.#remove(stream);
  }

  /** Adds DATA frames until about `maxBytes` are taken. `onSent` comes after each frame, before the next. */
  fill(
    output: Output,
    maxBytes: number,
    onSent: (stream: StreamState, bytes: number, ended: boolean) => void,
  ): void {
    for (;;) {
      const stream = this.#first;
      const room = maxBytes - output.takenBytes - frameHeadBytes;
      if (stream === null || this.windowBytes <= 0 || room <= 0) return;
      const bytes = this.#frameBytes(stream, room);
      const rest = stream.queuedBytes - bytes;
      const ended = rest === 0 && stream.localEnded && stream.trailers === null;
      output.frameHead(bytes, frameType.data, ended ? frameFlag.endStream : 0, stream.id);
      this.#writePayload(stream, bytes, output);
      stream.queuedBytes = rest;
      stream.sendWindowBytes -= bytes;
      this.windowBytes -= bytes;
      this.#remove(stream);
      this.update(stream);
      onSent(stream, bytes, ended);
    }
  }

  #frameBytes(stream: StreamState, room: number): number {
    const turn = stream.nextScheduled === null ? room : Math.min(room, this.#limits.quantumBytes);
    return Math.min(turn, stream.queuedBytes, stream.sendWindowBytes, this.windowBytes, this.maxFrameBytes);
  }

  #writePayload(stream: StreamState, bytes: number, output: Output): void {
    const queue = stream.queue;
    let left = bytes;
    while (left > 0) {
      const chunk = queue?.first;
      if (queue === null || chunk === undefined) return;
      const from = queue.offset;
      const taken = Math.min(left, chunk.length - from);
      if (taken >= this.#limits.copyBelowBytes) {
        output.reference(taken === chunk.length ? chunk : chunk.subarray(from, from + taken));
      } else {
        output.bytes(taken === chunk.length ? chunk : chunk.subarray(from, from + taken));
      }
      queue.advance(taken);
      left -= taken;
    }
  }

  #append(stream: StreamState): void {
    stream.scheduled = true;
    stream.previousScheduled = this.#last;
    if (this.#last === null) this.#first = stream;
    else this.#last.nextScheduled = stream;
    this.#last = stream;
  }

  #remove(stream: StreamState): void {
    const { previousScheduled, nextScheduled } = stream;
    if (previousScheduled === null) this.#first = nextScheduled;
    else previousScheduled.nextScheduled = nextScheduled;
    if (nextScheduled === null) this.#last = previousScheduled;
    else nextScheduled.previousScheduled = previousScheduled;
    stream.scheduled = false;
    stream.previousScheduled = null;
    stream.nextScheduled = null;
  }
}
