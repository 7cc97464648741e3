/** For tests: two connections wired back to back, and a peer that speaks in frames. */
import type { MeshError } from "../../../base/errors.ts";
import { defaultHeaderTableBytes, HpackDecoder } from "../../hpack/decoder.ts";
import { HpackEncoder } from "../../hpack/encoder.ts";
import { latin1String } from "../../hpack/string.ts";
import { H2Connection, type H2Options } from "../connection.ts";
import type { H2ConnectionEvents } from "../connection_state.ts";
import { clientPreface, frameFlag, frameHeadBytes, frameType, readUint31, writeFrameHead } from "../frame.ts";
import type { HeaderFields } from "../headers.ts";
import type { H2Stream, H2StreamEvents, ResetInitiator } from "../stream.ts";

export interface RecordedReset {
  readonly errorCode: number;
  readonly initiator: ResetInitiator;
  readonly error: MeshError;
}

/** Remembers what happened to a stream. */
export class RecordedStream implements H2StreamEvents {
  stream: H2Stream | null = null;
  readonly headers: HeaderFields[] = [];
  readonly trailers: HeaderFields[] = [];
  readonly chunks: Uint8Array[] = [];
  receivedBytes = 0;
  ended = false;
  closed = false;
  writable = 0;
  reset: RecordedReset | null = null;
  /** Gives every byte back at once, as an application that keeps up does. */
  consumes = true;

  onHeaders(headers: HeaderFields, endStream: boolean): void {
    this.headers.push(headers);
    this.ended ||= endStream;
  }
  onData(bytes: Uint8Array, endStream: boolean): void {
    this.chunks.push(bytes);
    this.receivedBytes += bytes.length;
    this.ended ||= endStream;
    if (this.consumes) this.stream?.consume(bytes.length);
  }
  onTrailers(headers: HeaderFields): void {
    this.trailers.push(headers);
    this.ended = true;
  }
  onReset(errorCode: number, initiator: ResetInitiator, error: MeshError): void {
    this.reset = { errorCode, initiator, error };
  }
  onWritable(): void {
    this.writable++;
  }
  onClose(): void {
    this.closed = true;
  }
  get body(): Uint8Array {
    return concat(this.chunks);
  }
  get text(): string {
    return latin1String(this.body, 0, this.receivedBytes);
  }
}

/** Remembers what happened to a connection; a server's requests become `RecordedStream`s. */
export class RecordedConnection implements H2ConnectionEvents {
  readonly requests: {
    stream: H2Stream;
    headers: HeaderFields;
    endStream: boolean;
    events: RecordedStream;
  }[] = [];
  readonly goAways: { lastStreamId: number; errorCode: number; debug: string }[] = [];
  outputReady = 0;
  pongs = 0;
  closes: (MeshError | null)[] = [];
  handler: ((stream: H2Stream, headers: HeaderFields, events: RecordedStream) => void) | null = null;

  onRequest(stream: H2Stream, headers: HeaderFields, endStream: boolean): void {
    const events = new RecordedStream();
    events.stream = stream;
    events.ended = endStream;
    stream.events = events;
    this.requests.push({ stream, headers, endStream, events });
    this.handler?.(stream, headers, events);
  }
  onOutputReady(): void {
    this.outputReady++;
  }
  onGoAway(lastStreamId: number, errorCode: number, debug: Uint8Array): void {
    this.goAways.push({ lastStreamId, errorCode, debug: latin1String(debug, 0, debug.length) });
  }
  onPong(): void {
    this.pongs++;
  }
  onClose(error: MeshError | null): void {
    this.closes.push(error);
  }
}

/** A client and a server, and a wire that delivers what they say, whole or in pieces. */
export class Pair {
  readonly client: H2Connection;
  readonly server: H2Connection;
  readonly clientEvents = new RecordedConnection();
  readonly serverEvents = new RecordedConnection();
  now = 0;
  /** How the wire cuts: returns the length of the next piece, at least 1. */
  cut: ((available: number) => number) | null = null;

  constructor(client: Partial<H2Options> = {}, server: Partial<H2Options> = {}) {
    this.client = new H2Connection({ role: "client", now: 0, ...client }, this.clientEvents);
    this.server = new H2Connection({ role: "server", now: 0, ...server }, this.serverEvents);
  }

  /** Carries output both ways until neither side has any. */
  settle(): void {
    while (this.client.wantsOutput || this.server.wantsOutput) {
      this.carry(this.client, this.server);
      this.carry(this.server, this.client);
    }
  }

  carry(from: H2Connection, to: H2Connection, maxBytes = 65_536): number {
    let carried = 0;
    while (from.wantsOutput) {
      const bytes = concat(from.takeOutput(maxBytes));
      carried += bytes.length;
      this.deliver(bytes, to);
    }
    return carried;
  }

  deliver(bytes: Uint8Array, to: H2Connection): void {
    for (let at = 0; at < bytes.length; ) {
      const size = this.cut === null ? bytes.length - at : Math.max(1, this.cut(bytes.length - at));
      receiveAll(to, bytes.slice(at, at + size), this.now);
      at += size;
    }
  }

  request(headers: HeaderFields, endStream: boolean): RecordedStream {
    const events = new RecordedStream();
    events.stream = this.client.request(headers, endStream, events);
    return events;
  }
}

/** As a driver with time enough. */
function receiveAll(connection: H2Connection, bytes: Uint8Array, now: number): void {
  for (let at = 0; at < bytes.length; ) at += connection.receive(bytes.subarray(at), now);
}

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly payload: Uint8Array;
}

/** The other end of one connection, frame by frame: what a test needs to misbehave. */
export class FramePeer {
  readonly connection: H2Connection;
  readonly events = new RecordedConnection();
  readonly #role: "client" | "server";
  readonly encoder = new HpackEncoder({ maxTableBytes: defaultHeaderTableBytes, huffman: true });
  readonly decoder = new HpackDecoder();
  now = 0;

  /** @param role of the engine under test. */
  constructor(role: "client" | "server", options: Partial<H2Options> = {}) {
    this.#role = role;
    this.connection = new H2Connection({ role, now: 0, ...options }, this.events);
  }

  /** Preface and SETTINGS both ways, acknowledged; what the engine said so far is dropped. */
  shake(settings: Uint8Array = new Uint8Array(0)): void {
    if (this.#role === "server") this.send(clientPreface);
    this.frame(frameType.settings, 0, 0, settings);
    this.frame(frameType.settings, frameFlag.ack, 0);
    this.frames();
  }

  send(bytes: Uint8Array): void {
    receiveAll(this.connection, bytes.slice(), this.now);
  }

  frame(type: number, flags: number, streamId: number, payload: Uint8Array = new Uint8Array(0)): void {
    this.send(frameBytes(type, flags, streamId, payload));
  }

  headers(streamId: number, fields: HeaderFields, flags = frameFlag.endHeaders | frameFlag.endStream): void {
    this.frame(frameType.headers, flags, streamId, this.block(fields));
  }

  block(fields: HeaderFields): Uint8Array {
    const target = new Uint8Array(this.encoder.maxEncodedBytes(fields));
    return target.slice(0, this.encoder.encode(fields, target, 0));
  }

  /** Takes all output, as frames. */
  frames(): Frame[] {
    const output: Uint8Array[] = [];
    while (this.connection.wantsOutput) output.push(concat(this.connection.takeOutput(1 << 20)));
    return parseFrames(concat(output));
  }

  /** The error code of the GOAWAY in the output, or null. */
  goAwayCode(): number | null {
    const goAway = this.frames().find((frame) => frame.type === frameType.goAway);
    return goAway === undefined ? null : readUint31(goAway.payload, 4);
  }
}

export function frameBytes(type: number, flags: number, streamId: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(frameHeadBytes + payload.length);
  writeFrameHead(bytes, 0, payload.length, type, flags, streamId);
  bytes.set(payload, frameHeadBytes);
  return bytes;
}

export function parseFrames(bytes: Uint8Array): Frame[] {
  const frames: Frame[] = [];
  let at = clientPreface.every((byte, index) => bytes[index] === byte) ? clientPreface.length : 0;
  while (at + frameHeadBytes <= bytes.length) {
    const length = readUint31(bytes, at) >>> 8;
    const end = at + frameHeadBytes + length;
    frames.push({
      type: bytes[at + 3] ?? 0,
      flags: bytes[at + 4] ?? 0,
      streamId: readUint31(bytes, at + 5),
      payload: bytes.slice(at + frameHeadBytes, end),
    });
    at = end;
  }
  return frames;
}

export function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
