import { assert } from "../../base/assert.ts";
import { ChunkQueue } from "./chunk_queue.ts";
import { ReceiveWindow } from "./flow.ts";
import type { HeaderFields } from "./headers.ts";
import type { H2Stream, H2StreamEvents } from "./stream.ts";

/** What a stream asks of its connection. */
export interface StreamOwner {
  readonly highWaterBytes: number;
  sendHeaders(stream: StreamState, headers: HeaderFields, endStream: boolean): void;
  /** DATA, an end or trailers were added to the stream's queue. */
  sendQueued(stream: StreamState): void;
  consumed(stream: StreamState, bytes: number): void;
  resetByUser(stream: StreamState, errorCode: number): void;
}

/**
 * One stream's state (RFC 9113 §5.1), as the engine keeps it; the application sees `H2Stream`. Idle streams have no object
 * here, closed ones are only remembered by number. Nothing is allocated for DATA before there is some.
 *
 * ```
 *   remoteEnded  localEnded   RFC 9113
 *   no           no           open
 *   no           yes          half-closed (local), once the end is sent
 *   yes          no           half-closed (remote)
 *   yes          yes, sent    closed
 * ```
 */
export class StreamState implements H2Stream {
  readonly id: number;
  events: H2StreamEvents;
  readonly #owner: StreamOwner;

  localEnded = false;
  /** The frame with END_STREAM has been written, not only queued. */
  localEndSent = false;
  remoteEnded = false;
  closed = false;
  /** A final response went out (server) or came in (client): what follows is DATA or trailers. */
  answered = false;
  /** Client: a response to HEAD has a length but no content (RFC 9110 §9.3.2). */
  isHead = false;
  /** Asked for with plain CONNECT: once it is answered with 2xx there is only DATA (RFC 9113 §8.5). */
  isConnect = false;
  isTunnel = false;

  queue: ChunkQueue | null = null;
  queuedBytes = 0;
  /** Said when the queue is empty, see `H2Stream.resetAfterData`. */
  resetAfter: number | null = null;
  /** Sent after the queue is empty. */
  trailers: HeaderFields | null = null;
  /** What the peer lets us send; negative after it shrank its SETTINGS (RFC 9113 §6.9.2). */
  sendWindowBytes: number;
  wasAboveHighWater = false;

  readonly receiveWindow: ReceiveWindow;
  /** DATA that counts against the windows and was not consumed. */
  unconsumedBytes = 0;
  /** The owner gives back what it holds after the end too, see `H2Stream.holdPastEnd`. */
  heldPastEnd = false;
  /** Small pieces of DATA of this `receive`, not told yet. */
  gathered: Uint8Array | null = null;
  /** Those that came after it in the same read. */
  gatheredMore: Uint8Array[] | null = null;
  /** What content-length promised and has not come; -1 without a promise (RFC 9113 §8.1.1). */
  contentRemaining = -1;

  /** The scheduler's list of streams that can send. */
  scheduled = false;
  nextScheduled: StreamState | null = null;
  previousScheduled: StreamState | null = null;

  constructor(
    owner: StreamOwner,
    id: number,
    events: H2StreamEvents,
    sendWindowBytes: number,
    receiveWindowBytes: number,
  ) {
    this.#owner = owner;
    this.id = id;
    this.events = events;
    this.sendWindowBytes = sendWindowBytes;
    this.receiveWindow = new ReceiveWindow(receiveWindowBytes);
  }

  get aboveHighWater(): boolean {
    return this.queuedBytes > this.#owner.highWaterBytes;
  }

  sendHeaders(headers: HeaderFields, endStream: boolean): void {
    if (this.closed) return;
    assert(!this.localEnded && !this.answered, `stream ${this.id}: headers after the final headers`);
    this.#owner.sendHeaders(this, headers, endStream);
  }

  sendTrailers(headers: HeaderFields): void {
    if (this.closed) return;
    assert(!this.localEnded, `stream ${this.id}: trailers after the end`);
    this.localEnded = true;
    this.trailers = headers;
    this.#owner.sendQueued(this);
  }

  sendData(bytes: Uint8Array, endStream: boolean): void {
    if (this.closed) return;
    assert(!this.localEnded, `stream ${this.id}: DATA after the end`);
    if (bytes.length > 0) {
      this.queue ??= new ChunkQueue();
      this.queue.push(bytes);
      this.queuedBytes += bytes.length;
      if (this.queuedBytes > this.#owner.highWaterBytes) this.wasAboveHighWater = true;
    } else if (!endStream) return;
    this.localEnded = endStream;
    this.#owner.sendQueued(this);
  }

  consume(bytes: number): void {
    this.#owner.consumed(this, bytes);
  }

  holdPastEnd(): void {
    this.heldPastEnd = true;
  }

  resetAfterData(errorCode: number): void {
    if (this.closed || this.queuedBytes === 0) this.reset(errorCode);
    else this.resetAfter = errorCode;
  }

  reset(errorCode: number): void {
    this.#owner.resetByUser(this, errorCode);
  }
}
