/** A call as its handler sees it at the server's end. */
import type { HeaderFields } from "../h2/headers.ts";
import type { MethodDescription } from "./method.ts";
import type { GrpcError } from "./status.ts";

export interface ServerCall<Peer> {
  readonly peer: Peer;
  /** All fields of the request, pseudo-headers included; names lower case. */
  readonly metadata: HeaderFields;
  /** Monotonic; null when the client set none. */
  readonly deadlineMs: number | null;
  /** Aborted, with a GrpcError as its reason, when the stream is reset, the connection lost or the deadline passed. Not at a normal end. */
  readonly cancelled: AbortSignal;
}

/** Throws a GrpcError to refuse. Whatever else it throws the client sees as INTERNAL, without a word of it. */
export type UnaryHandler<Req, Res, Peer> = (request: Req, call: ServerCall<Peer>) => Promise<Res>;

export interface ServerStream<Req, Res, Peer> extends ServerCall<Peer> {
  readonly method: MethodDescription<Req, Res>;
  /** @returns whether there is room for more; when false wait for onWritable. Always taken; after the end it is dropped. */
  send(message: Res): boolean;
  /** The same, of a message that is encoded already. The bytes are kept by reference, and may go to many streams. */
  sendEncoded(bytes: Uint8Array): boolean;
  /** Ends the call after what was sent. `onClose` is called from within. Later calls do nothing. */
  end(error?: GrpcError): void;
  readonly aboveHighWater: boolean;
  /** No `onMessage` and no `onHalfClose` until `resume`; the client is held up by flow control. */
  pause(): void;
  resume(): void;
}

export interface StreamEvents<Req> {
  /** The handler has taken the message when it returns; the client may send as much again. */
  onMessage(message: Req): void;
  onHalfClose(): void;
  onWritable(): void;
  /** Exactly once, last: ended by either side, reset, or lost. */
  onClose(): void;
}

/** Throws a GrpcError to refuse. Response headers go out when it returns, so that clients that wait for them go on. */
export type StreamHandler<Req, Res, Peer> = (stream: ServerStream<Req, Res, Peer>) => StreamEvents<Req>;
