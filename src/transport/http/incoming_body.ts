/** The body that comes on a stream, as the web's streams have it: what is not read is not asked of the peer either. */
import type { MeshError } from "../../base/errors.ts";

export class IncomingBody {
  readonly stream: ReadableStream<Uint8Array>;
  readonly #consume: (bytes: number) => void;
  /** Set by the stream's `start`, which runs within its constructor. */
  #controller: ReadableStreamDefaultController<Uint8Array> | null = null;
  /** Come and not read: what the stream's window lets the peer send, at most. */
  #queue: Uint8Array[] = [];
  /** Somebody reads and there was nothing. */
  #wanted = false;
  #ended = false;
  /** Closed, failed or cancelled: what still comes is dropped. */
  #over = false;

  /** @param consume gives bytes of the window back to the peer. */
  constructor(consume: (bytes: number) => void) {
    this.#consume = consume;
    this.stream = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () => this.#pull(),
        cancel: () => this.discard(),
      },
      // Nothing is taken ahead of the reader: the window is the buffer.
      { highWaterMark: 0 },
    );
  }

  /** @returns whether anybody may still read it; false: the bytes were dropped, and given back to the window. */
  push(bytes: Uint8Array): boolean {
    if (bytes.length === 0) return true;
    if (this.#over) {
      this.#consume(bytes.length);
      return false;
    }
    this.#queue.push(bytes);
    if (this.#wanted) this.#pull();
    return true;
  }

  end(): void {
    this.#ended = true;
    if (this.#wanted || this.#queue.length === 0) this.#pull();
  }

  fail(error: MeshError): void {
    if (this.#over) return;
    this.#over = true;
    this.#queue = [];
    this.#controller?.error(error);
  }

  /** It will not be read: what there is goes, and what comes. */
  discard(): void {
    if (this.#over) return;
    this.#over = true;
    for (const bytes of this.#queue) this.#consume(bytes.length);
    this.#queue = [];
  }

  #pull(): void {
    if (this.#over) return;
    const bytes = this.#queue.shift();
    this.#wanted = bytes === undefined && !this.#ended;
    if (bytes !== undefined) {
      this.#controller?.enqueue(bytes);
      this.#consume(bytes.length);
    } else if (this.#ended) {
      this.#over = true;
      this.#controller?.close();
    }
  }
}
