/** A call as its caller sees it at the client's end. */
import type { HeaderFields } from "../h2/headers.ts";
import type { GrpcError } from "./status.ts";

export interface ClientStream<Req> {
  /** @returns whether there is room for more; when false wait for onWritable. Always taken; after the end it is dropped. */
  send(message: Req): boolean;
  /** The same, of a message that is encoded already; kept by reference. */
  sendEncoded(bytes: Uint8Array): boolean;
  /** Half-close: no more requests. */
  end(): void;
  /** Ends the call at once; `onEnd` is called from within, with CANCELLED. */
  cancel(): void;
  readonly aboveHighWater: boolean;
  /** No `onMessage` and no `onEnd` until `resume`; the server is held up by flow control. */
  pause(): void;
  resume(): void;
}

export interface ClientStreamEvents<Res> {
  /** The server's response headers, once, before any message; not when the call ends without any. */
  onHeaders?(headers: HeaderFields): void;
  onMessage(message: Res): void;
  onWritable?(): void;
  /** Exactly once, last. Null for OK. */
  onEnd(error: GrpcError | null, trailers: HeaderFields): void;
}
