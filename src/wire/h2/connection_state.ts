import { MeshError } from "../../base/errors.ts";
import type { h2Limits } from "../../base/limits/h2.ts";
import { HpackDecoder } from "../hpack/decoder.ts";
import { HpackEncoder } from "../hpack/encoder.ts";
import { h2ErrorCode, peerFault } from "./error_code.ts";
import { FloodGuard, type FloodKind, type FloodLimits } from "./flood.ts";
import { ReceiveWindow } from "./flow.ts";
import { defaultWindowBytes } from "./frame.ts";
import type { HeaderFields } from "./headers.ts";
import { Output } from "./output.ts";
import { Scheduler } from "./scheduler.ts";
import { defaultSettings, type H2Settings } from "./settings.ts";
import type { H2Stream, ResetInitiator } from "./stream.ts";
import type { StreamState } from "./stream_state.ts";
import { ended, StreamTable } from "./stream_table.ts";

export type H2Limits = {
  readonly [K in keyof typeof h2Limits]: (typeof h2Limits)[K] extends number ? number : FloodLimits;
};

/** What happens to a connection as a whole. */
export interface H2ConnectionEvents {
  /** Server: a request's headers are complete and valid. Set `stream.events` before returning, or reset the stream. */
  onRequest(stream: H2Stream, headers: HeaderFields, endStream: boolean): void;
  /**
   * There is output to take now, and there was none before, or the connection is over. May be called from inside any method but the
   * constructor: the driver schedules a flush. A new connection has output from the start.
   */
  onOutputReady(): void;
  onRemoteSettings?(settings: H2Settings): void;
  onGoAway?(lastStreamId: number, errorCode: number, debug: Uint8Array): void;
  onPong?(roundTripMs: number): void;
  /** The connection is over; every open stream got `onReset` before. Null for an orderly end. */
  onClose(error: MeshError | null): void;
}

/** Where the bytes of the connection's receive window are (RFC 9113 §6.9): `granted = available + pending + held`, always. */
export interface WindowAccount {
  readonly grantedBytes: number;
  /** What the peer may still send. */
  readonly availableBytes: number;
  /** Consumed here, to be given back with the next WINDOW_UPDATE. */
  readonly pendingBytes: number;
  /** Received, and neither consumed nor given up by the owner of its stream. */
  readonly heldBytes: number;
}

const textEncoder = new TextEncoder();

/** What the halves of a connection share, and the few acts that touch all of it. */
export class ConnectionState {
  readonly role: "client" | "server";
  readonly limits: H2Limits;
  readonly events: H2ConnectionEvents;
  readonly output = new Output();
  readonly scheduler: Scheduler;
  readonly streams: StreamTable;
  readonly flood: FloodGuard;
  readonly encoder: HpackEncoder;
  readonly decoder = new HpackDecoder();
  readonly receiveWindow: ReceiveWindow;

  /** Ours, as far as the peer must obey them: a larger value at once, a smaller one from its acknowledgement on. */
  localSettings: H2Settings = defaultSettings;
  remoteSettings: H2Settings = defaultSettings;
  /** As last announced. Refusing above them needs no acknowledgement: a refused request may be tried again. */
  announcedSettings: H2Settings = defaultSettings;
  remoteSettingsSeen = false;
  /** Monotonic milliseconds of the last `receive` or `tick`. */
  now: number;
  /** Nothing is read or written any more but the output that is there. */
  closed = false;
  /** Server, draining: requests above it are not looked at. */
  lastAcceptedId = Number.POSITIVE_INFINITY;
  /** We or the peer said GOAWAY: the connection ends with its last stream. */
  endsWhenIdle = false;
  /** What the input of this `receive` has made us do so far, see `workPerReceive`. */
  work = 0;
  #announced = true;
  /** Streams that are over and whose owners still hold DATA that came on them. */
  readonly #holders = new Set<StreamState>();

  constructor(
    role: "client" | "server",
    limits: H2Limits,
    huffman: boolean,
    now: number,
    events: H2ConnectionEvents,
  ) {
    this.role = role;
    this.limits = limits;
    this.events = events;
    this.now = now;
    this.scheduler = new Scheduler(limits);
    this.streams = new StreamTable(limits.maxRememberedStreams);
    this.flood = new FloodGuard(limits.flood);
    this.encoder = new HpackEncoder({ maxTableBytes: limits.headerTableBytes, huffman });
    this.receiveWindow = new ReceiveWindow(Math.max(defaultWindowBytes, limits.connectionWindowBytes));
  }

  get wantsOutput(): boolean {
    return this.output.pendingBytes > 0 || (!this.closed && this.scheduler.ready);
  }

  /** Tells the driver once per stretch of output. At the end of every method that may have made some. */
  announce(): void {
    if (!this.wantsOutput) {
      // What was announced may have gone before it was taken: the peer reset the stream it was queued on.
      this.#announced = false;
      return;
    }
    if (this.#announced) return;
    this.#announced = true;
    this.events.onOutputReady();
  }

  /** Output was taken: whether there is still some decides when the driver is told again. */
  outputTaken(): void {
    this.#announced = this.wantsOutput;
  }

  /** A connection error of the peer's making (RFC 9113 §5.4.1): GOAWAY, then the end. */
  fail(errorCode: number, message: string): void {
    if (!this.closed) this.terminate(errorCode, "library", peerFault(errorCode, message), message);
  }

  /** @returns false, after ending the connection, when the peer has overdone it. */
  charge(kind: FloodKind): boolean {
    if (this.flood.charge(kind, this.now)) return true;
    this.fail(h2ErrorCode.enhanceYourCalm, `flood of ${kind}`);
    return false;
  }

  /** GOAWAY with a reason, then every stream is reset and the connection is over. */
  terminate(errorCode: number, initiator: ResetInitiator, error: MeshError | null, debug: string): void {
    if (this.closed) return;
    this.output.goAway(this.lastPeerId, errorCode, textEncoder.encode(debug));
    this.end(errorCode, initiator, error);
  }

  /** The connection is over, without a word to the peer. */
  end(errorCode: number, initiator: ResetInitiator, error: MeshError | null): void {
    if (this.closed) return;
    this.closed = true;
    const streams = this.streams.takeAll();
    for (const stream of streams) this.#detach(stream);
    this.#holders.clear();
    const cause =
      error ?? new MeshError("connection_closed", "local", "the connection was closed by this end");
    for (const stream of streams) stream.events.onReset(errorCode, initiator, cause);
    this.events.onClose(error);
    // Also when nothing is left to say, or what was said before is still waiting: the driver has an end to see to.
    this.#announced = true;
    this.events.onOutputReady();
  }

  /** What GOAWAY of ours names: the last request we looked at. A client has received none. */
  get lastPeerId(): number {
    return this.role === "server" ? Math.min(this.streams.lastId, this.lastAcceptedId) : 0;
  }

  /** Not used yet. What a drained server does not look at any more is not idle: its frames are dropped. */
  isIdle(id: number): boolean {
    return this.streams.isIdle(id) && ((id & 1) === 0 || id <= this.lastAcceptedId);
  }

  /** A stream error of the peer's making (RFC 9113 §5.4.2). `stream` may be closed or never have been made. */
  failStream(id: number, errorCode: number, message: string): void {
    if (this.closed || !this.charge("provokedResets")) return;
    this.output.provokedFrames++;
    this.output.rstStream(id, errorCode);
    const stream = this.streams.get(id);
    if (stream === undefined) this.streams.close(id, ended.resetByUs);
    else this.abandon(stream, ended.resetByUs, errorCode, "library", peerFault(errorCode, message));
  }

  /** Takes a stream that ended abnormally out of everything and tells its owner, who may still hold what it has not consumed. */
  abandon(
    stream: StreamState,
    how: number,
    errorCode: number,
    initiator: ResetInitiator,
    error: MeshError,
  ): void {
    if (stream.closed) return;
    this.streams.close(stream.id, how);
    // The peer's own may have crossed it.
    if (how === ended.resetByUs) this.flood.earn("ignoredFrames", 1);
    this.#detach(stream);
    // Our own reset says that nothing more is wanted, what came before it included.
    if (initiator === "user") stream.heldPastEnd = false;
    this.#settleWindow(stream);
    stream.events.onReset(errorCode, initiator, error);
    this.endIfIdle();
  }

  /** Both directions are through. */
  closeIfEnded(stream: StreamState): void {
    if (stream.closed || !stream.localEndSent || !stream.remoteEnded) return;
    this.streams.close(stream.id, ended.normally);
    // A server that answers before it has read the request says RST_STREAM behind the answer (RFC 9113 §8.1), and a client may cancel late.
    this.flood.earn("ignoredFrames", 1);
    this.#detach(stream);
    this.#settleWindow(stream);
    stream.events.onClose();
    this.endIfIdle();
  }

  endIfIdle(): void {
    if (this.endsWhenIdle && !this.closed && this.streams.openCount === 0) this.#endInOrder();
  }

  #endInOrder(): void {
    // The peer learns that nothing was lost (RFC 9113 §6.8); a draining server has said so already.
    if (this.lastAcceptedId === Number.POSITIVE_INFINITY) {
      this.terminate(h2ErrorCode.noError, "library", null, "");
    } else this.end(h2ErrorCode.noError, "library", null);
  }

  #detach(stream: StreamState): void {
    stream.closed = true;
    stream.queue = null;
    stream.queuedBytes = 0;
    stream.trailers = null;
    this.scheduler.update(stream);
  }

  /**
   * The window's account: what was granted is available to the peer, consumed and about to be given back, or held by a stream. It
   * is counted stream by stream, so that a byte that no stream accounts for shows.
   */
  get windowAccount(): WindowAccount {
    let heldBytes = 0;
    for (const stream of this.streams.values()) heldBytes += stream.unconsumedBytes;
    for (const stream of this.#holders) heldBytes += stream.unconsumedBytes;
    const { sizeBytes, availableBytes, pendingBytes } = this.receiveWindow;
    return { grantedBytes: sizeBytes, availableBytes, pendingBytes, heldBytes };
  }

  /** A stream is over: the connection's window gets back what no one holds any more. */
  #settleWindow(stream: StreamState): void {
    if (stream.unconsumedBytes === 0) return;
    if (stream.heldPastEnd) this.#holders.add(stream);
    else this.release(stream, stream.unconsumedBytes);
  }

  /** `bytes` of the stream's DATA are consumed, or of no use to its owner. */
  release(stream: StreamState, bytes: number): void {
    stream.unconsumedBytes -= bytes;
    if (stream.closed && stream.unconsumedBytes === 0) this.#holders.delete(stream);
    this.returnToConnection(bytes);
  }

  returnToConnection(bytes: number): void {
    if (this.closed) return;
    const increment = this.receiveWindow.release(bytes);
    if (increment > 0) this.output.windowUpdate(0, increment);
  }
}
