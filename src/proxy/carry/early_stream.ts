/** A stream before its connection is carried: what happens on it already is kept and told again later. The stream's window bounds the data. */
import { MeshError } from "../../base/errors.ts";
import type { HeaderFields } from "../../wire/h2/headers.ts";
import type { H2StreamEvents } from "../../wire/h2/stream.ts";

export type Initiator = "user" | "library" | "remote";

export class EarlyStream implements H2StreamEvents {
  readonly #chunks: Uint8Array[] = [];
  #ended: boolean;
  #closed = false;
  #reset: { readonly code: number; readonly initiator: Initiator; readonly error: MeshError } | null = null;
  /** The other side went away before the connection was carried. */
  onGone: ((error: MeshError) => void) | null = null;

  constructor(ended: boolean) {
    this.#ended = ended;
  }

  /** Tells `events` everything that happened so far, in order. */
  replay(events: H2StreamEvents): void {
    for (const chunk of this.#chunks) events.onData(chunk, false);
    if (this.#ended) events.onData(nothing, true);
    if (this.#reset !== null) events.onReset(this.#reset.code, this.#reset.initiator, this.#reset.error);
    else if (this.#closed) events.onClose();
  }

  onHeaders(_headers: HeaderFields, endStream: boolean): void {
    if (endStream) this.#ended = true;
  }

  onData(bytes: Uint8Array, endStream: boolean): void {
    if (bytes.length > 0) this.#chunks.push(bytes);
    if (endStream) this.#ended = true;
  }

  onTrailers(): void {
    this.#ended = true;
  }

  onReset(code: number, initiator: Initiator, error: MeshError): void {
    this.#reset = { code, initiator, error };
    this.onGone?.(error);
  }

  onWritable(): void {}

  onClose(): void {
    this.#closed = true;
    this.onGone?.(
      new MeshError("connection_closed", "peer", "the other side left before the connection was carried"),
    );
  }
}

const nothing = new Uint8Array(0);
