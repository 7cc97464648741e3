import { frameFlag, frameHeadBytes, frameType, readUint31 } from "./frame.ts";

/** What a reader tells. It stops as soon as `stopped` is true. */
export interface FrameSink {
  readonly stopped: boolean;
  /** So much has been done that the rest should wait; looked at between frames. */
  readonly tired: boolean;
  /**
   * A head is complete; `reader` has it. Checked here: order, length against type and limits, the stream, and for DATA
   * flow control of the whole frame.
   *
   * @returns how many bytes of payload are wanted in one piece; what goes beyond is dropped. Ignored for DATA.
   */
  onFrameHead(reader: FrameReader): number;
  /** A whole payload, or as much of it as was wanted: `source[from, to)`. Not called for DATA. */
  onFrame(reader: FrameReader, source: Uint8Array, from: number, to: number): void;
  /** DATA as it arrives. `endStream` with the last of it; empty only for a frame without content. */
  onData(reader: FrameReader, bytes: Uint8Array, endStream: boolean): void;
  /** `bytes` of a DATA frame are padding, its length byte included (RFC 9113 §6.1). @returns false when there is more padding than frame. */
  onPadding(reader: FrameReader, bytes: number): void;
  /** A pad length that leaves no room for itself and the content. */
  onPaddingError(reader: FrameReader): void;
}

const readState = { head: 0, payload: 1, skip: 2, padLength: 3, data: 4 } as const;
const empty = new Uint8Array(0);
/** A payload that arrives in pieces is gathered in memory that grows with what came, not with what was announced. */
const firstGatherBytes = 512;

/** Cuts the byte stream into frames (RFC 9113 §4.1). DATA is never gathered. */
export class FrameReader {
  type = 0;
  flags = 0;
  streamId = 0;
  /** The frame's whole payload, padding included. */
  length = 0;

  #state: number = readState.head;
  /** Payload bytes that have not come yet: of the content for DATA, of what is wanted else. */
  #remaining = 0;
  /** Bytes to drop after that. */
  #surplus = 0;
  #gathered: Uint8Array = empty;
  #gatheredBytes = 0;

  /** Whether the peer could stop here without cutting a frame in two. */
  get atFrameBoundary(): boolean {
    return this.#state === readState.head && this.#gatheredBytes === 0;
  }

  /** @returns where it stopped: before the end when the sink has stopped, or is tired. */
  push(bytes: Uint8Array, from: number, sink: FrameSink): number {
    let at = from;
    while (!sink.stopped && (at < bytes.length || this.#nothingMissing())) {
      switch (this.#state) {
        case readState.head:
          if (sink.tired) return at;
          at = this.#readHead(bytes, at, sink);
          break;
        case readState.payload:
          at = this.#readPayload(bytes, at, sink);
          break;
        case readState.padLength:
          at = this.#readPadLength(bytes, at, sink);
          break;
        case readState.data:
          at = this.#readData(bytes, at, sink);
          break;
        default:
          at = this.#skip(bytes, at);
      }
    }
    return at;
  }

  /** A frame without payload is complete although no byte is left. */
  #nothingMissing(): boolean {
    return this.#remaining === 0 && (this.#state === readState.payload || this.#state === readState.data);
  }

  #readHead(bytes: Uint8Array, at: number, sink: FrameSink): number {
    if (this.#gatheredBytes === 0 && bytes.length - at >= frameHeadBytes) {
      this.#parseHead(bytes, at);
      at += frameHeadBytes;
    } else {
      const taken = this.#gather(bytes, at, frameHeadBytes);
      at += taken;
      if (this.#gatheredBytes < frameHeadBytes) return at;
      this.#parseHead(this.#gathered, 0);
      this.#gatheredBytes = 0;
    }
    const wanted = sink.onFrameHead(this);
    if (this.type === frameType.data) this.#beginData(sink);
    else this.#beginPayload(Math.min(wanted, this.length));
    return at;
  }

  #parseHead(source: Uint8Array, at: number): void {
    this.length = ((source[at] ?? 0) << 16) | ((source[at + 1] ?? 0) << 8) | (source[at + 2] ?? 0);
    this.type = source[at + 3] ?? 0;
    this.flags = source[at + 4] ?? 0;
    // The reserved bit is ignored (RFC 9113 §4.1).
    this.streamId = readUint31(source, at + 5);
  }

  #beginPayload(wanted: number): void {
    this.#state = readState.payload;
    this.#remaining = wanted;
    this.#surplus = this.length - wanted;
  }

  #beginData(sink: FrameSink): void {
    this.#surplus = 0;
    this.#remaining = this.length;
    this.#state = readState.data;
    if ((this.flags & frameFlag.padded) === 0) return;
    if (this.length === 0) sink.onPaddingError(this);
    else this.#state = readState.padLength;
  }

  #readPadLength(bytes: Uint8Array, at: number, sink: FrameSink): number {
    const padding = bytes[at] ?? 0;
    this.#remaining = this.length - 1 - padding;
    this.#surplus = padding;
    this.#state = readState.data;
    if (this.#remaining < 0) sink.onPaddingError(this);
    else sink.onPadding(this, padding + 1);
    return at + 1;
  }

  #readData(bytes: Uint8Array, at: number, sink: FrameSink): number {
    const taken = Math.min(this.#remaining, bytes.length - at);
    this.#remaining -= taken;
    const last = this.#remaining === 0;
    if (last) this.#endFrame();
    const whole = at === 0 && taken === bytes.length;
    const view = taken === 0 ? empty : whole ? bytes : bytes.subarray(at, at + taken);
    sink.onData(this, view, last && (this.flags & frameFlag.endStream) !== 0);
    return at + taken;
  }

  #readPayload(bytes: Uint8Array, at: number, sink: FrameSink): number {
    if (this.#gatheredBytes === 0 && bytes.length - at >= this.#remaining) {
      const to = at + this.#remaining;
      this.#endFrame();
      sink.onFrame(this, bytes, at, to);
      return to;
    }
    const wanted = this.#gatheredBytes + this.#remaining;
    const taken = this.#gather(bytes, at, wanted);
    this.#remaining -= taken;
    if (this.#remaining === 0) {
      const payload = this.#gathered;
      this.#gathered = empty;
      this.#gatheredBytes = 0;
      this.#endFrame();
      sink.onFrame(this, payload, 0, wanted);
    }
    return at + taken;
  }

  #endFrame(): void {
    this.#state = this.#surplus > 0 ? readState.skip : readState.head;
  }

  #skip(bytes: Uint8Array, at: number): number {
    const taken = Math.min(this.#surplus, bytes.length - at);
    this.#surplus -= taken;
    if (this.#surplus === 0) this.#state = readState.head;
    return at + taken;
  }

  /** Copies until `wanted` bytes are together. @returns how many were taken. */
  #gather(bytes: Uint8Array, at: number, wanted: number): number {
    const taken = Math.min(wanted - this.#gatheredBytes, bytes.length - at);
    const needed = this.#gatheredBytes + taken;
    if (needed > this.#gathered.length) {
      const capacity = Math.min(wanted, Math.max(needed, this.#gathered.length * 2, firstGatherBytes));
      const larger = new Uint8Array(capacity);
      larger.set(this.#gathered.subarray(0, this.#gatheredBytes));
      this.#gathered = larger;
    }
    this.#gathered.set(bytes.subarray(at, at + taken), this.#gatheredBytes);
    this.#gatheredBytes = needed;
    return taken;
  }
}
