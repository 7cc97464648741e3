/** A stream of a tunnel for tests: what is sent is kept, what comes and what is told is by hand. */
import { MeshError } from "../../../base/errors.ts";
import type { H2Stream, H2StreamEvents } from "../../../wire/h2/stream.ts";
import { EarlyStream } from "../early_stream.ts";

export class FakeStream implements H2Stream {
  readonly id = 1;
  events: H2StreamEvents = new EarlyStream(false);
  sent = "";
  consumed = 0;
  queuedBytes = 0;
  aboveHighWater = false;
  localEnded = false;
  remoteEnded = false;
  closed = false;
  resetWith: number | null = null;
  /** Owes the connection's window what it has not consumed. */
  holds = false;

  sendHeaders(): void {}
  sendTrailers(): void {}
  sendData(bytes: Uint8Array, endStream: boolean): void {
    if (this.closed) return;
    if (this.localEnded) throw new Error("DATA after the end");
    this.sent += String.fromCharCode(...bytes);
    if (endStream) this.localEnded = true;
    this.#maybeClose();
  }
  consume(bytes: number): void {
    this.consumed += bytes;
  }
  holdPastEnd(): void {
    this.holds = true;
  }
  resetAfterData(errorCode: number): void {
    if (this.closed) this.reset(errorCode);
    else if (this.queuedBytes > 0) this.resetAfter = errorCode;
    else this.fail(errorCode);
  }
  /** The engine tells of a reset of our own too. */
  fail(errorCode: number): void {
    if (this.closed) return;
    this.closed = true;
    this.resetWith = errorCode;
    this.events.onReset(errorCode, "user", new MeshError("h2_reset", "local", "by us"));
  }
  /** All of the queue is in frames. */
  flushed(): void {
    this.queuedBytes = 0;
    if (this.resetAfter !== null) this.fail(this.resetAfter);
    this.#maybeClose();
  }
  resetAfter: number | null = null;
  reset(errorCode: number): void {
    if (!this.closed) this.resetWith = errorCode;
    this.holds = false;
    this.closed = true;
  }
  receive(text: string, end = false): void {
    if (end) this.remoteEnded = true;
    this.events.onData(Uint8Array.from(Buffer.from(text)), end);
    this.#maybeClose();
  }
  #maybeClose(): void {
    if (!this.localEnded || !this.remoteEnded || this.closed || this.queuedBytes > 0) return;
    this.closed = true;
    this.events.onClose();
  }
}
