/** Length-Prefixed-Message of gRPC over HTTP/2: a flag, four bytes of length, the message. Bytes come in pieces of any size. */
import { GrpcError, grpcCode } from "./status.ts";

const headBytes = 5;
/** The first allocation for a message that comes in pieces; it grows with what came, not with what was promised. */
const firstAllocationBytes = 4 * 1024;

export interface MessageReaderOptions {
  readonly maxMessageBytes: number;
  /** `grpc-encoding` of the peer, null without one: decides what a compressed message is called. */
  readonly encoding: string | null;
  /** Who reads: the specification has the two ends answer an unknown encoding differently. */
  readonly end: "client" | "server";
}

/**
 * Bytes go in by `push`, messages come out by `next`, so that a reader of messages can stop between two of them. What
 * lies whole in one piece comes out as a view of it; other messages are copied together, each byte at most three times.
 */
export class MessageReader {
  readonly #options: MessageReaderOptions;
  /** Not read yet. Empty but for the first, unless somebody has stopped reading. */
  readonly #chunks: Uint8Array[] = [];
  /** Of the first chunk, what is read already. */
  #at = 0;
  readonly #head = new Uint8Array(headBytes);
  #headFilled = 0;
  #lengthBytes = 0;
  #body: Uint8Array | null = null;
  #bodyFilled = 0;
  #readBytes = 0;

  constructor(options: MessageReaderOptions) {
    this.#options = options;
  }

  /** Bytes of a message that is not whole yet, and that are kept here. */
  get assembledBytes(): number {
    return this.#bodyFilled;
  }

  /** Whether nothing of a message is there. */
  get atBoundary(): boolean {
    return this.#headFilled === 0 && this.#chunks.length === 0;
  }

  /** Takes a piece; it belongs to the reader. */
  push(bytes: Uint8Array): void {
    if (bytes.length > 0) this.#chunks.push(bytes);
  }

  /** Bytes read out of pieces since the last call: what may be consumed of the window. */
  takeReadBytes(): number {
    const bytes = this.#readBytes;
    this.#readBytes = 0;
    return bytes;
  }

  /** Forgets all that is here. @returns the bytes that were never taken by `takeReadBytes`. */
  drop(): number {
    let bytes = this.takeReadBytes() - this.#at;
    for (const chunk of this.#chunks) bytes += chunk.length;
    this.#chunks.length = 0;
    this.#at = 0;
    this.#body = null;
    this.#bodyFilled = 0;
    this.#headFilled = 0;
    return bytes;
  }

  /** @returns the next message; null when more bytes are needed; a GrpcError, for ever, when the peer breaks the rules. */
  next(): Uint8Array | GrpcError | null {
    if (!this.#readHead()) return null;
    if (this.#head[0] !== 0) return this.#flagFault();
    if (this.#lengthBytes > this.#options.maxMessageBytes) return this.#sizeFault();
    const whole = this.#wholeInChunk() ?? this.#assemble();
    if (whole === null) return null;
    this.#headFilled = 0;
    this.#body = null;
    this.#bodyFilled = 0;
    return whole;
  }

  #readHead(): boolean {
    while (this.#headFilled < headBytes) {
      const chunk = this.#chunks[0];
      if (chunk === undefined) return false;
      this.#head[this.#headFilled++] = chunk[this.#at] ?? 0;
      this.#advance(chunk, 1);
      if (this.#headFilled === headBytes) this.#lengthBytes = readUint32(this.#head, 1);
    }
    return true;
  }

  #wholeInChunk(): Uint8Array | null {
    if (this.#bodyFilled > 0) return null;
    const length = this.#lengthBytes;
    if (length === 0) return new Uint8Array(0);
    const chunk = this.#chunks[0];
    if (chunk === undefined || chunk.length - this.#at < length) return null;
    const message = chunk.subarray(this.#at, this.#at + length);
    this.#advance(chunk, length);
    return message;
  }

  #assemble(): Uint8Array | null {
    const length = this.#lengthBytes;
    for (let chunk = this.#chunks[0]; chunk !== undefined; chunk = this.#chunks[0]) {
      const bytes = Math.min(length - this.#bodyFilled, chunk.length - this.#at);
      const body = this.#room(this.#bodyFilled + bytes);
      body.set(chunk.subarray(this.#at, this.#at + bytes), this.#bodyFilled);
      this.#bodyFilled += bytes;
      this.#advance(chunk, bytes);
      if (this.#bodyFilled === length) return body.subarray(0, length);
    }
    return null;
  }

  /** Doubles, so that all copies of a message together are linear in it. */
  #room(bytes: number): Uint8Array {
    const body = this.#body;
    if (body !== null && body.length >= bytes) return body;
    const wanted = Math.max(bytes, firstAllocationBytes, (body?.length ?? 0) * 2);
    const grown = new Uint8Array(Math.min(this.#lengthBytes, wanted));
    if (body !== null) grown.set(body.subarray(0, this.#bodyFilled));
    this.#body = grown;
    return grown;
  }

  #advance(chunk: Uint8Array, bytes: number): void {
    this.#at += bytes;
    this.#readBytes += bytes;
    if (this.#at < chunk.length) return;
    this.#chunks.shift();
    this.#at = 0;
  }

  /** grpc/doc/compression.md: a flag without an encoding is the peer's mistake, an encoding we lack is ours to refuse. */
  #flagFault(): GrpcError {
    const { encoding, end } = this.#options;
    if (this.#head[0] !== 1) return new GrpcError(grpcCode.internal, "a message with an unknown flag");
    if (encoding === null || encoding === "identity")
      return new GrpcError(grpcCode.internal, "a compressed message without an encoding");
    const code = end === "server" ? grpcCode.unimplemented : grpcCode.internal;
    return new GrpcError(code, "messages are not decompressed here");
  }

  #sizeFault(): GrpcError {
    const { maxMessageBytes } = this.#options;
    const text = `a message of ${this.#lengthBytes} bytes; at most ${maxMessageBytes} are taken`;
    return new GrpcError(grpcCode.resourceExhausted, text);
  }
}

/** Below this the message is copied behind its head; above it stays where it is. */
const copyBelowBytes = 16 * 1024;

/** @returns the message with its head, in one piece or in two. Large messages are not copied: the caller leaves them as they are. */
export function frameMessage(message: Uint8Array): readonly Uint8Array[] {
  if (message.length >= copyBelowBytes) {
    const head = new Uint8Array(headBytes);
    writeUint32(head, 1, message.length);
    return [head, message];
  }
  const framed = new Uint8Array(headBytes + message.length);
  writeUint32(framed, 1, message.length);
  framed.set(message, headBytes);
  return [framed];
}

function readUint32(bytes: Uint8Array, at: number): number {
  const high = ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  return high * 65_536 + (((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0));
}

function writeUint32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}
