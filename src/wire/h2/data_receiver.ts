import type { ConnectionState } from "./connection_state.ts";
import { h2ErrorCode } from "./error_code.ts";
import { frameFlag } from "./frame.ts";
import type { FrameReader } from "./frame_reader.ts";
import type { StreamOwner, StreamState } from "./stream_state.ts";
import { ended } from "./stream_table.ts";

/** DATA (RFC 9113 §6.1): counted, checked against content-length, and handed on as it arrives. */
export class DataReceiver {
  readonly #state: ConnectionState;
  readonly #owner: StreamOwner;
  /** Whose frame is coming in; null when it is only counted and dropped. */
  #stream: StreamState | null = null;

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
      state.fail(h2ErrorCode.protocolError, "DATA on a stream nobody opened");
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
    if (length === 0 && (reader.flags & frameFlag.endStream) === 0) state.charge("emptyData");
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

  /** Padding is nobody's to consume. */
  onPadding(reader: FrameReader, bytes: number): void {
    const stream = this.#stream;
    if (stream === null) return;
    // Padding alone is an empty frame by another name.
    if (bytes === reader.length && (reader.flags & frameFlag.endStream) === 0)
      this.#state.charge("emptyData");
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
    if (endStream) stream.remoteEnded = true;
    stream.events.onData(bytes, endStream);
    if (endStream) this.#state.closeIfEnded(stream);
  }
}
