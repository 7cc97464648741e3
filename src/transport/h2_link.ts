/** An HTTP/2 connection on a socket: the engine, its driver, and one end for both. */
import type { MeshError } from "../base/errors.ts";
import type { Clock, Socket } from "../host/host.ts";
import { H2Connection, type H2Options } from "../wire/h2/connection.ts";
import type { H2ConnectionEvents } from "../wire/h2/connection_state.ts";
import { Drive } from "./drive.ts";

export interface H2LinkEvents extends Pick<H2ConnectionEvents, "onGoAway" | "onRemoteSettings"> {
  /** Server; see `H2ConnectionEvents`. */
  readonly onRequest?: H2ConnectionEvents["onRequest"];
  /** HTTP/2 is over, and every stream with it; the socket may live on for our last words. Comes before `onGone`, exactly once. */
  readonly onOver?: (error: MeshError | null) => void;
  /** The socket is gone, exactly once. The error is HTTP/2's if it had one, else the transport's. */
  readonly onGone?: (error: MeshError | null) => void;
}

export class H2Link {
  readonly connection: H2Connection;
  readonly #drive: Drive;
  #started = false;
  #over = false;
  #error: MeshError | null = null;

  constructor(clock: Clock, socket: Socket, options: Omit<H2Options, "now">, events: H2LinkEvents) {
    const { onGoAway, onRemoteSettings } = events;
    this.connection = new H2Connection(
      { ...options, now: clock.now() },
      {
        onRequest: (stream, headers, endStream) => events.onRequest?.(stream, headers, endStream),
        // What there is before the start is written at the start.
        onOutputReady: () => {
          if (this.#started) this.#drive.outputReady();
        },
        ...(onGoAway === undefined ? {} : { onGoAway }),
        ...(onRemoteSettings === undefined ? {} : { onRemoteSettings }),
        onClose: (error) => {
          this.#over = true;
          this.#error = error;
          events.onOver?.(error);
        },
      },
    );
    this.#drive = new Drive(clock, socket, this.connection, (error) => events.onGone?.(this.#error ?? error));
  }

  /** Not before `onRequest` may come. */
  start(): void {
    this.#started = true;
    this.#drive.start();
  }

  /** HTTP/2 has ended. */
  get over(): boolean {
    return this.#over;
  }

  get openStreams(): number {
    return this.#over ? 0 : this.connection.openStreams;
  }

  /** No new streams; over, in order, with the last of those that are open (RFC 9113 §6.8). */
  drain(): void {
    if (!this.#over) this.connection.drain();
  }

  /** GOAWAY, and every stream that is open is cut. */
  close(debug = ""): void {
    if (!this.#over) this.connection.goAway(0, debug);
  }

  /** Not a byte further. */
  abort(): void {
    this.#drive.abort();
  }
}
