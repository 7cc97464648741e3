/** Against anything that cuts, reorders or invents bytes: delivered is what was sent, and garbage only ever ends a connection. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { h2Limits } from "../../base/limits/h2.ts";
import type { H2Connection } from "./connection.ts";
import { clientPreface, frameType } from "./frame.ts";
import { concat, FramePeer, frameBytes, Pair, RecordedStream } from "./testing/wired.ts";

const connect = [":method", "CONNECT", ":authority", "10.0.0.7:8080"];
const post = [":method", "POST", ":scheme", "https", ":path", "/", ":authority", "a.example"];

/** Bytes that tell their stream and place, so that a mix-up shows. */
function pattern(stream: number, from: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = (stream * 89 + (from + i) * 31 + ((from + i) >>> 8)) & 0xff;
  return bytes;
}

type Step =
  | { readonly kind: "send"; readonly stream: number; readonly fromClient: boolean; readonly length: number }
  | {
      readonly kind: "end";
      readonly stream: number;
      readonly fromClient: boolean;
      readonly trailers: boolean;
    }
  | { readonly kind: "carry"; readonly fromClient: boolean; readonly maxBytes: number }
  | { readonly kind: "window"; readonly fromClient: boolean; readonly bytes: number };

const streamCount = 4;
const side = fc.boolean();
const stream = fc.nat(streamCount - 1);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("send" as const),
      stream,
      fromClient: side,
      length: fc.oneof(fc.nat(300), fc.nat(60_000)),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("end" as const),
      stream,
      fromClient: side,
      trailers: fc.boolean(),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("carry" as const),
      fromClient: side,
      maxBytes: fc.integer({ min: 1, max: 100_000 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("window" as const),
      fromClient: side,
      bytes: fc.integer({ min: 1, max: 200_000 }),
    }),
  },
);

interface Direction {
  sent: number;
  ended: boolean;
  trailers: boolean;
}

/** One end of a stream in the model: what it said, and what the other end must hear. */
class Model {
  readonly pair: Pair;
  readonly clientSide: RecordedStream[] = [];
  readonly directions: { readonly up: Direction; readonly down: Direction }[] = [];

  constructor(windowBytes: number, connectionWindowBytes: number, cut: (available: number) => number) {
    const limits = {
      streamWindowBytes: windowBytes,
      connectionWindowBytes,
      maxFrameBytes: 16_384,
      highWaterBytes: 1 << 30,
    };
    this.pair = new Pair({ limits, huffman: true }, { limits });
    this.pair.cut = cut;
    this.pair.serverEvents.handler = (served) => served.sendHeaders([":status", "200"], false);
    for (let i = 0; i < streamCount; i++) {
      this.clientSide.push(this.pair.request(post, false));
      this.directions.push({
        up: { sent: 0, ended: false, trailers: false },
        down: { sent: 0, ended: false, trailers: false },
      });
    }
    this.pair.settle();
  }

  apply(action: Step): void {
    const { client, server } = this.pair;
    if (action.kind === "carry") {
      const [from, to] = action.fromClient ? [client, server] : [server, client];
      this.pair.deliver(concat(from.takeOutput(action.maxBytes)), to);
    } else if (action.kind === "window") {
      (action.fromClient ? client : server).updateSettings({ initialWindowBytes: action.bytes });
      this.pair.settle();
    } else this.#say(action);
  }

  #say(action: Extract<Step, { stream: number }>): void {
    const direction = this.directions[action.stream]?.[action.fromClient ? "up" : "down"];
    const events = action.fromClient ? this.clientSide[action.stream] : this.served(action.stream);
    const target = events?.stream;
    if (direction === undefined || target === undefined || target === null || direction.ended) return;
    if (action.kind === "send") {
      target.sendData(pattern(action.stream, direction.sent, action.length), false);
      direction.sent += action.length;
    } else {
      direction.ended = true;
      direction.trailers = action.trailers;
      if (action.trailers) target.sendTrailers(["x-stream", String(action.stream)]);
      else target.sendData(new Uint8Array(0), true);
    }
  }

  served(index: number): RecordedStream | undefined {
    return this.pair.serverEvents.requests[index]?.events;
  }

  check(): void {
    this.pair.settle();
    for (const [index, { up, down }] of this.directions.entries()) {
      for (const [direction, heard] of [
        [up, this.served(index)],
        [down, this.clientSide[index]],
      ] as const) {
        expect(heard?.receivedBytes).toBe(direction.sent);
        expect(Buffer.compare(heard?.body ?? new Uint8Array(0), pattern(index, 0, direction.sent))).toBe(0);
        expect(heard?.ended).toBe(direction.ended);
        expect(heard?.trailers).toEqual(direction.trailers ? [["x-stream", String(index)]] : []);
        expect(heard?.closed).toBe(up.ended && down.ended);
        expect(heard?.reset).toBeNull();
      }
    }
    const open = this.directions.filter(({ up, down }) => !up.ended || !down.ended).length;
    expect([this.pair.client.openStreams, this.pair.server.openStreams]).toEqual([open, open]);
  }
}

describe("client and server back to back", () => {
  test("whatever the cuts, windows and order: delivered is what was sent", () => {
    const windows = fc.oneof(fc.integer({ min: 1, max: 500 }), fc.integer({ min: 1000, max: 100_000 }));
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 60 }),
        windows,
        fc.integer({ min: 65_535, max: 200_000 }),
        fc.array(fc.integer({ min: 1, max: 20_000 }), { minLength: 1, maxLength: 20 }),
        (steps, windowBytes, connectionWindowBytes, cuts) => {
          let turn = 0;
          const cut = (available: number) => Math.min(available, cuts[turn++ % cuts.length] ?? 1);
          const model = new Model(windowBytes, connectionWindowBytes, cut);
          for (const action of steps) model.apply(action);
          model.check();
        },
      ),
      { numRuns: 150 },
    );
  }, 60_000);

  test("a byte at a time", () => {
    const model = new Model(65_535, 65_535, () => 1);
    for (let i = 0; i < streamCount; i++) {
      model.apply({ kind: "send", stream: i, fromClient: true, length: 3000 });
      model.apply({ kind: "send", stream: i, fromClient: false, length: 20_000 });
      model.apply({ kind: "end", stream: i, fromClient: true, trailers: i % 2 === 0 });
      model.apply({ kind: "end", stream: i, fromClient: false, trailers: i % 2 === 1 });
    }
    model.check();
  });
});

describe("the connection's window", () => {
  test("is whole again after any number of streams that ended, were cut, or never read", () => {
    const fate = fc.constantFrom("ends", "ends unread", "cut by client", "cut by server", "cut unread");
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fate, fc.integer({ min: 0, max: 30_000 })), { minLength: 20, maxLength: 60 }),
        (fates) => {
          const limits = { connectionWindowBytes: 65_535, streamWindowBytes: 40_000, maxFrameBytes: 16_384 };
          const pair = new Pair({ limits }, { limits });
          pair.serverEvents.handler = (stream) => stream.sendHeaders([":status", "200"], false);
          for (const [what, length] of fates) live(pair, what, length);
          expect([pair.client.openStreams, pair.server.openStreams]).toEqual([0, 0]);
          const last = pair.request(post, false);
          last.stream?.sendData(new Uint8Array(500_000), false);
          pair.settle();
          expect(pair.serverEvents.requests.at(-1)?.events.receivedBytes).toBe(500_000);
        },
      ),
      { numRuns: 60 },
    );
  });

  /** One stream's life: some bytes up, then its end. */
  function live(pair: Pair, what: string, length: number): void {
    const up = pair.request(post, false);
    pair.settle();
    const served = pair.serverEvents.requests.at(-1);
    if (served === undefined) throw new Error("no request arrived");
    served.events.consumes = !what.endsWith("unread");
    up.stream?.sendData(new Uint8Array(length), false);
    if (what.startsWith("ends")) {
      up.stream?.sendData(new Uint8Array(0), true);
      pair.settle();
      served.stream.sendData(new Uint8Array(0), true);
      pair.settle();
      // The application may take its time: what it read late still counts.
      if (!served.events.consumes) served.stream.consume(length);
    } else if (what === "cut by client") {
      pair.carry(pair.client, pair.server);
      up.stream?.reset(8);
    } else {
      pair.carry(pair.client, pair.server);
      served.stream.reset(8);
      // In flight when the reset went out.
      up.stream?.sendData(new Uint8Array(length), false);
    }
    pair.settle();
  }
});

/** Drives to the end what a peer has begun, and states what must hold whatever it was. */
function holds(connection: H2Connection, peer: FramePeer): void {
  const closes = peer.events.closes.length;
  expect(closes).toBe(connection.done ? 1 : 0);
  if (connection.done) {
    expect(connection.openStreams).toBe(0);
    for (const { events } of peer.events.requests) expect(events.closed || events.reset !== null).toBe(true);
  }
  let bytes = 0;
  for (let i = 0; i < 100 && connection.wantsOutput; i++) {
    for (const part of connection.takeOutput(1 << 20)) bytes += part.length;
  }
  expect(connection.wantsOutput).toBe(false);
  expect(bytes).toBeLessThan(h2Limits.maxQueuedControlBytes + (1 << 20));
}

const anyFrame = fc
  .record({
    type: fc.oneof({ weight: 9, arbitrary: fc.nat(9) }, { weight: 1, arbitrary: fc.nat(255) }),
    flags: fc.oneof(fc.constantFrom(0, 1, 4, 5, 8, 0x20, 0x2d), fc.nat(255)),
    streamId: fc.oneof(
      { weight: 5, arbitrary: fc.constantFrom(0, 1, 3, 5, 7) },
      { weight: 1, arbitrary: fc.nat(0x7fffffff) },
    ),
    payload: fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.constantFrom(4, 5, 6, 8).chain((length) => fc.uint8Array({ minLength: length, maxLength: length })),
      fc.constant(Uint8Array.of(0x82, 0x87, 0x84, 0x41, 1, 0x61)),
    ),
  })
  .map(({ type, flags, streamId, payload }) => frameBytes(type, flags, streamId, payload));

describe("any peer at all", () => {
  const roles = fc.constantFrom("client" as const, "server" as const);

  function begin(role: "client" | "server"): FramePeer {
    const peer = new FramePeer(role);
    peer.shake();
    peer.events.handler = (served, _headers, events) => {
      served.sendHeaders([":status", "200"], false);
      served.sendData(new Uint8Array(1000), true);
      events.consumes = true;
    };
    if (role === "client")
      for (let i = 0; i < 3; i++) peer.connection.request(connect, false, new RecordedStream());
    return peer;
  }

  test("well-framed nonsense never throws", () => {
    fc.assert(
      fc.property(
        roles,
        fc.array(anyFrame, { maxLength: 40 }),
        fc.integer({ min: 1, max: 50 }),
        (role, frames, piece) => {
          const peer = begin(role);
          const bytes = concat(frames);
          for (let at = 0; at < bytes.length; at += piece) peer.send(bytes.subarray(at, at + piece));
          holds(peer.connection, peer);
          peer.connection.receiveEnd(1);
          expect(peer.connection.done).toBe(true);
          holds(peer.connection, peer);
        },
      ),
      { numRuns: 3000 },
    );
  }, 60_000);

  test("raw bytes never throw, with and without a handshake", () => {
    fc.assert(
      fc.property(
        roles,
        fc.boolean(),
        fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 10 }),
        (role, shaken, chunks) => {
          const peer = shaken ? begin(role) : new FramePeer(role);
          if (!shaken && role === "server") peer.send(clientPreface);
          for (const chunk of chunks) peer.send(chunk);
          holds(peer.connection, peer);
        },
      ),
      { numRuns: 2000 },
    );
  });

  test("an honest conversation with one byte changed never throws", () => {
    const pair = new Pair();
    pair.request([...connect, "x-one", "1"], false).stream?.sendData(new Uint8Array(500), true);
    const said: Uint8Array[] = [];
    while (pair.client.wantsOutput) said.push(concat(pair.client.takeOutput(1 << 20)));
    const honest = concat(said);
    fc.assert(
      fc.property(fc.nat(honest.length - 1), fc.nat(255), fc.nat(honest.length), (at, value, end) => {
        const peer = new FramePeer("server");
        const bytes = honest.slice();
        bytes[at] = value;
        peer.send(bytes.subarray(0, end));
        peer.send(bytes.subarray(end));
        peer.frame(frameType.ping, 0, 0, new Uint8Array(8));
        holds(peer.connection, peer);
      }),
      { numRuns: 2000 },
    );
  });
});
