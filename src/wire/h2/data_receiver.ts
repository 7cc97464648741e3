import type { ConnectionState } from "./connection_state.ts";
import { h2ErrorCode } from "./error_code.ts";
import { frameFlag } from "./frame.ts";
import type { FrameReader } from "./frame_reader.ts";
import type { StreamOwner, StreamState } from "./stream_state.ts";
import { ended } from "./stream_table.ts";

/** DATA (RFC 9113 §6.1): counted, checked against content-length, and handed on as it arrives, small pieces together. */
export class DataReceiver {
  readonly #state: ConnectionState;
  readonly #owner: StreamOwner;
  /** Whose frame is coming in; null when it is only counted and dropped. */
  #stream: StreamState | null = null;
  /** Streams with small pieces that are not told yet. */
  readonly #gathering: StreamState[] = [];

  constructor(state: ConnectionState, owner: StreamOwner) {
    this.#state = state;
    this.#owner = owner;
  }

  /** A frame begins: both windows are charged for all of it, padding included (RFC 9113 §6.1, §6.9). */
  onHead(reader: FrameReader): void {
    const state = this.#state;
    const { streamId, length } = reader;
    this.#stream = null;
    if (state.isIdle(streamId)) {
      state.fail(h2ErrorCode.protocolError, "DATA on a stream that was never opened");
      return;
    }
    // Counted for the connection whatever becomes of it (RFC 9113 §6.9).
    if (!state.receiveWindow.take(length)) {
      state.fail(h2ErrorCode.flowControlError, "connection window exceeded");
      return;
    }
    const stream = state.streams.get(streamId);
    if (stream === undefined) this.#onClosed(streamId);
    else if (stream.remoteEnded) state.failStream(streamId, h2ErrorCode.streamClosed, "DATA after the end");
    else if (state.role === "client" && !stream.answered) {
      state.failStream(streamId, h2ErrorCode.protocolError, "DATA before the response");
    } else if (!stream.receiveWindow.take(length)) {
      state.failStream(streamId, h2ErrorCode.flowControlError, "stream window exceeded");
    } else {
      this.#stream = stream;
      stream.unconsumedBytes += length;
    }
    if (this.#stream === null) state.returnToConnection(length);
    if ((reader.flags & (frameFlag.endStream | frameFlag.padded)) !== 0) return;
    if (length === 0) state.charge("emptyData");
    // Whoever used up the window we gave could not send more.
    else if (length < state.limits.tinyDataBytes && (stream?.receiveWindow.availableBytes ?? 1) > 0)
      state.charge("tinyData");
  }

  #onClosed(streamId: number): void {
    const how = this.#state.streams.howEnded(streamId);
    // In flight when our RST_STREAM or GOAWAY went out.
    if (how === ended.resetByUs || how === ended.forgotten || streamId > this.#state.lastAcceptedId) return;
    // After END_STREAM both ways the peer knows better (RFC 9113 §5.1, closed); a crossing RST_STREAM is no crime.
    if (how === ended.resetByPeer) {
      this.#state.failStream(streamId, h2ErrorCode.streamClosed, "DATA after RST_STREAM");
    } else this.#state.fail(h2ErrorCode.streamClosed, "DATA on a closed stream");
  }

  /** No application consumes padding. */
  onPadding(reader: FrameReader, bytes: number): void {
    const stream = this.#stream;
    if (stream === null) return;
    // Padding alone is an empty frame by another name, and padding makes no tiny frame large.
    const contentBytes = reader.length - bytes;
    if (contentBytes < this.#state.limits.tinyDataBytes && (reader.flags & frameFlag.endStream) === 0)
      this.#state.charge(contentBytes === 0 ? "emptyData" : "tinyData");
    this.#owner.consumed(stream, bytes);
  }

  onData(bytes: Uint8Array, endStream: boolean): void {
    const stream = this.#stream;
    if (stream === null || stream.closed || (bytes.length === 0 && !endStream)) return;
    if (stream.contentRemaining >= 0) {
      stream.contentRemaining -= bytes.length;
      if (stream.contentRemaining < 0 || (endStream && stream.contentRemaining > 0)) {
        this.#state.failStream(stream.id, h2ErrorCode.protocolError, "content-length does not hold");
        return;
      }
    }
    if (!endStream && bytes.length < this.#state.limits.gatherBelowBytes) {
      this.#gather(stream, bytes);
      return;
    }
    if (stream.gathered !== null) this.#deliver(stream);
    if (stream.closed) return;
    if (endStream) stream.remoteEnded = true;
    stream.events.onData(bytes, endStream);
    if (endStream) this.#state.closeIfEnded(stream);
  }

  /** One small piece in a read is the common case: it makes no list. */
  #gather(stream: StreamState, bytes: Uint8Array): void {
    if (stream.gathered === null) {
      stream.gathered = bytes;
      this.#gathering.push(stream);
    } else if (stream.gatheredMore === null) stream.gatheredMore = [bytes];
    else stream.gatheredMore.push(bytes);
  }

  /** What is left of this `receive`, each stream's in one piece. Streams may end, and more may be said, from within. */
  deliverGathered(): void {
    const { length } = this.#gathering;
    if (length === 0) return;
    const only = length === 1 ? this.#gathering.pop() : undefined;
    if (only !== undefined) this.#deliver(only);
    else for (const stream of this.#gathering.splice(0)) this.#deliver(stream);
  }

  #deliver(stream: StreamState): void {
    const { gathered, gatheredMore } = stream;
    stream.gathered = null;
    stream.gatheredMore = null;
    if (stream.closed || gathered === null) return;
    stream.events.onData(gatheredMore === null ? gathered : joined(gathered, gatheredMore), false);
  }
}

function joined(first: Uint8Array, more: readonly Uint8Array[]): Uint8Array {
  let length = first.length;
  for (const piece of more) length += piece.length;
  const whole = new Uint8Array(length);
  whole.set(first);
  let at = first.length;
  for (const piece of more) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
