import { frameFlag, frameHeadBytes, frameType, writeFrameHead, writeUint32 } from "./frame.ts";

/** The scratch memory of a connection that has said something; it doubles from here. */
const firstScratchBytes = 256;
/** An idle connection keeps no more than this. */
const idleScratchBytes = 1024;

const noMemory = new ArrayBuffer(0);
const empty = new Uint8Array(noMemory);

/**
 * Bytes on their way to the peer. Control frames and header blocks are written here the moment they arise, which fixes
 * their order; DATA is added by the scheduler while output is taken, so nothing of it waits here.
 *
 * One scratch buffer holds heads and small payloads; large payloads are passed through as the caller's own memory.
 */
export class Output {
  #scratch: Uint8Array = empty;
  /** What `#scratch` is a view of, kept at hand. */
  #memory: ArrayBuffer = noMemory;
  /** `[#start, #end)` waits to be taken. */
  #start = 0;
  #end = 0;
  /** Views handed out by the current taking must not be overwritten until it is over. */
  #taking = false;
  readonly #views: Uint8Array[] = [];
  #takenBytes = 0;

  /** Frames the peer provoked and has not read yet: acknowledgements, resets. Counted by those who write them. */
  provokedFrames = 0;

  get pendingBytes(): number {
    return this.#end - this.#start;
  }

  /** Bytes collected so far in the current taking. */
  get takenBytes(): number {
    return this.#takenBytes + this.#end - this.#start;
  }

  /** Room for `bytes` more, in one piece. @returns the scratch buffer, to be written from `position`. */
  reserve(bytes: number): Uint8Array {
    if (this.#start === this.#end && !this.#taking) {
      this.#start = 0;
      this.#end = 0;
    }
    if (this.#end + bytes > this.#scratch.length) this.#grow(bytes);
    return this.#scratch;
  }

  get position(): number {
    return this.#end;
  }

  /** Everything up to `position` was written. */
  commit(position: number): void {
    this.#end = position;
  }

  /** A frame head; `length` bytes of payload have to follow. */
  frameHead(length: number, type: number, flags: number, streamId: number): void {
    const scratch = this.reserve(frameHeadBytes);
    writeFrameHead(scratch, this.#end, length, type, flags, streamId);
    this.#end += frameHeadBytes;
  }

  bytes(source: Uint8Array): void {
    this.reserve(source.length).set(source, this.#end);
    this.#end += source.length;
  }

  settings(payload: Uint8Array): void {
    this.frameHead(payload.length, frameType.settings, 0, 0);
    this.bytes(payload);
  }

  settingsAck(): void {
    this.frameHead(0, frameType.settings, frameFlag.ack, 0);
  }

  /** @param source eight bytes from `at`. */
  pingAck(source: Uint8Array, at: number): void {
    this.frameHead(8, frameType.ping, frameFlag.ack, 0);
    this.bytes(source.subarray(at, at + 8));
  }

  ping(high: number, low: number): void {
    this.frameHead(8, frameType.ping, 0, 0);
    this.#uint32(high);
    this.#uint32(low);
  }

  rstStream(streamId: number, errorCode: number): void {
    this.frameHead(4, frameType.rstStream, 0, streamId);
    this.#uint32(errorCode);
  }

  windowUpdate(streamId: number, increment: number): void {
    this.frameHead(4, frameType.windowUpdate, 0, streamId);
    this.#uint32(increment);
  }

  goAway(lastStreamId: number, errorCode: number, debug: Uint8Array): void {
    this.frameHead(8 + debug.length, frameType.goAway, 0, 0);
    this.#uint32(lastStreamId);
    this.#uint32(errorCode);
    this.bytes(debug);
  }

  #uint32(value: number): void {
    const scratch = this.reserve(4);
    writeUint32(scratch, this.#end, value);
    this.#end += 4;
  }

  beginTaking(): void {
    this.#views.length = 0;
    this.#takenBytes = 0;
    if (this.#start === this.#end) {
      this.#start = 0;
      this.#end = 0;
    }
    this.#taking = true;
  }

  /** Passes memory of the caller's through, in its place among the frames. */
  reference(payload: Uint8Array): void {
    this.#flush(this.#end);
    this.#views.push(payload);
    this.#takenBytes += payload.length;
  }

  /** @param maxBytes most of the scratch part that is handed out; the rest stays for the next taking. */
  endTaking(maxBytes: number): readonly Uint8Array[] {
    this.#flush(Math.min(this.#end, this.#start + maxBytes));
    if (this.#start === this.#end) this.provokedFrames = 0;
    this.#taking = false;
    return this.#views;
  }

  isScratch(chunk: Uint8Array): boolean {
    return chunk.buffer === this.#scratch.buffer;
  }

  /** The caller is done with the views: do not keep its memory alive. */
  forgetViews(): void {
    if (this.#views.length > 0) this.#views.length = 0;
  }

  #flush(to: number): void {
    if (to <= this.#start) return;
    // Half the price of `subarray`, and the busiest allocation of a tunnel.
    this.#views.push(new Uint8Array(this.#memory, this.#start, to - this.#start));
    this.#takenBytes += to - this.#start;
    this.#start = to;
  }

  /** To a fresh buffer: views of the old one stay as they are. */
  #grow(bytes: number): void {
    const pending = this.#end - this.#start;
    let capacity = Math.max(firstScratchBytes, this.#scratch.length);
    while (capacity < pending + bytes) capacity *= 2;
    const memory = new ArrayBuffer(capacity);
    const scratch = new Uint8Array(memory);
    scratch.set(this.#scratch.subarray(this.#start, this.#end));
    this.#memory = memory;
    this.#scratch = scratch;
    this.#start = 0;
    this.#end = pending;
  }

  /** Lets go of scratch memory that a burst made large. */
  shrink(): void {
    if (this.#start !== this.#end || this.#scratch.length <= idleScratchBytes) return;
    this.#scratch = empty;
    this.#memory = noMemory;
    this.#start = 0;
    this.#end = 0;
    this.#views.length = 0;
  }
}
