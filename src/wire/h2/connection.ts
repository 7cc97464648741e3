import { assert } from "../../base/assert.ts";
import { MeshError } from "../../base/errors.ts";
import { h2Limits } from "../../base/limits/h2.ts";
import type { Machine } from "../../base/machine.ts";
import {
  ConnectionState,
  type H2ConnectionEvents,
  type H2Limits,
  type WindowAccount,
} from "./connection_state.ts";
import { DataReceiver } from "./data_receiver.ts";
import { h2ErrorCode } from "./error_code.ts";
import { clientPreface, maxStreamId } from "./frame.ts";
import { FrameReader } from "./frame_reader.ts";
import { HeaderReceiver } from "./header_receiver.ts";
import { type HeaderFields, headerValue } from "./headers.ts";
import { type KeepAlive, Liveness } from "./liveness.ts";
import { MessageReceiver } from "./message_receiver.ts";
import { Receiver } from "./receiver.ts";
import { Sender } from "./sender.ts";
import type { H2Settings } from "./settings.ts";
import { SettingsExchange } from "./settings_exchange.ts";
import type { H2Stream, H2StreamEvents } from "./stream.ts";
import { StreamState } from "./stream_state.ts";

export interface H2Options {
  readonly role: "client" | "server";
  /** Monotonic milliseconds. */
  readonly now: number;
  /** Overrides of `h2Limits`, windows and frame size among them. */
  readonly limits?: Partial<H2Limits>;
  readonly keepAlive?: KeepAlive | null;
  /** Server: offer RFC 8441, `:protocol` in CONNECT. Off by default: HBONE does not use it. */
  readonly enableConnectProtocol?: boolean;
  /** Huffman-code header strings where that is shorter. Off by default: inside a data centre the bytes cost less than the coding, measured. */
  readonly huffman?: boolean;
}

/**
 * One HTTP/2 connection (RFC 9113), either end, without I/O. HBONE, gRPC and HTTP/2 through the waypoint run on it.
 *
 * A peer's error ends a stream (`onReset`) or the connection (`onClose`), never in an exception. Events may be answered
 * from within: every method may be called from every event.
 */
export class H2Connection implements Machine {
  readonly #state: ConnectionState;
  readonly #sender: Sender;
  readonly #settings: SettingsExchange;
  readonly #liveness: Liveness;
  readonly #data: DataReceiver;
  readonly #receiver: Receiver;
  readonly #reader = new FrameReader();
  /** Bytes of the client's preface that have come; a client waits for none. */
  #prefaceBytes: number;

  constructor(options: H2Options, events: H2ConnectionEvents) {
    const limits = options.limits === undefined ? h2Limits : completeLimits(options.limits);
    const state = new ConnectionState(options.role, limits, options.huffman ?? false, options.now, events);
    this.#state = state;
    this.#sender = new Sender(state);
    this.#settings = new SettingsExchange(state);
    this.#liveness = new Liveness(state, options.keepAlive ?? null);
    const headers = new HeaderReceiver(state, new MessageReceiver(state, this.#sender));
    this.#data = new DataReceiver(state, this.#sender);
    this.#receiver = new Receiver(state, this.#data, headers, this.#settings, this.#liveness);
    this.#prefaceBytes = options.role === "server" ? 0 : clientPreface.length;
    if (options.role === "client") state.output.bytes(clientPreface);
    this.#settings.begin(options.role === "server" && options.enableConnectProtocol === true);
  }

  /**
   * Client: opens a stream.
   *
   * @param endStream false for CONNECT, which ends when the tunnel does.
   * @returns null when none may be opened now: the peer's limit, GOAWAY, draining, or the end.
   */
  request(headers: HeaderFields, endStream: boolean, events: H2StreamEvents): H2Stream | null {
    const state = this.#state;
    assert(state.role === "client", "only clients open streams");
    if (!this.acceptsRequests || state.streams.openCount >= this.remoteMaxConcurrentStreams) return null;
    const id = state.streams.lastId === 0 ? 1 : state.streams.lastId + 2;
    state.streams.lastId = id;
    const method = headerValue(headers, ":method");
    const stream = new StreamState(
      this.#sender,
      id,
      events,
      state.remoteSettings.initialWindowBytes,
      state.localSettings.initialWindowBytes,
    );
    stream.isHead = method === "HEAD";
    stream.isConnect = method === "CONNECT" && headerValue(headers, ":protocol") === null;
    stream.localEnded = endStream;
    stream.localEndSent = endStream;
    state.streams.add(stream);
    this.#sender.writeHeaders(id, headers, endStream);
    state.announce();
    return stream;
  }

  get openStreams(): number {
    return this.#state.streams.openCount;
  }

  /** What the server allows; before it has said so, `assumedConcurrentStreams`. */
  get remoteMaxConcurrentStreams(): number {
    const { remoteSettingsSeen, remoteSettings, limits } = this.#state;
    return remoteSettingsSeen ? remoteSettings.maxConcurrentStreams : limits.assumedConcurrentStreams;
  }

  /** Client: whether new streams make sense on this connection at all; `request` also minds the peer's limit. */
  get acceptsRequests(): boolean {
    const { closed, endsWhenIdle, streams } = this.#state;
    return !closed && !endsWhenIdle && !this.#liveness.draining && streams.lastId < maxStreamId - 1;
  }

  /** For checks: the receive window must add up after every step. */
  get windowAccount(): WindowAccount {
    return this.#state.windowAccount;
  }

  get remoteSettings(): H2Settings {
    return this.#state.remoteSettings;
  }

  /** Abrupt: GOAWAY, every open stream is reset, `onClose(null)`. */
  goAway(errorCode: number, debug = ""): void {
    this.#state.terminate(errorCode, "user", null, debug);
  }

  /**
   * Orderly (RFC 9113 §6.8). Server: GOAWAY(2^31-1), a PING round trip, GOAWAY(last); later streams are ignored, and the
   * connection is over when the others have ended. Client: no new streams, over when there is none.
   */
  drain(): void {
    this.#liveness.drain();
    this.#state.announce();
  }

  /** `onPong` tells the time since the last call that brought the time with it. At most one is out. */
  ping(): void {
    if (this.#state.closed) return;
    this.#liveness.ping();
    this.#state.announce();
  }

  /** Sends what differs; in force when the peer has acknowledged it, as far as it allows less (RFC 9113 §6.5.3). */
  updateSettings(settings: Partial<Omit<H2Settings, "enablePush" | "enableConnectProtocol">>): void {
    if (this.#state.closed) return;
    this.#settings.send({ ...this.#state.announcedSettings, ...settings });
    this.#state.announce();
  }

  receive(bytes: Uint8Array, now: number): number {
    const state = this.#state;
    state.now = now;
    state.output.forgetViews();
    if (state.closed || bytes.length === 0) return bytes.length;
    this.#liveness.onReceive(now);
    state.work = 0;
    const from = this.#prefaceBytes < clientPreface.length ? this.#receivePreface(bytes) : 0;
    const to = this.#reader.push(bytes, from, this.#receiver);
    this.#data.deliverGathered();
    state.announce();
    return state.closed ? bytes.length : to;
  }

  /** RFC 9113 §3.4. @returns where the frames begin. */
  #receivePreface(bytes: Uint8Array): number {
    let at = 0;
    while (at < bytes.length && this.#prefaceBytes < clientPreface.length) {
      if (bytes[at] !== clientPreface[this.#prefaceBytes]) {
        this.#state.fail(h2ErrorCode.protocolError, "not the client connection preface");
        return bytes.length;
      }
      at++;
      this.#prefaceBytes++;
    }
    return at;
  }

  receiveEnd(now: number): void {
    const state = this.#state;
    state.now = now;
    if (state.closed) return;
    const clean = state.streams.openCount === 0 && this.#reader.atFrameBoundary;
    const error = clean
      ? null
      : new MeshError("connection_closed", "peer", "the peer closed the connection under open streams");
    state.end(h2ErrorCode.internalError, "remote", error);
  }

  get wantsOutput(): boolean {
    return this.#state.wantsOutput;
  }

  takeOutput(maxBytes: number): readonly Uint8Array[] {
    return this.#sender.takeOutput(maxBytes);
  }

  isScratch(chunk: Uint8Array): boolean {
    return this.#state.output.isScratch(chunk);
  }

  get deadlineMs(): number | null {
    if (this.#state.closed) return null;
    const settingsMs = this.#settings.deadlineMs;
    const livenessMs = this.#liveness.deadlineMs;
    if (settingsMs === null || livenessMs === null) return settingsMs ?? livenessMs;
    return Math.min(settingsMs, livenessMs);
  }

  tick(now: number): void {
    const state = this.#state;
    state.now = now;
    if (state.closed) return;
    const settingsMs = this.#settings.deadlineMs;
    if (settingsMs !== null && now >= settingsMs) {
      state.fail(h2ErrorCode.settingsTimeout, "SETTINGS were not acknowledged");
      return;
    }
    state.output.shrink();
    this.#liveness.tick(now);
    state.announce();
  }

  get done(): boolean {
    return this.#state.closed;
  }
}

/** One object for all connections with the same overrides: there are thousands of connections and few sets of limits. */
const completed = new WeakMap<Partial<H2Limits>, H2Limits>();

function completeLimits(overrides: Partial<H2Limits>): H2Limits {
  const known = completed.get(overrides);
  if (known !== undefined) return known;
  const limits = { ...h2Limits, ...overrides };
  completed.set(overrides, limits);
  return limits;
}
