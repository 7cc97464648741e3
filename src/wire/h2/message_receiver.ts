import { assert } from "../../base/assert.ts";
import type { ConnectionState } from "./connection_state.ts";
import { h2ErrorCode } from "./error_code.ts";
import {
  declaredContentBytes,
  type HeaderFields,
  headerValue,
  isSuccess,
  requestFault,
  responseFault,
  trailersFault,
} from "./headers.ts";
import type { H2StreamEvents } from "./stream.ts";
import { type StreamOwner, StreamState } from "./stream_state.ts";
import { ended } from "./stream_table.ts";

/** In place of the application's events until `onRequest` has set them. */
const unset: H2StreamEvents = {
  onHeaders: () => {},
  onData: () => {},
  onTrailers: () => {},
  onReset: () => {},
  onWritable: () => {},
  onClose: () => {},
};

/** Whole header blocks: decodes each and says what it is, a request, a response, trailers, or an error (RFC 9113 §8.1). */
export class MessageReceiver {
  readonly #state: ConnectionState;
  readonly #owner: StreamOwner;
  #endsStream = false;
  #dependsOnItself = false;

  constructor(state: ConnectionState, owner: StreamOwner) {
    this.#state = state;
    this.#owner = owner;
  }

  /** The block is decoded whatever becomes of it: the table of the connection depends on it (RFC 9113 §4.3). */
  onBlock(
    streamId: number,
    block: { readonly endsStream: boolean; readonly dependsOnItself: boolean },
    source: Uint8Array,
    from: number,
    to: number,
  ): void {
    const state = this.#state;
    this.#endsStream = block.endsStream;
    this.#dependsOnItself = block.dependsOnItself;
    const fields = state.decoder.decode(source, from, to, state.announcedSettings.maxHeaderListBytes);
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
    const { decoder, announcedSettings } = this.#state;
    if (decoder.listBytes > announcedSettings.maxHeaderListBytes) {
      this.#state.failStream(streamId, h2ErrorCode.enhanceYourCalm, "header list too large");
    } else if (decoder.malformed) {
      this.#state.failStream(
        streamId,
        h2ErrorCode.protocolError,
        "a field name or value has a forbidden character",
      );
    } else if (this.#dependsOnItself) {
      // RFC 7540 §5.3.1; RFC 9113 says nothing any more, and no peer sends it in good faith.
      this.#state.failStream(streamId, h2ErrorCode.protocolError, "a stream depends on itself");
    } else return true;
    return false;
  }

  #onNewStream(streamId: number, fields: HeaderFields): void {
    const state = this.#state;
    // Drained: the peer has been told that these are not looked at, and may try them elsewhere (RFC 9113 §6.8).
    if (streamId > state.lastAcceptedId) return;
    state.streams.lastId = streamId;
    if (state.streams.openCount >= state.announcedSettings.maxConcurrentStreams) {
      state.failStream(streamId, h2ErrorCode.refusedStream, "too many concurrent streams");
      return;
    }
    if (!this.#isAcceptable(streamId)) return;
    const fault = requestFault(fields, state.localSettings.enableConnectProtocol);
    if (fault !== null) {
      state.failStream(streamId, h2ErrorCode.protocolError, fault);
      return;
    }
    const isConnect = headerValue(fields, ":method") === "CONNECT";
    const contentBytes = isConnect ? -1 : declaredContentBytes(fields);
    if (contentBytes === -2 || (contentBytes > 0 && this.#endsStream)) {
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
    // A message without a field is five bytes in gRPC: many requests and answers are one such frame.
    state.flood.earn("tinyData", 1);
    stream.isConnect = isConnect && headerValue(fields, ":protocol") === null;
    stream.remoteEnded = this.#endsStream;
    state.streams.add(stream);
    state.events.onRequest(stream, fields, this.#endsStream);
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
    if (stream.isTunnel) {
      state.failStream(stream.id, h2ErrorCode.protocolError, "HEADERS in a tunnel");
      return;
    }
    // Without END_STREAM they would be neither a response nor trailers (RFC 9113 §8.1).
    const fault = this.#endsStream ? trailersFault(fields) : "HEADERS in the middle of the content";
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
    if (interim && this.#endsStream) {
      state.failStream(stream.id, h2ErrorCode.protocolError, "an interim response ends the stream");
      return;
    }
    if (!interim) {
      stream.answered = true;
      stream.isTunnel = stream.isConnect && isSuccess(status);
      const hasContent = !stream.isHead && !stream.isTunnel && status !== "204" && status !== "304";
      const contentBytes = hasContent ? declaredContentBytes(fields) : -1;
      if (contentBytes === -2 || (contentBytes > 0 && this.#endsStream)) {
        state.failStream(stream.id, h2ErrorCode.protocolError, "content-length does not hold");
        return;
      }
      stream.contentRemaining = contentBytes;
      state.flood.earn("tinyData", 1);
    }
    stream.remoteEnded = this.#endsStream;
    stream.events.onHeaders(fields, this.#endsStream);
    state.closeIfEnded(stream);
  }

  #onClosedStream(streamId: number): void {
    const state = this.#state;
    if (state.role === "client" && state.streams.isIdle(streamId)) {
      state.fail(h2ErrorCode.protocolError, "HEADERS on a stream that was never opened");
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
