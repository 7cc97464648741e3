/** The engine on plain Bun sockets, for conformance programs only: no Host, no policy, no trust. */
import type { Socket } from "bun";
import { H2Connection, type H2Options } from "../../src/wire/h2/connection.ts";
import type { H2ConnectionEvents } from "../../src/wire/h2/connection_state.ts";

const batchBytes = 256 * 1024;

/** h2spec takes frames of some 20 KB for too large without looking at the peer's SETTINGS. */
export const h2specFrameBytes = 16_384;

/** Drives one connection over one socket: output in batches, what the socket does not take is kept, time-outs are ticked. */
export class BunWire {
  readonly connection: H2Connection;
  readonly #socket: Socket<BunWire | undefined>;
  #blocked: Uint8Array[] = [];
  #scheduled = false;
  readonly #ticker: Timer;

  constructor(
    socket: Socket<BunWire | undefined>,
    options: Omit<H2Options, "now">,
    events: Omit<H2ConnectionEvents, "onOutputReady">,
  ) {
    this.#socket = socket;
    this.connection = new H2Connection(
      { ...options, now: performance.now() },
      {
        onRequest: (stream, headers, endStream) => events.onRequest(stream, headers, endStream),
        onClose: (error) => events.onClose(error),
        onOutputReady: () => this.#schedule(),
      },
    );
    this.#ticker = setInterval(() => this.#tick(), 100);
    this.#schedule();
  }

  data(bytes: Uint8Array): void {
    this.connection.receive(bytes, performance.now());
    if (this.connection.done) this.#schedule();
  }

  drain(): void {
    this.#flush();
  }

  gone(): void {
    clearInterval(this.#ticker);
    this.connection.receiveEnd(performance.now());
  }

  #tick(): void {
    const now = performance.now();
    const deadlineMs = this.connection.deadlineMs;
    if (deadlineMs !== null && deadlineMs <= now) this.connection.tick(now);
    if (this.connection.done) this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#flush();
    });
  }

  #flush(): void {
    if (!this.#writeBlocked()) return;
    while (this.connection.wantsOutput) {
      for (const chunk of this.connection.takeOutput(batchBytes)) this.#write(chunk);
      if (this.#blocked.length > 0) return;
    }
    if (this.connection.done) this.#socket.end();
  }

  #write(chunk: Uint8Array): void {
    if (this.#blocked.length > 0) {
      this.#blocked.push(chunk.slice());
      return;
    }
    const taken = Math.max(0, this.#socket.write(chunk));
    if (taken < chunk.length) this.#blocked.push(chunk.slice(taken));
  }

  #writeBlocked(): boolean {
    const blocked = this.#blocked;
    this.#blocked = [];
    for (const chunk of blocked) this.#write(chunk);
    return this.#blocked.length === 0;
  }
}
