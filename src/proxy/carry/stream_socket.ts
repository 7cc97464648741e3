/**
 * A stream of an HBONE tunnel as a socket: what is inside a CONNECT is a connection like any other, and whatever drives a protocol over
 * a socket drives it over this.
 */
import type { MeshError } from "../../base/errors.ts";
import type { SocketAddress } from "../../base/ip.ts";
import type { Socket, SocketHandler } from "../../host/host.ts";
import type { H2Stream, H2StreamEvents } from "../../wire/h2/stream.ts";
import { isEndOfData, resetCode } from "../../wire/hbone.ts";
import type { CopyCounters } from "./copy.ts";
import type { EarlyStream, Initiator } from "./early_stream.ts";

const nothing = new Uint8Array(0);

export class StreamSocket implements Socket, H2StreamEvents {
  readonly local: SocketAddress;
  readonly remote: SocketAddress;
  readonly retainsWrites = true;
  /** Counts what passes, for the record of the connection that is served; null for none. */
  counters: CopyCounters | null = null;
  readonly #stream: H2Stream;
  readonly #early: EarlyStream;
  #handler: SocketHandler | null = null;
  #isStarted = false;
  #isPaused = false;
  /** Come while paused: what is not handed on is not asked of the peer again. */
  #waiting: Uint8Array[] = [];
  #hasEnded = false;
  #isEndTold = false;
  #isCloseTold = false;
  #isBlocked = false;
  #isClosing = false;

  /** @param early what has been on the stream so far. */
  constructor(stream: H2Stream, early: EarlyStream, local: SocketAddress, remote: SocketAddress) {
    this.#stream = stream;
    this.#early = early;
    this.local = local;
    this.remote = remote;
  }

  setHandler(handler: SocketHandler): void {
    this.#handler = handler;
    // What it was not told by then it is told when it goes on.
    if (this.#isStarted) return;
    this.#isStarted = true;
    this.#stream.events = this;
    // What waits here is owed to the connection's window, also after the stream's end.
    this.#stream.holdPastEnd();
    this.#early.replay(this);
  }

  write(bytes: Uint8Array): number {
    if (this.#stream.closed || this.#stream.localEnded) return 0;
    if (this.#stream.aboveHighWater) {
      this.#isBlocked = true;
      return 0;
    }
    this.#stream.sendData(bytes, false);
    if (this.counters !== null) this.counters.bytesToDownstream += bytes.length;
    return bytes.length;
  }

  end(): void {
    if (!this.#stream.closed && !this.#stream.localEnded) this.#stream.sendData(nothing, true);
  }

  pause(): void {
    this.#isPaused = true;
  }

  resume(): void {
    if (!this.#isPaused) return;
    this.#isPaused = false;
    this.#deliver();
  }

  /** Our end is said after what was written; what the peer still says is not heard. */
  close(): void {
    if (this.#isClosing) return;
    this.#isClosing = true;
    this.end();
    this.#giveUp();
    if (!this.#stream.closed && !this.#stream.remoteEnded) this.#stream.resetAfterData(resetCode.noError);
  }

  reset(): void {
    this.#isClosing = true;
    this.#waiting = [];
    this.#stream.reset(resetCode.connectError);
    this.#tellClose(null);
  }

  resetAfterSent(): void {
    this.#isClosing = true;
    this.#giveUp();
    this.#stream.resetAfterData(resetCode.connectError);
  }

  onHeaders(): void {}

  onTrailers(): void {
    this.#end();
  }

  onData(bytes: Uint8Array, endStream: boolean): void {
    if (this.#isClosing) this.#stream.consume(bytes.length);
    else if (bytes.length > 0) {
      if (this.counters !== null) this.counters.bytesToUpstream += bytes.length;
      if (this.#isPaused || this.#waiting.length > 0) this.#waiting.push(bytes);
      else {
        this.#handler?.onData(bytes);
        this.#stream.consume(bytes.length);
      }
    }
    if (endStream) this.#end();
  }

  onWritable(): void {
    if (!this.#isBlocked) return;
    this.#isBlocked = false;
    this.#handler?.onDrain();
  }

  onReset(errorCode: number, initiator: Initiator, error: MeshError): void {
    if (initiator === "user") this.#tellClose(null);
    else if (initiator === "remote" && isEndOfData(errorCode)) {
      this.#isPaused = false;
      this.#deliver();
      this.#end();
      this.#tellClose(null);
    } else {
      this.#waiting = [];
      this.#tellClose(error);
    }
    // Gives up whatever of it is not handed on.
    this.#stream.reset(errorCode);
  }

  onClose(): void {
    // Both directions are through, but what came may still wait for the handler.
    if (this.#waiting.length === 0 && (this.#isEndTold || this.#isClosing)) this.#tellClose(null);
  }

  #end(): void {
    this.#hasEnded = true;
    if (!this.#isPaused && this.#waiting.length === 0) this.#tellEnd();
  }

  #deliver(): void {
    while (!this.#isPaused && !this.#isClosing) {
      const bytes = this.#waiting.shift();
      if (bytes === undefined) break;
      this.#handler?.onData(bytes);
      this.#stream.consume(bytes.length);
    }
    if (this.#isPaused || this.#waiting.length > 0 || !this.#hasEnded) return;
    this.#tellEnd();
    if (this.#stream.closed) this.#tellClose(null);
  }

  #giveUp(): void {
    for (const bytes of this.#waiting.splice(0)) this.#stream.consume(bytes.length);
  }

  #tellEnd(): void {
    if (this.#isEndTold) return;
    this.#isEndTold = true;
    if (!this.#isClosing) this.#handler?.onEnd();
  }

  #tellClose(error: MeshError | null): void {
    if (this.#isCloseTold) return;
    this.#isCloseTold = true;
    this.#handler?.onClose(error);
  }
}
