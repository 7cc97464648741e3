/** The end of a carried connection that is a stream of an HBONE tunnel. */
import type { MeshError } from "../../base/errors.ts";
import type { H2Stream, H2StreamEvents } from "../../wire/h2/stream.ts";
import { isEndOfData, resetCode } from "../../wire/hbone.ts";
import type { Copy, CopyEnd } from "./copy.ts";
import type { EarlyStream } from "./early_stream.ts";

const nothing = new Uint8Array(0);

export class StreamEnd implements CopyEnd, H2StreamEvents {
  readonly #stream: H2Stream;
  /** Null once it has told what there was: nothing of the time before is kept. */
  #early: EarlyStream | null;
  #copy: Copy | null = null;
  #other: CopyEnd | null = null;
  /** Bytes taken since the stream's queue passed its high-water mark. */
  #kept = 0;
  #readEnded = false;
  #done = false;

  /** @param early what has been on the stream so far. */
  constructor(stream: H2Stream, early: EarlyStream) {
    this.#stream = stream;
    this.#early = early;
  }

  start(copy: Copy, other: CopyEnd): void {
    this.#copy = copy;
    this.#other = other;
    this.#stream.events = this;
    // What the other end keeps is owed to the connection's window until it is written, or given up by a reset.
    this.#stream.holdPastEnd();
    const early = this.#early;
    this.#early = null;
    early?.replay(this);
  }

  write(bytes: Uint8Array): number {
    // A stream that the peer reset without an error takes no more; what the application still says is dropped, as its kernel would.
    if (this.#stream.closed) return bytes.length;
    this.#stream.sendData(bytes, false);
    if (!this.#stream.aboveHighWater) return bytes.length;
    this.#kept += bytes.length;
    return 0;
  }

  end(): void {
    if (!this.#stream.localEnded) this.#stream.sendData(nothing, true);
  }

  released(count: number): void {
    // Also after the end: the bytes are still owed to the connection's window.
    this.#stream.consume(count);
  }

  stop(): void {
    if (!this.#stream.closed) this.#stream.reset(resetCode.noError);
    this.#endRead();
    this.#finish();
  }

  break(): void {
    const isOver = this.#stream.closed;
    this.#stream.resetAfterData(resetCode.connectError);
    if (isOver) this.#copy?.broken();
  }

  abort(): void {
    this.#stream.reset(resetCode.connectError);
  }

  onHeaders(): void {}

  onTrailers(): void {
    this.#endRead();
  }

  onData(bytes: Uint8Array, endStream: boolean): void {
    const copy = this.#copy;
    if (copy?.finished !== false) return;
    if (bytes.length > 0) {
      copy.count(this, bytes.length);
      this.#stream.consume(this.#other?.write(bytes) ?? 0);
    }
    if (endStream) this.#endRead();
  }

  onWritable(): void {
    this.#releaseKept();
  }

  onReset(errorCode: number, initiator: "user" | "library" | "remote", error: MeshError): void {
    const copy = this.#copy;
    if (copy === null || copy.finished) {
      // What was not passed on yet is of no use any more.
      this.#stream.reset(errorCode);
      copy?.broken();
    } else if (initiator !== "remote" || !isEndOfData(errorCode)) {
      copy.fail(this, error);
    } else {
      this.#endRead();
      this.#kept = 0;
      this.#other?.stop();
      this.#finish();
    }
  }

  onClose(): void {
    if (this.#copy?.finished === true) this.#copy.broken();
    else {
      this.#endRead();
      this.#finish();
    }
  }

  #releaseKept(): void {
    const kept = this.#kept;
    if (kept === 0) return;
    this.#kept = 0;
    this.#other?.released(kept);
  }

  #endRead(): void {
    if (this.#readEnded) return;
    this.#readEnded = true;
    this.#other?.end();
  }

  #finish(): void {
    if (this.#done) return;
    this.#done = true;
    this.#copy?.endDone();
  }
}
