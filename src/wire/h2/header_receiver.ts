import type { ConnectionState } from "./connection_state.ts";
import { h2ErrorCode } from "./error_code.ts";
import { frameFlag, readUint31 } from "./frame.ts";
import type { MessageReceiver } from "./message_receiver.ts";

/** HEADERS and CONTINUATION: takes padding and priority off, and gathers the block (RFC 9113 §4.3, §6.2, §6.10). */
export class HeaderReceiver {
  readonly #state: ConnectionState;
  readonly #messages: MessageReceiver;
  /** The stream whose block is not complete; 0 when none is. */
  #blockStreamId = 0;
  readonly #blockHead = { endsStream: false, dependsOnItself: false };
  /** Fragments so far, when there is more than one. */
  #block: Uint8Array | null = null;
  #blockBytes = 0;
  #continuations = 0;

  constructor(state: ConnectionState, messages: MessageReceiver) {
    this.#state = state;
    this.#messages = messages;
  }

  /** While it is not 0, only CONTINUATION on this stream may come (RFC 9113 §6.2). */
  get expectedStreamId(): number {
    return this.#blockStreamId;
  }

  /** The payload of HEADERS. */
  onHeaders(streamId: number, flags: number, source: Uint8Array, from: number, to: number): void {
    let at = from;
    let end = to;
    if (flags & frameFlag.padded) {
      end -= source[at] ?? 0;
      at += 1;
    }
    this.#blockHead.dependsOnItself = false;
    if (flags & frameFlag.priority) {
      this.#blockHead.dependsOnItself = at + 4 <= to && readUint31(source, at) === streamId;
      at += 5;
    }
    if (at > end) {
      this.#state.fail(h2ErrorCode.protocolError, "HEADERS with more padding than frame");
      return;
    }
    this.#blockHead.endsStream = (flags & frameFlag.endStream) !== 0;
    if (flags & frameFlag.endHeaders) {
      this.#messages.onBlock(streamId, this.#blockHead, source, at, end);
      return;
    }
    this.#blockStreamId = streamId;
    this.#continuations = 0;
    this.#append(source, at, end);
  }

  onContinuation(streamId: number, flags: number, source: Uint8Array, from: number, to: number): void {
    if (++this.#continuations > this.#state.limits.maxContinuationFrames) {
      this.#state.fail(h2ErrorCode.enhanceYourCalm, "too many CONTINUATION frames");
      return;
    }
    this.#append(source, from, to);
    if (this.#state.closed || (flags & frameFlag.endHeaders) === 0) return;
    const block = this.#block;
    const bytes = this.#blockBytes;
    this.#blockStreamId = 0;
    this.#block = null;
    this.#blockBytes = 0;
    if (block !== null) this.#messages.onBlock(streamId, this.#blockHead, block, 0, bytes);
  }

  #append(source: Uint8Array, from: number, to: number): void {
    const bytes = this.#blockBytes + to - from;
    if (bytes > this.#state.limits.maxHeaderBlockBytes) {
      this.#state.fail(h2ErrorCode.enhanceYourCalm, "header block too large");
      return;
    }
    if (this.#block === null || bytes > this.#block.length) {
      const larger = new Uint8Array(Math.max(bytes, (this.#block?.length ?? 0) * 2));
      if (this.#block !== null) larger.set(this.#block.subarray(0, this.#blockBytes));
      this.#block = larger;
    }
    this.#block.set(source.subarray(from, to), this.#blockBytes);
    this.#blockBytes = bytes;
  }
}
