import { assert } from "../../base/assert.ts";
import { MeshError } from "../../base/errors.ts";
import type { ConnectionState } from "./connection_state.ts";
import { h2ErrorCode, h2ErrorName } from "./error_code.ts";
import { frameFlag, frameHeadBytes, frameType, writeFrameHead } from "./frame.ts";
import { type HeaderFields, isSuccess } from "./headers.ts";
import type { StreamOwner, StreamState } from "./stream_state.ts";
import { ended } from "./stream_table.ts";

/** The sending half: what the application says on streams, and taking output. */
export class Sender implements StreamOwner {
  readonly #state: ConnectionState;
  readonly highWaterBytes: number;
  /** Streams that are looked at at the end of the taking: writable again, through with both directions, or to be reset now. */
  readonly #told: StreamState[] = [];
  readonly #onSent = (stream: StreamState, bytes: number, isEnd: boolean) => this.#sent(stream, bytes, isEnd);

  constructor(state: ConnectionState) {
    this.#state = state;
    this.highWaterBytes = state.limits.highWaterBytes;
  }

  sendHeaders(stream: StreamState, headers: HeaderFields, endStream: boolean): void {
    const interim = headers[0] === ":status" && headers[1]?.charCodeAt(0) === 0x31;
    assert(!interim || !endStream, "an interim response cannot end the stream");
    if (!interim) {
      stream.answered = true;
      stream.isTunnel = stream.isConnect && isSuccess(headers[1]);
    }
    this.writeHeaders(stream.id, headers, endStream);
    if (endStream) {
      stream.localEnded = true;
      stream.localEndSent = true;
      this.#state.closeIfEnded(stream);
    }
    this.#state.announce();
  }

  sendQueued(stream: StreamState): void {
    if (stream.queuedBytes > 0) this.#state.scheduler.update(stream);
    else this.#sendEnd(stream);
    this.#state.announce();
  }

  consumed(stream: StreamState, bytes: number): void {
    const consumed = Math.min(bytes, stream.unconsumedBytes);
    if (consumed === 0 || this.#state.closed) return;
    this.#state.release(stream, consumed);
    if (!stream.closed && !stream.remoteEnded) {
      const increment = stream.receiveWindow.release(consumed);
      if (increment > 0) this.#state.output.windowUpdate(stream.id, increment);
    }
    this.#state.announce();
  }

  resetByUser(stream: StreamState, errorCode: number): void {
    if (stream.closed) {
      // It ended by itself before: what is left to say is that nothing of it is wanted any more.
      if (!this.#state.closed && stream.unconsumedBytes > 0)
        this.#state.release(stream, stream.unconsumedBytes);
      this.#state.announce();
      return;
    }
    this.#state.output.rstStream(stream.id, errorCode);
    const error = new MeshError("h2_reset", "local", `reset by this end: ${h2ErrorName(errorCode)}`);
    this.#state.abandon(stream, ended.resetByUs, errorCode, "user", error);
    this.#state.announce();
  }

  /** HEADERS, and CONTINUATION where the block is larger than the peer's frames (RFC 9113 §4.3). */
  writeHeaders(streamId: number, headers: HeaderFields, endStream: boolean): void {
    const { output, encoder } = this.#state;
    const scratch = output.reserve(frameHeadBytes + encoder.maxEncodedBytes(headers));
    const head = output.position;
    const from = head + frameHeadBytes;
    let to: number;
    try {
      to = encoder.encode(headers, scratch, from);
    } catch (error) {
      // A bug of ours above. The header table may be ahead of the peer's now, so nothing can follow.
      this.#state.terminate(h2ErrorCode.internalError, "library", null, "header fields cannot be encoded");
      throw error;
    }
    const flags = endStream ? frameFlag.endStream : 0;
    if (to - from <= this.#state.scheduler.maxFrameBytes) {
      writeFrameHead(scratch, head, to - from, frameType.headers, flags | frameFlag.endHeaders, streamId);
      output.commit(to);
    } else this.#writeFragments(streamId, flags, scratch.slice(from, to));
  }

  #writeFragments(streamId: number, flags: number, block: Uint8Array): void {
    const { output, scheduler } = this.#state;
    const size = scheduler.maxFrameBytes;
    for (let at = 0; at < block.length; at += size) {
      const fragment = block.subarray(at, at + size);
      const last = at + size >= block.length ? frameFlag.endHeaders : 0;
      if (at === 0) output.frameHead(fragment.length, frameType.headers, flags, streamId);
      else output.frameHead(fragment.length, frameType.continuation, last, streamId);
      output.bytes(fragment);
    }
  }

  /** The queue is empty and the application has said its last. */
  #sendEnd(stream: StreamState): void {
    if (stream.closed || !stream.localEnded || stream.localEndSent) return;
    stream.localEndSent = true;
    const trailers = stream.trailers;
    stream.trailers = null;
    if (trailers === null) this.#state.output.frameHead(0, frameType.data, frameFlag.endStream, stream.id);
    else this.writeHeaders(stream.id, trailers, true);
    this.#state.closeIfEnded(stream);
  }

  takeOutput(maxBytes: number): readonly Uint8Array[] {
    const { output, scheduler } = this.#state;
    output.beginTaking();
    if (!this.#state.closed && output.pendingBytes < maxBytes) {
      scheduler.fill(output, maxBytes, this.#onSent);
      // Trailers and window updates may have been added at the end, so the bound is that of the peer's largest frame.
      maxBytes = Number.POSITIVE_INFINITY;
    }
    // Before the taking ends: what owners add from within lands behind the views, not over them.
    if (this.#told.length > 0) this.#tell();
    const views = output.endTaking(maxBytes);
    this.#state.outputTaken();
    return views;
  }

  /** Owners are told when all frames are written, because they may send more from within. */
  #sent(stream: StreamState, bytes: number, isEnd: boolean): void {
    // An honest peer gives back what it read in pieces no smaller than this, on the stream and on the connection.
    this.#state.flood.earn("windowUpdates", 10 + (bytes >>> 9));
    // gRPC's libraries measure bandwidth and delay with one after DATA that they have read.
    this.#state.flood.earn("pings", 1);
    if (isEnd) stream.localEndSent = true;
    else if (stream.queuedBytes === 0 && stream.trailers !== null) this.#writeTrailers(stream);
    const writable = stream.wasAboveHighWater && stream.queuedBytes <= this.#state.limits.lowWaterBytes;
    if (writable || stream.localEndSent || stream.resetAfter !== null) this.#told.push(stream);
  }

  #writeTrailers(stream: StreamState): void {
    const trailers = stream.trailers ?? [];
    stream.trailers = null;
    stream.localEndSent = true;
    this.writeHeaders(stream.id, trailers, true);
  }

  #tell(): void {
    for (const stream of this.#told.splice(0)) {
      if (stream.closed) continue;
      if (stream.resetAfter !== null) {
        if (stream.queuedBytes === 0) this.resetByUser(stream, stream.resetAfter);
        continue;
      }
      if (stream.wasAboveHighWater && stream.queuedBytes <= this.#state.limits.lowWaterBytes) {
        stream.wasAboveHighWater = false;
        if (!stream.localEnded) stream.events.onWritable();
      }
      this.#state.closeIfEnded(stream);
    }
  }
}
