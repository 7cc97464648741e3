/** Each limit, reached by a peer that means harm; and what an honest peer does, which must not reach it. */
import { describe, expect, test } from "bun:test";
import { h2Limits } from "../../base/limits/h2.ts";
import { HpackEncoder } from "../hpack/encoder.ts";
import { h2ErrorCode } from "./error_code.ts";
import { FloodGuard, floodKinds } from "./flood.ts";
import { frameFlag, frameType, readUint31 } from "./frame.ts";
import type { H2Stream } from "./stream.ts";
import { concat, FramePeer, frameBytes, RecordedStream } from "./testing/wired.ts";

const get = [":method", "GET", ":scheme", "https", ":path", "/", ":authority", "a.example"];
const post = [":method", "POST", ":scheme", "https", ":path", "/", ":authority", "a.example"];
const connect = [":method", "CONNECT", ":authority", "10.0.0.7:8080"];
const calm = h2ErrorCode.enhanceYourCalm;
const eight = new Uint8Array(8);

function uint32(value: number): Uint8Array {
  return Uint8Array.from([value >>> 24, value >>> 16, value >>> 8, value]);
}

function server(options: ConstructorParameters<typeof FramePeer>[1] = {}): FramePeer {
  const peer = new FramePeer("server", options);
  peer.shake();
  return peer;
}

/** One-byte DATA frames on stream 1, in one piece. */
function tinyFrames(count: number): Uint8Array {
  return concat(
    Array.from({ length: count }, (_none, at) => frameBytes(frameType.data, 0, 1, Uint8Array.of(at))),
  );
}

/** Repeats until the connection ends. @returns how often it took. */
function flood(peer: FramePeer, atMost: number, act: (turn: number) => void, reads = true): number {
  for (let turn = 0; turn < atMost; turn++) {
    act(turn);
    if (peer.connection.done) return turn + 1;
    if (reads) peer.frames();
  }
  return Number.POSITIVE_INFINITY;
}

describe("frames that cost us more than the peer", () => {
  test("rapid reset (CVE-2023-44487)", () => {
    const peer = server();
    const limit = h2Limits.flood.earlyResets.burst;
    const turns = flood(peer, limit * 2, (turn) => {
      peer.headers(turn * 2 + 1, get);
      peer.frame(frameType.rstStream, 0, turn * 2 + 1, uint32(h2ErrorCode.cancel));
    });
    expect(turns).toBe(limit + 1);
    expect(peer.goAwayCode()).toBe(calm);
    expect(peer.events.closes[0]?.code).toBe("h2_flood");
    expect(peer.events.closes[0]?.blame).toBe("peer");
  });

  test("resets after an answer, or at an honest rate, are no attack", () => {
    const peer = server();
    peer.events.handler = (stream) => stream.sendHeaders([":status", "200"], false);
    const answered = flood(peer, 5000, (turn) => {
      peer.headers(turn * 2 + 1, connect, frameFlag.endHeaders);
      peer.frame(frameType.rstStream, 0, turn * 2 + 1, uint32(h2ErrorCode.cancel));
    });
    expect(answered).toBe(Number.POSITIVE_INFINITY);
    const slow = server();
    const rate = h2Limits.flood.earlyResets.perSecond;
    const spread = flood(slow, 5000, (turn) => {
      slow.now += 1000 / rate;
      slow.headers(turn * 2 + 1, get);
      slow.frame(frameType.rstStream, 0, turn * 2 + 1, uint32(h2ErrorCode.cancel));
    });
    expect(spread).toBe(Number.POSITIVE_INFINITY);
  });

  test.each([
    [
      "WINDOW_UPDATE of 0",
      (peer: FramePeer, id: number) => peer.frame(frameType.windowUpdate, 0, id, uint32(0)),
    ],
    [
      "a window above 2^31-1",
      (peer: FramePeer, id: number) => peer.frame(frameType.windowUpdate, 0, id, uint32(0x7fffffff)),
    ],
    ["HEADERS in the middle", (peer: FramePeer, id: number) => peer.headers(id, get, frameFlag.endHeaders)],
    ["more than content-length", (peer: FramePeer, id: number) => peer.frame(frameType.data, 0, id, eight)],
  ])("MadeYouReset (CVE-2025-8671) by %s", (_name, provoke) => {
    const peer = server();
    const limit = h2Limits.flood.provokedResets.burst;
    const turns = flood(peer, limit * 2, (turn) => {
      peer.headers(turn * 2 + 1, [...post, "content-length", "2"], frameFlag.endHeaders);
      provoke(peer, turn * 2 + 1);
      expect(peer.events.requests.at(-1)?.stream.closed).toBe(true);
    });
    expect(turns).toBe(limit + 1);
    expect(peer.goAwayCode()).toBe(calm);
  });

  test("malformed requests one after another", () => {
    const peer = server();
    const turns = flood(peer, 5000, (turn) => peer.headers(turn * 2 + 1, [":method", "GET"]));
    expect(turns).toBe(h2Limits.flood.provokedResets.burst + 1);
  });

  test.each([
    ["SETTINGS (CVE-2019-9515)", "settings", (peer: FramePeer) => peer.frame(frameType.settings, 0, 0)],
    [
      "SETTINGS acknowledgements of nothing",
      "settings",
      (peer: FramePeer) => peer.frame(frameType.settings, frameFlag.ack, 0),
    ],
    ["PING (CVE-2019-9512)", "pings", (peer: FramePeer) => peer.frame(frameType.ping, 0, 0, eight)],
    [
      "PING answers that were not asked for",
      "pings",
      (peer: FramePeer) => peer.frame(frameType.ping, frameFlag.ack, 0, eight),
    ],
    [
      "WINDOW_UPDATE",
      "windowUpdates",
      (peer: FramePeer) => peer.frame(frameType.windowUpdate, 0, 0, uint32(1)),
    ],
    [
      "PRIORITY (CVE-2019-9513)",
      "ignoredFrames",
      (peer: FramePeer) => peer.frame(frameType.priority, 0, 9, Uint8Array.of(0, 0, 0, 0, 1)),
    ],
    ["frames of unknown types", "ignoredFrames", (peer: FramePeer) => peer.frame(0xbb, 0, 0, eight)],
    [
      "RST_STREAM of closed streams",
      "ignoredFrames",
      (peer: FramePeer) => peer.frame(frameType.rstStream, 0, 1, uint32(8)),
    ],
    ["empty DATA (CVE-2019-9518)", "emptyData", (peer: FramePeer) => peer.frame(frameType.data, 0, 3)],
    [
      "DATA of one byte",
      "tinyData",
      (peer: FramePeer) => peer.frame(frameType.data, 0, 3, eight.subarray(7)),
    ],
    [
      "DATA of one byte in much padding",
      "tinyData",
      (peer: FramePeer) =>
        peer.frame(frameType.data, frameFlag.padded, 3, concat([Uint8Array.of(9), new Uint8Array(10)])),
    ],
    [
      "DATA of padding alone",
      "emptyData",
      (peer: FramePeer) => peer.frame(frameType.data, frameFlag.padded, 3, Uint8Array.of(0)),
    ],
  ] as const)("%s", (_name, kind, act) => {
    const peer = server();
    peer.headers(1, get);
    peer.frame(frameType.rstStream, 0, 1, uint32(8));
    peer.headers(3, post, frameFlag.endHeaders);
    const { burst } = h2Limits.flood[kind];
    const turns = flood(peer, burst * 2, () => act(peer));
    // The handshake and the preparation above count too.
    expect(turns).toBeGreaterThan(burst - 5);
    expect(turns).toBeLessThan(burst + 2);
    expect(peer.goAwayCode()).toBe(calm);
  });

  test("a program that writes byte by byte, a thousand times a second for an hour", () => {
    const peer = server();
    peer.headers(1, post, frameFlag.endHeaders);
    for (let second = 0; second < 3600; second++) {
      peer.now = second * 1000;
      for (let at = 0; at < 20; at++) peer.send(tinyFrames(50));
      peer.frames();
    }
    expect([peer.connection.done, peer.events.requests[0]?.events.receivedBytes]).toEqual([false, 3_600_000]);
  }, 300_000);

  test("small pieces of many streams are told together, each stream's in its order, before what follows them", () => {
    const peer = server();
    for (const id of [1, 3]) peer.headers(id, post, frameFlag.endHeaders);
    const [one, three] = peer.events.requests.map(({ events }) => events);
    const frames: Uint8Array[] = [];
    for (let at = 0; at < 100; at++)
      for (const id of [1, 3]) frames.push(frameBytes(frameType.data, 0, id, Uint8Array.of(at, id)));
    frames.push(frameBytes(frameType.data, 0, 1, new Uint8Array(h2Limits.gatherBelowBytes).fill(7)));
    frames.push(frameBytes(frameType.rstStream, 0, 3, uint32(8)));
    peer.send(concat(frames));
    expect([one?.chunks.map(({ length }) => length), three?.chunks.map(({ length }) => length)]).toEqual([
      [200, h2Limits.gatherBelowBytes],
      [200],
    ]);
    expect([...(three?.body ?? [])].filter((_byte, at) => at % 2 === 0)).toEqual([...Array(100).keys()]);
    expect(three?.reset?.errorCode).toBe(8);
  });

  test("input that asks for much work is taken in parts, frames without content included", () => {
    const peer = server();
    peer.headers(1, post, frameFlag.endHeaders);
    const input = concat([
      tinyFrames(h2Limits.workPerReceive),
      frameBytes(frameType.data, 1, 1, eight.subarray(8)),
    ]);
    const taken = peer.connection.receive(input, 0);
    const served = peer.events.requests[0]?.events;
    expect([input.length - taken, served?.receivedBytes, served?.ended]).toEqual([
      9,
      h2Limits.workPerReceive,
      false,
    ]);
    expect(peer.connection.receive(input.subarray(taken), 0)).toBe(9);
    expect(served?.ended).toBe(true);
    const blocks = server();
    const requests = Array.from({ length: 300 }, (_none, at) =>
      frameBytes(
        frameType.headers,
        frameFlag.endHeaders | frameFlag.endStream,
        at * 2 + 1,
        blocks.block(get),
      ),
    );
    blocks.events.handler = (stream) => stream.sendHeaders([":status", "401"], true);
    blocks.connection.receive(concat(requests), 0);
    expect(blocks.events.requests.length).toBe(
      Math.ceil(h2Limits.workPerReceive / (h2Limits.headerBlockWork + 1)),
    );
  });

  test("a reader of our bulk may send as many WINDOW_UPDATEs as it reads", () => {
    const peer = new FramePeer("client");
    peer.shake();
    const events = new RecordedStream();
    events.stream = peer.connection.request(connect, false, events);
    const turns = flood(peer, 30_000, () => {
      events.stream?.sendData(new Uint8Array(1024), false);
      peer.frames();
      peer.frame(frameType.windowUpdate, 0, 0, uint32(1024));
      peer.frame(frameType.windowUpdate, 0, 1, uint32(1024));
    });
    expect(turns).toBe(Number.POSITIVE_INFINITY);
  });
});

describe("what honest peers say beside requests and answers, in no time at all", () => {
  const turns = 10_000;
  /** As tight as the others. */
  const limits = { flood: { ...h2Limits.flood, tinyData: h2Limits.flood.pings } };
  /** Requests of ours, one behind the other. @param answer as the peer does it. */
  function asked(answer: (peer: FramePeer, id: number, stream: H2Stream) => void): FramePeer {
    const peer = new FramePeer("client", { limits });
    peer.shake();
    peer.frame(frameType.windowUpdate, 0, 0, uint32(5 * turns));
    for (let turn = 0; turn < turns && !peer.connection.done; turn++) {
      const events = new RecordedStream();
      const stream = peer.connection.request(post, false, events);
      if (stream === null) throw new Error("no stream");
      stream.sendData(new Uint8Array(5), false);
      answer(peer, stream.id, stream);
    }
    return peer;
  }

  test("a server that answers before it has read, and says so behind each answer", () => {
    const peer = asked((peer, id, stream) => {
      peer.frames();
      peer.headers(id, [":status", "200"]);
      // What it says crosses our end (RFC 9113 §8.1).
      stream.sendData(new Uint8Array(0), true);
      peer.frame(frameType.rstStream, 0, id, uint32(h2ErrorCode.noError));
    });
    expect(peer.events.closes).toEqual([]);
  });

  test("a server whose reset crosses ours", () => {
    const peer = asked((peer, id, stream) => {
      stream.reset(h2ErrorCode.cancel);
      peer.frames();
      peer.frame(frameType.rstStream, 0, id, uint32(h2ErrorCode.cancel));
    });
    expect(peer.events.closes).toEqual([]);
  });

  test("gRPC: an empty message and trailers for each call, and a PING for each DATA that was read", () => {
    const peer = asked((peer, id, stream) => {
      stream.sendData(new Uint8Array(0), true);
      peer.frames();
      peer.frame(frameType.ping, 0, 0, eight);
      peer.headers(id, [":status", "200"], frameFlag.endHeaders);
      peer.frame(frameType.data, 0, id, new Uint8Array(5));
      peer.headers(id, ["grpc-status", "0"]);
    });
    expect(peer.events.closes).toEqual([]);
  });

  test("gRPC: clients whose calls have an empty message, and its end in a frame of its own", () => {
    const peer = server({ limits });
    peer.frame(frameType.windowUpdate, 0, 0, uint32(5 * turns));
    peer.events.handler = (stream) => stream.sendHeaders([":status", "200"], false);
    for (let turn = 0; turn < turns && !peer.connection.done; turn++) {
      const id = turn * 2 + 1;
      peer.headers(id, post, frameFlag.endHeaders);
      peer.frame(frameType.data, 0, id, new Uint8Array(5));
      peer.frame(frameType.data, frameFlag.endStream, id);
      const { stream } = peer.events.requests.pop() ?? {};
      stream?.consume(5);
      stream?.sendData(new Uint8Array(5), false);
      peer.frames();
      stream?.sendTrailers(["grpc-status", "0"]);
      peer.frame(frameType.ping, 0, 0, eight);
      peer.frames();
      peer.frame(frameType.rstStream, 0, id, uint32(h2ErrorCode.cancel));
    }
    expect(peer.events.closes).toEqual([]);
  });
});

describe("header blocks", () => {
  test("a CONTINUATION flood ends at the count, and at the bytes", () => {
    const byCount = server();
    byCount.frame(frameType.headers, 0, 1);
    expect(flood(byCount, 1000, () => byCount.frame(frameType.continuation, 0, 1))).toBe(
      h2Limits.maxContinuationFrames + 1,
    );
    expect(byCount.goAwayCode()).toBe(calm);

    const byBytes = server();
    byBytes.frame(frameType.headers, 0, 1);
    const turns = flood(byBytes, 1000, () =>
      byBytes.frame(frameType.continuation, 0, 1, new Uint8Array(8192)),
    );
    expect(turns).toBe(h2Limits.maxHeaderBlockBytes / 8192 + 1);
    expect(byBytes.goAwayCode()).toBe(calm);
  });

  test("one HEADERS frame above the limit is refused by its head, before any of it is kept", () => {
    const peer = server();
    const length = h2Limits.maxHeaderBlockBytes + 1;
    peer.send(
      Uint8Array.of(length >> 16, length >> 8, length, frameType.headers, frameFlag.endHeaders, 0, 0, 0, 1),
    );
    expect(peer.goAwayCode()).toBe(calm);
  });

  test("an HPACK bomb costs its stream, not the connection", () => {
    const peer = server();
    const encoder = new HpackEncoder({ maxTableBytes: 1 << 20, huffman: false });
    const literal = new Uint8Array(5000);
    const seed = literal.slice(0, encoder.encode(["x-bomb", "b".repeat(4000)], literal, 0));
    seed[0] = 0x40;
    const block = concat([peer.block(get), seed, new Uint8Array(50_000).fill(0xbe)]);
    peer.frame(frameType.headers, frameFlag.endHeaders | frameFlag.endStream, 1, block);
    const reset = peer.frames()[0];
    expect([reset?.type, readUint31(reset?.payload ?? eight, 0)]).toEqual([frameType.rstStream, calm]);
    expect(peer.events.requests).toHaveLength(0);
    peer.frame(frameType.ping, 0, 0, eight);
    expect(peer.frames()[0]?.type).toBe(frameType.ping);
  });

  test("a header list above SETTINGS_MAX_HEADER_LIST_SIZE, one below it", () => {
    const peer = server({ limits: { maxHeaderListBytes: 1000 } });
    peer.headers(1, [...get, "x-fill", "f".repeat(900)]);
    peer.headers(3, [...get, "x-fill", "f".repeat(600)]);
    expect(peer.events.requests.map((request) => request.stream.id)).toEqual([3]);
    expect(readUint31(peer.frames()[0]?.payload ?? eight, 0)).toBe(calm);
  });
});

describe("memory the peer can make us hold", () => {
  test("answers that are not read: PING, SETTINGS, RST_STREAM", () => {
    const ping = server({ limits: { flood: { ...h2Limits.flood, pings: { burst: 1e9, perSecond: 1 } } } });
    const turns = flood(ping, 10_000, () => ping.frame(frameType.ping, 0, 0, eight), false);
    expect(turns).toBe(h2Limits.maxProvokedFrames + 1);
    expect(ping.goAwayCode()).toBe(calm);
  });

  test("the same peer, reading, is served for ever", () => {
    const ping = server({ limits: { flood: { ...h2Limits.flood, pings: { burst: 1e9, perSecond: 1 } } } });
    expect(flood(ping, 10_000, () => ping.frame(frameType.ping, 0, 0, eight))).toBe(Number.POSITIVE_INFINITY);
  });

  test("responses that are not read", () => {
    const peer = server({
      limits: { flood: { ...h2Limits.flood, earlyResets: { burst: 1e9, perSecond: 1 } } },
    });
    peer.events.handler = (stream) =>
      stream.sendHeaders([":status", "200", "x-fill", "f".repeat(3000)], false);
    const turns = flood(
      peer,
      100_000,
      (turn) => {
        peer.headers(turn * 2 + 1, get);
        peer.frame(frameType.rstStream, 0, turn * 2 + 1, uint32(8));
      },
      false,
    );
    expect(turns * 3000).toBeLessThan(h2Limits.maxQueuedControlBytes + 10_000);
    expect(peer.goAwayCode()).toBe(calm);
  });

  test("a peer that never opens its window: the application is told to stop, and its DATA goes with the stream", () => {
    const peer = new FramePeer("client");
    peer.shake();
    const events = new RecordedStream();
    events.stream = peer.connection.request(connect, false, events);
    let sent = 0;
    while (events.stream?.aboveHighWater === false) {
      events.stream.sendData(new Uint8Array(16_384), false);
      sent += 16_384;
      peer.frames();
    }
    expect(sent).toBeLessThanOrEqual(h2Limits.highWaterBytes + 65_535 + 16_384);
    peer.frame(frameType.rstStream, 0, 1, uint32(8));
    expect(events.stream?.queuedBytes).toBe(0);
    expect(peer.connection.wantsOutput).toBe(false);
  });

  test("SETTINGS with more entries than there are settings", () => {
    const peer = server();
    peer.frame(frameType.settings, 0, 0, new Uint8Array(6 * (h2Limits.maxSettingsEntries + 1)));
    expect(peer.goAwayCode()).toBe(calm);
  });

  test("GOAWAY debug data is cut, an unknown frame is not kept at all", () => {
    const peer = new FramePeer("client");
    peer.shake();
    peer.connection.request(connect, false, new RecordedStream());
    peer.frame(frameType.goAway, 0, 0, concat([uint32(9), uint32(0), new Uint8Array(500_000).fill(65)]));
    expect(peer.events.goAways[0]?.debug.length).toBe(h2Limits.maxGoAwayDebugBytes);
    peer.frame(0xee, 0xff, 77, new Uint8Array(1 << 20));
    peer.frame(frameType.ping, 0, 0, eight);
    expect(peer.frames().at(-1)?.type).toBe(frameType.ping);
  });
});

describe("buckets", () => {
  test("fill with time up to the burst, and with what we send", () => {
    const limits = Object.fromEntries(floodKinds.map((kind) => [kind, { burst: 3, perSecond: 1 }]));
    const guard = new FloodGuard({ ...h2Limits.flood, ...limits });
    expect([1, 2, 3, 4].map(() => guard.charge("pings", 0))).toEqual([true, true, true, false]);
    expect(guard.charge("settings", 0)).toBe(true);
    expect([guard.charge("pings", 2000), guard.charge("pings", 2000)]).toEqual([true, false]);
    guard.earn("pings", 100);
    expect([1, 2, 3, 4].map(() => guard.charge("pings", 2000))).toEqual([true, true, true, false]);
    // A clock that steps back gives nothing and takes nothing.
    expect(guard.charge("settings", -5000)).toBe(true);
  });
});

describe("RFC 9113 §4.1, §6 frames that are wrong", () => {
  const tooLarge = h2Limits.maxFrameBytes + 1;
  test.each([
    [
      "a frame above MAX_FRAME_SIZE",
      Uint8Array.of(tooLarge >> 16, tooLarge >> 8, tooLarge, 0, 0, 0, 0, 0, 1),
      6,
    ],
    ["PING of 7 bytes", frameBytes(frameType.ping, 0, 0, new Uint8Array(7)), 6],
    ["PING on a stream", frameBytes(frameType.ping, 0, 1, eight), 1],
    ["SETTINGS on a stream", frameBytes(frameType.settings, 0, 1, new Uint8Array(0)), 1],
    ["SETTINGS of 5 bytes", frameBytes(frameType.settings, 0, 0, new Uint8Array(5)), 6],
    ["SETTINGS ack with content", frameBytes(frameType.settings, frameFlag.ack, 0, new Uint8Array(6)), 6],
    ["ENABLE_PUSH of 2", frameBytes(frameType.settings, 0, 0, Uint8Array.of(0, 2, 0, 0, 0, 2)), 1],
    [
      "INITIAL_WINDOW_SIZE of 2^31",
      frameBytes(frameType.settings, 0, 0, Uint8Array.of(0, 4, 0x80, 0, 0, 0)),
      3,
    ],
    ["MAX_FRAME_SIZE of 1", frameBytes(frameType.settings, 0, 0, Uint8Array.of(0, 5, 0, 0, 0, 1)), 1],
    ["RST_STREAM on stream 0", frameBytes(frameType.rstStream, 0, 0, new Uint8Array(4)), 1],
    ["RST_STREAM of an idle stream", frameBytes(frameType.rstStream, 0, 99, new Uint8Array(4)), 1],
    ["RST_STREAM of 3 bytes", frameBytes(frameType.rstStream, 0, 1, new Uint8Array(3)), 6],
    ["WINDOW_UPDATE of an idle stream", frameBytes(frameType.windowUpdate, 0, 99, uint32(1)), 1],
    ["WINDOW_UPDATE of 0 on the connection", frameBytes(frameType.windowUpdate, 0, 0, uint32(0)), 1],
    ["DATA on stream 0", frameBytes(frameType.data, 0, 0, eight), 1],
    ["DATA on an idle stream", frameBytes(frameType.data, 0, 99, eight), 1],
    [
      "DATA with more padding than frame",
      frameBytes(frameType.data, frameFlag.padded, 1, Uint8Array.of(8, 1, 2)),
      1,
    ],
    ["HEADERS on stream 0", frameBytes(frameType.headers, frameFlag.endHeaders, 0, eight), 1],
    ["HEADERS on an even stream", frameBytes(frameType.headers, frameFlag.endHeaders, 2, eight), 1],
    ["CONTINUATION out of nowhere", frameBytes(frameType.continuation, frameFlag.endHeaders, 1, eight), 1],
    ["GOAWAY of 7 bytes", frameBytes(frameType.goAway, 0, 0, new Uint8Array(7)), 6],
    ["GOAWAY on a stream", frameBytes(frameType.goAway, 0, 1, eight), 1],
    ["PUSH_PROMISE", frameBytes(frameType.pushPromise, frameFlag.endHeaders, 1, eight), 1],
    ["PRIORITY of 4 bytes", frameBytes(frameType.priority, 0, 1, new Uint8Array(4)), 6],
    [
      "a block that HPACK cannot read",
      frameBytes(frameType.headers, frameFlag.endHeaders, 3, Uint8Array.of(0x80)),
      9,
    ],
  ])("%s", (_name, bytes, errorCode) => {
    const peer = server();
    peer.headers(1, post, frameFlag.endHeaders);
    peer.frames();
    peer.send(bytes);
    expect(peer.connection.done).toBe(true);
    expect(peer.goAwayCode()).toBe(errorCode);
    expect(peer.events.requests[0]?.events.reset?.initiator).toBe("library");
    expect(peer.events.closes).toHaveLength(1);
  });

  test("another frame inside a header block", () => {
    const peer = server();
    peer.frame(frameType.headers, 0, 1, peer.block(get));
    peer.frame(frameType.ping, 0, 0, eight);
    expect(peer.goAwayCode()).toBe(h2ErrorCode.protocolError);
  });

  test("§3.4 no preface, and no SETTINGS first", () => {
    const http1 = new FramePeer("server");
    http1.send(new TextEncoder().encode("GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    expect(http1.goAwayCode()).toBe(h2ErrorCode.protocolError);
    for (const role of ["server", "client"] as const) {
      const peer = new FramePeer(role);
      if (role === "server") peer.send(new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
      peer.frame(frameType.ping, 0, 0, eight);
      expect(peer.goAwayCode()).toBe(h2ErrorCode.protocolError);
    }
  });
});
