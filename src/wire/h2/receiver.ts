import { MeshError } from "../../base/errors.ts";
import type { ConnectionState } from "./connection_state.ts";
import type { DataReceiver } from "./data_receiver.ts";
import { h2ErrorCode, h2ErrorName, peerFault } from "./error_code.ts";
import { frameFlag, frameType, maxWindowBytes, readUint31, readUint32 } from "./frame.ts";
import type { FrameReader, FrameSink } from "./frame_reader.ts";
import type { HeaderReceiver } from "./header_receiver.ts";
import type { Liveness } from "./liveness.ts";
import { settingBytes } from "./settings.ts";
import type { SettingsExchange } from "./settings_exchange.ts";
import { ended } from "./stream_table.ts";

/** The receiving half: what each frame may be, and what it does (RFC 9113 §5, §6). */
export class Receiver implements FrameSink {
  readonly #state: ConnectionState;
  readonly #data: DataReceiver;
  readonly #headers: HeaderReceiver;
  readonly #settings: SettingsExchange;
  readonly #liveness: Liveness;

  constructor(
    state: ConnectionState,
    data: DataReceiver,
    headers: HeaderReceiver,
    settings: SettingsExchange,
    liveness: Liveness,
  ) {
    this.#state = state;
    this.#data = data;
    this.#headers = headers;
    this.#settings = settings;
    this.#liveness = liveness;
  }

  get stopped(): boolean {
    return this.#state.closed;
  }

  get tired(): boolean {
    return this.#state.work >= this.#state.limits.workPerReceive;
  }

  onFrameHead(reader: FrameReader): number {
    const { type, streamId, length } = reader;
    const state = this.#state;
    state.work++;
    if (length > Math.max(state.localSettings.maxFrameBytes, this.#settings.pendingMaxFrameBytes)) {
      return this.#fail(h2ErrorCode.frameSizeError, "frame larger than SETTINGS_MAX_FRAME_SIZE");
    }
    if (!state.remoteSettingsSeen && (type !== frameType.settings || (reader.flags & frameFlag.ack) !== 0)) {
      return this.#fail(h2ErrorCode.protocolError, "the first frame is not SETTINGS");
    }
    const expected = this.#headers.expectedStreamId;
    if (
      expected !== 0
        ? type !== frameType.continuation || streamId !== expected
        : type === frameType.continuation
    ) {
      return this.#fail(h2ErrorCode.protocolError, "CONTINUATION missing or out of place");
    }
    if (type === frameType.data) {
      this.#data.onHead(reader);
      return 0;
    }
    return this.#wantedBytes(type, streamId, reader.flags, length);
  }

  /** Length and stream of everything but DATA. @returns how much of the payload matters. */
  #wantedBytes(type: number, streamId: number, flags: number, length: number): number {
    switch (type) {
      case frameType.headers:
      case frameType.continuation:
        if (streamId === 0 || (streamId & 1) === 0)
          return this.#fail(h2ErrorCode.protocolError, "HEADERS on a stream that no client can open");
        if (length > this.#state.limits.maxHeaderBlockBytes)
          return this.#fail(h2ErrorCode.enhanceYourCalm, "header block too large");
        return length;
      case frameType.priority:
        return this.#fixedLength(length, 5, streamId !== 0);
      case frameType.rstStream:
        return this.#fixedLength(length, 4, streamId !== 0 && !this.#state.isIdle(streamId));
      case frameType.settings:
        if ((flags & frameFlag.ack) !== 0) return this.#fixedLength(length, 0, streamId === 0);
        if (length % settingBytes !== 0) return this.#fail(h2ErrorCode.frameSizeError, "SETTINGS length");
        if (length > settingBytes * this.#state.limits.maxSettingsEntries)
          return this.#fail(h2ErrorCode.enhanceYourCalm, "too many settings");
        return this.#fixedLength(length, length, streamId === 0);
      case frameType.ping:
        return this.#fixedLength(length, 8, streamId === 0);
      case frameType.goAway:
        if (length < 8) return this.#fail(h2ErrorCode.frameSizeError, "GOAWAY length");
        this.#fixedLength(length, length, streamId === 0);
        return 8 + this.#state.limits.maxGoAwayDebugBytes;
      case frameType.windowUpdate:
        return this.#fixedLength(length, 4, streamId === 0 || !this.#state.isIdle(streamId));
      case frameType.pushPromise:
        // We never allow push, and clients cannot (RFC 9113 §8.4).
        return this.#fail(h2ErrorCode.protocolError, "PUSH_PROMISE");
      default:
        // Unknown types are ignored (RFC 9113 §5.5).
        return 0;
    }
  }

  #fixedLength(length: number, wanted: number, streamAllowed: boolean): number {
    if (length !== wanted) return this.#fail(h2ErrorCode.frameSizeError, "frame of a wrong length");
    if (!streamAllowed) return this.#fail(h2ErrorCode.protocolError, "frame on a stream it cannot be on");
    return length;
  }

  #fail(errorCode: number, message: string): 0 {
    this.#state.fail(errorCode, message);
    return 0;
  }

  onFrame(reader: FrameReader, source: Uint8Array, from: number, to: number): void {
    // A head that ended the connection has no payload to speak of.
    if (this.#state.closed) return;
    const { type, flags, streamId } = reader;
    switch (type) {
      case frameType.headers:
        this.#beforeOthers(to - from);
        this.#headers.onHeaders(streamId, flags, source, from, to);
        break;
      case frameType.continuation:
        this.#beforeOthers(to - from);
        this.#headers.onContinuation(streamId, flags, source, from, to);
        break;
      case frameType.rstStream:
        this.#beforeOthers(to - from);
        this.#onRstStream(streamId, readUint32(source, from));
        break;
      case frameType.settings:
        if ((flags & frameFlag.ack) !== 0) this.#settings.onAck();
        else this.#settings.onRemote(source, from, to);
        break;
      case frameType.ping:
        this.#onPing(flags, source, from);
        break;
      case frameType.goAway:
        this.#data.deliverGathered();
        this.#onGoAway(readUint31(source, from), readUint32(source, from + 4), source.slice(from + 8, to));
        break;
      case frameType.windowUpdate:
        this.#onWindowUpdate(streamId, readUint31(source, from));
        break;
      case frameType.priority:
        this.#onPriority(streamId, readUint31(source, from));
        break;
      default:
        this.#state.charge("ignoredFrames");
    }
    this.#checkQueue();
  }

  /** What came before on any stream is told before a frame that may say how the stream goes on, or make the application work. */
  #beforeOthers(bytes: number): void {
    this.#state.work += this.#state.limits.headerBlockWork + (bytes >>> 5);
    this.#data.deliverGathered();
  }

  /** Output that waits for a peer that provokes it and does not read (CVE-2019-9512, -9515). */
  #checkQueue(): void {
    const { output, limits } = this.#state;
    if (
      output.provokedFrames > limits.maxProvokedFrames ||
      output.pendingBytes > limits.maxQueuedControlBytes
    ) {
      this.#state.fail(h2ErrorCode.enhanceYourCalm, "the peer does not read its answers");
    }
  }

  onPadding(reader: FrameReader, bytes: number): void {
    this.#data.onPadding(reader, bytes);
  }

  onPaddingError(): void {
    this.#state.fail(h2ErrorCode.protocolError, "DATA with more padding than frame");
  }

  onData(_reader: FrameReader, bytes: Uint8Array, endStream: boolean): void {
    this.#data.onData(bytes, endStream);
  }

  #onRstStream(streamId: number, errorCode: number): void {
    const state = this.#state;
    const stream = state.streams.get(streamId);
    if (stream === undefined) {
      state.charge("ignoredFrames");
      return;
    }
    // Asked for and taken back before there was an answer: work for us, nothing for the peer (CVE-2023-44487).
    if (state.role === "server" && !stream.answered && !state.charge("earlyResets")) return;
    const error = new MeshError("h2_reset", "peer", `reset by the peer: ${h2ErrorName(errorCode)}`);
    state.abandon(stream, ended.resetByPeer, errorCode, "remote", error);
  }

  #onPing(flags: number, source: Uint8Array, at: number): void {
    if (!this.#state.charge("pings")) return;
    if ((flags & frameFlag.ack) !== 0) {
      this.#liveness.onPong(readUint32(source, at), readUint32(source, at + 4));
      return;
    }
    this.#state.output.provokedFrames++;
    this.#state.output.pingAck(source, at);
  }

  #onGoAway(lastStreamId: number, errorCode: number, debug: Uint8Array): void {
    const state = this.#state;
    state.events.onGoAway?.(lastStreamId, errorCode, debug);
    if (state.closed || state.role === "server") return;
    state.endsWhenIdle = true;
    // Those above were not looked at, so trying them again elsewhere is safe (RFC 9113 §8.7).
    for (const stream of state.streams.values()) {
      if (stream.id <= lastStreamId || stream.closed) continue;
      const error = peerFault(
        h2ErrorCode.refusedStream,
        `the peer is going away (${h2ErrorName(errorCode)})`,
      );
      state.abandon(stream, ended.resetByPeer, h2ErrorCode.refusedStream, "remote", error);
    }
    state.endIfIdle();
  }

  #onWindowUpdate(streamId: number, increment: number): void {
    if (!this.#state.charge("windowUpdates")) return;
    if (streamId === 0) {
      this.#onConnectionWindow(increment);
      return;
    }
    const state = this.#state;
    const stream = state.streams.get(streamId);
    // Common for a while after the end (RFC 9113 §5.1, closed).
    if (stream === undefined) return;
    stream.sendWindowBytes += increment;
    if (increment === 0) {
      state.failStream(streamId, h2ErrorCode.protocolError, "WINDOW_UPDATE of 0");
    } else if (stream.sendWindowBytes > maxWindowBytes) {
      state.failStream(streamId, h2ErrorCode.flowControlError, "stream window above 2^31-1");
    } else state.scheduler.update(stream);
  }

  #onConnectionWindow(increment: number): void {
    const state = this.#state;
    state.scheduler.windowBytes += increment;
    if (increment === 0) state.fail(h2ErrorCode.protocolError, "WINDOW_UPDATE of 0");
    else if (state.scheduler.windowBytes > maxWindowBytes) {
      state.fail(h2ErrorCode.flowControlError, "connection window above 2^31-1");
    }
  }

  /** Read for its errors, then ignored (RFC 9113 §5.3.2). */
  #onPriority(streamId: number, dependsOn: number): void {
    if (dependsOn === streamId) this.#state.fail(h2ErrorCode.protocolError, "a stream depends on itself");
    else this.#state.charge("ignoredFrames");
  }
}
