/** Against anything that cuts, reorders or invents bytes: delivered is what was sent, and garbage only ever ends a connection. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { h2Limits } from "../../base/limits/h2.ts";
import type { H2Connection } from "./connection.ts";
import { clientPreface, frameType } from "./frame.ts";
import type { H2Stream } from "./stream.ts";
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
          for (const action of steps) {
            model.apply(action);
            conserved(model.pair.client, 0);
            conserved(model.pair.server, 0);
          }
          model.check();
        },
      ),
      { numRuns: 150 },
    );
  }, 300_000);

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

/** RFC 9113 §6.9: what was granted is with the peer, on its way back to it, or held. */
function balanced(connection: H2Connection): void {
  if (connection.done) return;
  const { grantedBytes, availableBytes, pendingBytes, heldBytes } = connection.windowAccount;
  expect(availableBytes + pendingBytes + heldBytes).toBe(grantedBytes);
}

/** And what is held is what the application holds. */
function conserved(connection: H2Connection, heldBytes: number): void {
  balanced(connection);
  if (!connection.done) expect(connection.windowAccount.heldBytes).toBe(heldBytes);
}

describe("the connection's window", () => {
  const kinds = ["open", "send", "end", "answer end", "deny", "consume", "hold", "cut", "reset"] as const;
  const act = fc.record({
    kind: fc.constantFrom(...kinds),
    at: fc.nat(5),
    bytes: fc.integer({ min: 1, max: 30_000 }),
    carried: fc.boolean(),
  });

  /** The server's view of one stream, by an application that reads when it is told to. */
  interface Served {
    readonly up: RecordedStream;
    heldPastEnd: boolean;
    consumed: number;
    givenUp: boolean;
  }

  test("granted is consumed and held, after every step of any lives of streams, and whole again after them", () => {
    fc.assert(
      fc.property(fc.array(act, { minLength: 20, maxLength: 120 }), (acts) => {
        const limits = { connectionWindowBytes: 65_535, streamWindowBytes: 40_000, maxFrameBytes: 16_384 };
        const pair = new Pair({ limits }, { limits });
        const lives: Served[] = [];
        pair.serverEvents.handler = (stream, _headers, events) => {
          events.consumes = false;
          if (lives.length % 3 === 1) stream.sendHeaders([":status", "200"], false);
        };
        const served = (at: number) => pair.serverEvents.requests[at];
        const held = () =>
          lives.reduce((sum, life, at) => {
            const events = served(at)?.events;
            if (events === undefined || life.givenUp) return sum;
            const over = events.closed || events.reset !== null;
            return over && !life.heldPastEnd ? sum : sum + events.receivedBytes - life.consumed;
          }, 0);
        const check = () => {
          conserved(pair.server, held());
          conserved(pair.client, 0);
        };
        for (const { kind, at, bytes, carried } of acts) {
          const index = Math.max(0, lives.length - 1 - at);
          const life = lives[index];
          const request = served(index);
          if (kind === "open") {
            const up = pair.request(post, false);
            if (up.stream !== null) lives.push({ up, heldPastEnd: false, consumed: 0, givenUp: false });
            pair.settle();
          } else if (life !== undefined && request !== undefined) {
            const { stream, events } = request;
            const up = life.up.stream;
            if (kind === "send" && up?.localEnded === false) up.sendData(new Uint8Array(bytes), false);
            else if (kind === "end" && up?.localEnded === false) up.sendData(new Uint8Array(0), true);
            else if (kind === "cut") up?.reset(8);
            else if (kind === "answer end" && !stream.localEnded) stream.sendData(new Uint8Array(0), true);
            else if (kind === "deny" && !stream.localEnded && index % 3 !== 0) {
              stream.sendHeaders([":status", "401"], true);
            } else if (kind === "hold" && !stream.closed) {
              stream.holdPastEnd();
              life.heldPastEnd = true;
            } else if (kind === "consume") {
              const over = stream.closed && !life.heldPastEnd;
              const most = over || life.givenUp ? 0 : events.receivedBytes - life.consumed;
              stream.consume(Math.min(bytes, most));
              life.consumed += Math.min(bytes, most);
            } else if (kind === "reset") {
              stream.reset(0);
              life.givenUp = true;
            }
          }
          check();
          if (!carried) continue;
          pair.carry(pair.client, pair.server);
          check();
          pair.settle();
          check();
        }
        // Every owner does what it promised, in one of the ways there are.
        for (const [index, life] of lives.entries()) {
          if (index % 2 === 0) served(index)?.stream.reset(8);
          else life.up.stream?.reset(8);
          pair.settle();
          if (life.heldPastEnd) served(index)?.stream.reset(8);
          life.givenUp = true;
          check();
        }
        expect([pair.client.openStreams, pair.server.openStreams, held()]).toEqual([0, 0, 0]);
        pair.serverEvents.handler = (stream) => stream.sendHeaders([":status", "200"], false);
        const last = pair.request(post, false);
        last.stream?.sendData(new Uint8Array(500_000), false);
        pair.settle();
        expect(pair.serverEvents.requests.at(-1)?.events.receivedBytes).toBe(500_000);
      }),
      { numRuns: 300 },
    );
  }, 300_000);

  test.each([
    ["a reset after both ends had ended", (stream: H2Stream) => stream.holdPastEnd(), 0],
    ["an owner that forgot what came", () => {}, 0],
  ] as const)("%s leaves nothing charged", (_name, prepare, expected) => {
    const limits = { connectionWindowBytes: 65_535, streamWindowBytes: 65_535 };
    const pair = new Pair({ limits }, { limits });
    pair.serverEvents.handler = (stream, _headers, events) => {
      events.consumes = false;
      prepare(stream);
      stream.sendHeaders([":status", "401"], true);
    };
    for (let turn = 0; turn < 20; turn++) {
      const up = pair.request(post, false);
      up.stream?.sendData(new Uint8Array(10_000), true);
      pair.settle();
      pair.serverEvents.requests.at(-1)?.stream.reset(0);
      pair.settle();
      conserved(pair.server, expected);
    }
  });
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
          for (let at = 0; at < bytes.length; at += piece) {
            peer.send(bytes.subarray(at, at + piece));
            balanced(peer.connection);
          }
          holds(peer.connection, peer);
          peer.connection.receiveEnd(1);
          expect(peer.connection.done).toBe(true);
          holds(peer.connection, peer);
        },
      ),
      { numRuns: 3000 },
    );
  }, 300_000);

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
