/**
 * The HTTP/2 engine at either end. The first byte says which end, and whether what follows is bytes as they are or frames whose lengths
 * are made right, so that changes of a payload do not lose what is behind it.
 */

import { h2Limits } from "../../../src/base/limits/h2.ts";
import { clientPreface, frameType } from "../../../src/wire/h2/frame.ts";
import { concat, FramePeer, frameBytes, Pair, RecordedStream } from "../../../src/wire/h2/testing/wired.ts";
import { holds, type Look, pieces, readCut, type Target } from "../target.ts";

const connect = [":method", "CONNECT", ":authority", "10.0.0.9:80"];
const request = [":method", "POST", ":scheme", "http", ":path", "/", ":authority", "a"];

/** `[type, flags, stream, length]` and the payload, as a frame. */
function framed(input: Uint8Array): Uint8Array {
  const frames: Uint8Array[] = [];
  for (let at = 0; at + 4 <= input.length; ) {
    const [type = 0, flags = 0, stream = 0, length = 0] = input.subarray(at, at + 4);
    // A long one now and then: 255 is 4 KiB.
    const end = at + 4 + (length === 255 ? 4096 : length);
    frames.push(frameBytes(type & 0x0f, flags, stream, input.subarray(at + 4, end)));
    at = end;
  }
  return concat(frames);
}

function unframed(bytes: Uint8Array, kind: number): Uint8Array {
  return Uint8Array.of(kind, ...bytes);
}

/**
 * What one end made of the other's bytes. @param answersAtOnce whether output is taken after each part: then an answer may be out before
 * a reset comes in, and what is told depends on the parts.
 */
function conversation(
  role: "client" | "server",
  isFramed: boolean,
  parts: readonly Uint8Array[],
  answersAtOnce: boolean,
): unknown {
  const limits = { connectionWindowBytes: 65_535, streamWindowBytes: 40_000, maxFrameBytes: 16_384 };
  const peer = new FramePeer(role, { limits, enableConnectProtocol: true });
  const { connection, events } = peer;
  if (isFramed) peer.shake();
  else if (role === "server") peer.send(clientPreface);
  events.handler = (stream, _headers, own) => {
    stream.sendHeaders([":status", "200"], false);
    if (stream.id % 4 === 1) stream.sendData(new Uint8Array(100), true);
    own.consumes = stream.id % 3 !== 0;
  };
  const asked: RecordedStream[] = [];
  if (role === "client")
    for (const headers of [connect, request, connect]) {
      const own = new RecordedStream();
      own.stream = connection.request(headers, headers === request, own);
      asked.push(own);
    }
  let written = 0;
  const take = () => {
    for (let turn = 0; turn < 100 && connection.wantsOutput; turn++)
      for (const part of connection.takeOutput(1 << 20)) written += part.length;
    holds(!connection.wantsOutput, "the output comes to an end");
  };
  for (const part of parts) {
    peer.send(part);
    if (answersAtOnce) take();
    if (!connection.done) {
      const { grantedBytes, availableBytes, pendingBytes, heldBytes } = connection.windowAccount;
      holds(availableBytes + pendingBytes + heldBytes === grantedBytes, "the connection's window adds up");
    }
  }
  connection.receiveEnd(1);
  take();
  holds(connection.done && connection.openStreams === 0, "nothing is open after the end");
  holds(events.closes.length === 1, `the connection closes once, not ${events.closes.length} times`);
  holds(written < h2Limits.maxQueuedControlBytes, "the output is bounded");
  const heard = [
    ...events.requests.map(({ events: own, headers }) => ({ own, headers })),
    ...asked.map((own) => ({ own, headers: [] })),
  ];
  const close = events.closes[0]?.message ?? null;
  // What came before a fault of the connection, or of a stream, and was not given to anybody yet, ends with it.
  const isFault = close !== null && /^[A-Z_]+: /.test(close);
  return {
    close,
    goAways: events.goAways,
    streams: heard.map(({ own, headers }) => {
      holds(
        own.stream === null || own.closed !== (own.reset !== null),
        "a stream closes or is reset, and not both",
      );
      return {
        headers,
        answers: own.headers,
        text: isFault || own.reset?.initiator === "library" ? null : own.text,
        trailers: own.trailers,
        ended: isFault ? null : own.ended,
        reset: own.reset === null ? null : [own.reset.errorCode, own.reset.initiator],
      };
    }),
  };
}

function seeds(): readonly Uint8Array[] {
  const pair = new Pair({ huffman: true });
  const said: Uint8Array[] = [];
  const answered: Uint8Array[] = [];
  pair.serverEvents.handler = (stream) => {
    stream.sendHeaders([":status", "200", "server", "a"], false);
    stream.sendData(new Uint8Array(30), false);
    stream.sendTrailers(["grpc-status", "0"]);
  };
  pair.request([...connect, "x-one", "1"], false).stream?.sendData(new Uint8Array(50), true);
  pair.request([...request, "te", "trailers"], true);
  for (let turn = 0; turn < 6; turn++) {
    for (const [from, to, into] of [
      [pair.client, pair.server, said],
      [pair.server, pair.client, answered],
    ] as const) {
      const bytes = concat(from.takeOutput(1 << 20)).slice();
      into.push(bytes);
      if (bytes.length > 0) pair.deliver(bytes, to);
    }
  }
  const small = [0x82, 0x87, 0x84, 0x41, 1, 0x61];
  const frames: readonly (readonly number[])[] = [
    [frameType.headers, 5, 1, small.length, ...small],
    [frameType.headers, 1, 1, 4, ...small.slice(0, 4), frameType.continuation, 4, 1, 2, ...small.slice(4)],
    [
      frameType.headers,
      4,
      1,
      small.length,
      ...small,
      frameType.data,
      0,
      1,
      3,
      1,
      2,
      3,
      frameType.data,
      9,
      1,
      4,
      2,
      1,
      0,
      0,
    ],
    [frameType.settings, 0, 0, 6, 0, 4, 0, 0, 0x10, 0, frameType.settings, 1, 0, 0],
    [frameType.windowUpdate, 0, 0, 4, 0, 0, 1, 0, frameType.windowUpdate, 0, 1, 4, 0, 0, 0, 0],
    [frameType.ping, 0, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8],
    [frameType.goAway, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0x61],
    [frameType.headers, 4, 1, small.length, ...small, frameType.rstStream, 0, 1, 4, 0, 0, 0, 8],
    [frameType.headers, 4, 1, 1, 0x88, frameType.data, 1, 1, 2, 1, 1],
    [frameType.priority, 0, 3, 5, 0, 0, 0, 1, 9, frameType.pushPromise, 4, 1, 4, 0, 0, 0, 2],
  ];
  return [
    unframed(concat(said).subarray(clientPreface.length), 0),
    unframed(concat(answered), 1),
    ...frames.flatMap((frame) => [Uint8Array.of(2, ...frame), Uint8Array.of(3, ...frame)]),
  ];
}

export const target: Target = {
  maxBytes: 8192,
  seeds,
  run(input: Uint8Array, look: Look) {
    const kind = (input[0] ?? 0) & 3;
    const role = kind % 2 === 0 ? "server" : "client";
    const isFramed = kind >= 2;
    const bytes = isFramed ? framed(input.subarray(1)) : input.slice(1);
    readCut(bytes, look, (parts) => conversation(role, isFramed, parts, false));
    for (const cuts of look.cuts(bytes.length).slice(0, 5))
      conversation(role, isFramed, pieces(bytes, cuts), true);
  },
};
