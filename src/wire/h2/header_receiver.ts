import { assert } from "../../base/assert.ts";
import type { ConnectionState } from "./connection_state.ts";
import { h2ErrorCode } from "./error_code.ts";
import { frameFlag, readUint31 } from "./frame.ts";
import {
  declaredContentBytes,
  type HeaderFields,
  headerValue,
  requestFault,
  responseFault,
  trailersFault,
} from "./headers.ts";
import type { H2StreamEvents } from "./stream.ts";
import { type StreamOwner, StreamState } from "./stream_state.ts";
import { ended } from "./stream_table.ts";

/** Stands in for the application's events until `onRequest` has set them. */
const unset: H2StreamEvents = {
  onHeaders: () => {},
  onData: () => {},
  onTrailers: () => {},
  onReset: () => {},
  onWritable: () => {},
  onClose: () => {},
};

/** HEADERS and CONTINUATION: gathers a block, decodes it, and says what it is (RFC 9113 §4.3, §8.1). */
export class HeaderReceiver {
  readonly #state: ConnectionState;
  readonly #owner: StreamOwner;
  /** The stream whose block is not complete; 0 when none is. */
  #blockStreamId = 0;
  #blockEndsStream = false;
  #blockDependsOnItself = false;
  /** Fragments so far, when there is more than one. */
  #block: Uint8Array | null = null;
  #blockBytes = 0;
  #continuations = 0;

  constructor(state: ConnectionState, owner: StreamOwner) {
    this.#state = state;
    this.#owner = owner;
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
    this.#blockDependsOnItself = false;
    if (flags & frameFlag.priority) {
      this.#blockDependsOnItself = at + 4 <= to && readUint31(source, at) === streamId;
      at += 5;
    }
    if (at > end) {
      this.#state.fail(h2ErrorCode.protocolError, "HEADERS with more padding than frame");
      return;
    }
    this.#blockEndsStream = (flags & frameFlag.endStream) !== 0;
    if (flags & frameFlag.endHeaders) {
      this.#complete(streamId, source, at, end);
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
    if (block !== null) this.#complete(streamId, block, 0, bytes);
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

  /** A whole block. It is decoded whatever becomes of it: the table of the connection depends on it. */
  #complete(streamId: number, source: Uint8Array, from: number, to: number): void {
    const state = this.#state;
    const fields = state.decoder.decode(source, from, to, state.limits.maxHeaderListBytes);
    if ("compressionError" in fields) {
      state.fail(h2ErrorCode.compressionError, fields.compressionError);
      return;
    }
    const stream = state.streams.get(streamId);
    if (stream !== undefined) {
      if (this.#isAcceptable(streamId)) this.#onStream(stream, fields);
    } else if (state.role === "server" && streamId > state.streams.lastId)
      this.#onNewStream(streamId, fields);
    else this.#onClosedStream(streamId);
  }

  /** What is wrong with a block whatever it says. */
  #isAcceptable(streamId: number): boolean {
    const { decoder, limits } = this.#state;
    if (decoder.listBytes > limits.maxHeaderListBytes) {
      this.#state.failStream(streamId, h2ErrorCode.enhanceYourCalm, "header list too large");
    } else if (decoder.malformed) {
      this.#state.failStream(
        streamId,
        h2ErrorCode.protocolError,
        "a field name or value has a forbidden character",
      );
    } else if (this.#blockDependsOnItself) {
      // RFC 7540 §5.3.1; RFC 9113 says nothing any more, and nobody sends it in good faith.
      this.#state.failStream(streamId, h2ErrorCode.protocolError, "a stream depends on itself");
    } else return true;
    return false;
  }

  #onNewStream(streamId: number, fields: HeaderFields): void {
    const state = this.#state;
    // Drained: the peer has been told that these are not looked at, and may try them elsewhere (RFC 9113 §6.8).
    if (streamId > state.lastAcceptedId) return;
    state.streams.lastId = streamId;
    if (state.streams.openCount >= state.limits.maxConcurrentStreams) {
      state.failStream(streamId, h2ErrorCode.refusedStream, "too many concurrent streams");
      return;
    }
    if (!this.#isAcceptable(streamId)) return;
    const fault = requestFault(fields, state.localSettings.enableConnectProtocol);
    if (fault !== null) {
      state.failStream(streamId, h2ErrorCode.protocolError, fault);
      return;
    }
    const contentBytes = headerValue(fields, ":method") === "CONNECT" ? -1 : declaredContentBytes(fields);
    if (contentBytes === -2 || (contentBytes > 0 && this.#blockEndsStream)) {
      state.failStream(streamId, h2ErrorCode.protocolError, "content-length does not hold");
      return;
    }
    const stream = new StreamState(
      this.#owner,
      streamId,
      unset,
      state.remoteSettings.initialWindowBytes,
      state.localSettings.initialWindowBytes,
    );
    stream.contentRemaining = contentBytes;
    stream.remoteEnded = this.#blockEndsStream;
    state.streams.add(stream);
    state.events.onRequest(stream, fields, this.#blockEndsStream);
    assert(stream.events !== unset || stream.closed, "onRequest left a stream without events");
  }

  #onStream(stream: StreamState, fields: HeaderFields): void {
    const state = this.#state;
    if (stream.remoteEnded) {
      state.failStream(stream.id, h2ErrorCode.streamClosed, "HEADERS after the end");
      return;
    }
    if (state.role === "client" && !stream.answered) {
      this.#onResponse(stream, fields);
      return;
    }
    // Without END_STREAM they would be neither a response nor trailers (RFC 9113 §8.1).
    const fault = this.#blockEndsStream ? trailersFault(fields) : "HEADERS in the middle of the content";
    if (fault !== null) {
      state.failStream(stream.id, h2ErrorCode.protocolError, fault);
      return;
    }
    if (stream.contentRemaining > 0) {
      state.failStream(stream.id, h2ErrorCode.protocolError, "less content than content-length");
      return;
    }
    stream.remoteEnded = true;
    stream.events.onTrailers(fields);
    state.closeIfEnded(stream);
  }

  #onResponse(stream: StreamState, fields: HeaderFields): void {
    const state = this.#state;
    const fault = responseFault(fields);
    if (fault !== null) {
      state.failStream(stream.id, h2ErrorCode.protocolError, fault);
      return;
    }
    const status = fields[1] ?? "";
    const interim = status.charCodeAt(0) === 0x31;
    if (interim && this.#blockEndsStream) {
      state.failStream(stream.id, h2ErrorCode.protocolError, "an interim response ends the stream");
      return;
    }
    if (!interim) {
      stream.answered = true;
      const contentBytes = declaredContentBytes(fields);
      const hasContent = !stream.isHead && status !== "204" && status !== "304";
      if (contentBytes === -2 || (contentBytes > 0 && hasContent && this.#blockEndsStream)) {
        state.failStream(stream.id, h2ErrorCode.protocolError, "content-length does not hold");
        return;
      }
      if (hasContent && !stream.isConnect) stream.contentRemaining = contentBytes;
    }
    stream.remoteEnded = this.#blockEndsStream;
    stream.events.onHeaders(fields, this.#blockEndsStream);
    state.closeIfEnded(stream);
  }

  #onClosedStream(streamId: number): void {
    const state = this.#state;
    if (state.role === "client" && state.streams.isIdle(streamId)) {
      state.fail(h2ErrorCode.protocolError, "HEADERS on a stream nobody opened");
      return;
    }
    switch (state.streams.howEnded(streamId)) {
      case ended.resetByUs:
      case ended.forgotten:
        // In flight when our RST_STREAM went out (RFC 9113 §5.1, closed).
        return;
      case ended.resetByPeer:
        state.failStream(streamId, h2ErrorCode.streamClosed, "HEADERS after RST_STREAM");
        return;
      case ended.normally:
        state.fail(h2ErrorCode.streamClosed, "HEADERS on a closed stream");
        return;
      default:
        state.fail(h2ErrorCode.protocolError, "a stream number below one already used");
        return;
    }
  }
}
