import type { MeshError } from "../../base/errors.ts";
import type { HeaderFields } from "./headers.ts";

/** Who ended a stream: the application at this end, the engine at this end, or the peer. */
export type ResetInitiator = "user" | "library" | "remote";

/** What happens to one stream. Exactly one of `onReset` and `onClose` comes, and it is the last call. */
export interface H2StreamEvents {
  /** Client only: each interim (1xx) response and then the final one. */
  onHeaders(headers: HeaderFields, endStream: boolean): void;
  /**
   * DATA as it arrives, not frame by frame: a view into what `receive` was given, which belongs to the receiver, or several small
   * pieces in one.
   * Padding is left out. Every byte is to be given back with `consume`.
   */
  onData(bytes: Uint8Array, endStream: boolean): void;
  onTrailers(headers: HeaderFields): void;
  /**
   * The stream ended abnormally: RST_STREAM either way, refused by GOAWAY, or the connection is lost. Also called, from
   * within `reset`, for a reset of our own.
   */
  onReset(errorCode: number, initiator: ResetInitiator, error: MeshError): void;
  /** `queuedBytes` is at or below the low-water mark again, after it was above the high-water mark. */
  onWritable(): void;
  /** Both directions ended well. May be called from within the `send…` that ended the second one. */
  onClose(): void;
}

/** One request and its response, or one CONNECT tunnel. Calls after the end are harmless and do nothing. */
export interface H2Stream {
  readonly id: number;
  events: H2StreamEvents;
  /** Server: interim responses, then the final one (RFC 9113 §8.1). Names lower case, pseudo-headers first. */
  sendHeaders(headers: HeaderFields, endStream: boolean): void;
  /** Ends our direction after the DATA given before. */
  sendTrailers(headers: HeaderFields): void;
  /**
   * Always taken: the engine keeps the reference, so the caller must not write to `bytes` again. The caller stops its
   * source while `aboveHighWater` and goes on at `onWritable`.
   */
  sendData(bytes: Uint8Array, endStream: boolean): void;
  /** DATA given to the engine and not yet put into a frame. */
  readonly queuedBytes: number;
  readonly aboveHighWater: boolean;
  /**
   * The application has consumed `bytes` of DATA, so the peer may send as many more (both windows, given back by halves;
   * RFC 9113 §6.9). Without it the peer stalls: that is the back-pressure. What was not consumed goes back to the connection's
   * window when the stream ends, however it ends, unless `holdPastEnd` was called.
   */
  consume(bytes: number): void;
  /**
   * For an owner that passes bytes on: what it holds when the stream ends stays charged to the connection, so that a peer cannot
   * pile up bytes here by ending streams. The owner promises `consume` for all of it, or `reset`, which gives it up.
   */
  holdPastEnd(): void;
  /** The same once the DATA that was given is in frames: for an owner whose own source broke. Nothing may be sent after it. */
  resetAfterData(errorCode: number): void;
  /** Also gives up whatever came on the stream and was not consumed, on a stream that is over too. */
  reset(errorCode: number): void;
  /** We have said, or queued, all there is. */
  readonly localEnded: boolean;
  readonly remoteEnded: boolean;
  readonly closed: boolean;
}
