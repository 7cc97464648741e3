import { describe, expect, test } from "bun:test";
import { h2ErrorCode } from "./error_code.ts";
import { frameFlag, frameType, readUint31 } from "./frame.ts";
import { defaultSettings, encodeSettings, type H2Settings } from "./settings.ts";
import { concat, FramePeer, Pair, RecordedStream } from "./testing/wired.ts";

const get = [":method", "GET", ":scheme", "https", ":path", "/", ":authority", "a.example"];
const post = [":method", "POST", ":scheme", "https", ":path", "/", ":authority", "a.example"];
const connect = [":method", "CONNECT", ":authority", "10.0.0.7:8080"];
const ok = [":status", "200"];
const bytes = (text: string) => new TextEncoder().encode(text);
const none = new Uint8Array(0);

function settings(changes: Partial<H2Settings>): Uint8Array {
  return encodeSettings({ ...defaultSettings, ...changes }, defaultSettings, "server");
}

function uint32(value: number): Uint8Array {
  return Uint8Array.from([value >>> 24, value >>> 16, value >>> 8, value]);
}

/** A client with one open tunnel, its peer in frames. */
function tunnel(peerSettings: Partial<H2Settings> = {}): { peer: FramePeer; events: RecordedStream } {
  const peer = new FramePeer("client");
  peer.shake(settings(peerSettings));
  const events = new RecordedStream();
  events.stream = peer.connection.request(connect, false, events);
  peer.headers(1, ok, frameFlag.endHeaders);
  peer.frames();
  return { peer, events };
}

describe("RFC 9113 §8.5 CONNECT", () => {
  test("a tunnel carries bytes both ways and half-closes", () => {
    const pair = new Pair();
    pair.serverEvents.handler = (stream) => stream.sendHeaders(ok, false);
    const events = pair.request(connect, false);
    pair.settle();
    expect(events.headers).toEqual([ok]);
    const served = pair.serverEvents.requests[0];
    expect(served?.headers).toEqual(connect);
    expect(served?.endStream).toBe(false);
    events.stream?.sendData(bytes("ping"), false);
    pair.settle();
    expect(served?.events.text).toBe("ping");
    served?.stream.sendData(bytes("pong"), true);
    pair.settle();
    expect(events.text).toBe("pong");
    expect([events.ended, events.closed]).toEqual([true, false]);
    events.stream?.sendData(bytes("!"), true);
    pair.settle();
    expect(served?.events.text).toBe("ping!");
    expect([events.closed, served?.events.closed]).toEqual([true, true]);
    expect(pair.client.openStreams + pair.server.openStreams).toBe(0);
  });

  test.each([
    ["with :scheme", [...connect, ":scheme", "https"]],
    ["with :path", [...connect, ":path", "/"]],
    ["without :authority", [":method", "CONNECT"]],
    ["with an empty :authority", [":method", "CONNECT", ":authority", ""]],
    [
      "with :protocol that we did not offer",
      [...connect, ":protocol", "websocket", ":scheme", "https", ":path", "/"],
    ],
  ])("%s is malformed", (_name, fields) => {
    const peer = new FramePeer("server");
    peer.shake();
    peer.headers(1, fields, frameFlag.endHeaders);
    const frame = peer.frames()[0];
    expect([frame?.type, readUint31(frame?.payload ?? none, 0)]).toEqual([
      frameType.rstStream,
      h2ErrorCode.protocolError,
    ]);
    expect(peer.events.requests).toHaveLength(0);
    expect(peer.connection.done).toBe(false);
  });

  test("RFC 8441: extended CONNECT where it was offered", () => {
    const peer = new FramePeer("server", { enableConnectProtocol: true });
    peer.shake();
    const fields = [...connect, ":protocol", "websocket", ":scheme", "https", ":path", "/chat"];
    peer.headers(1, fields, frameFlag.endHeaders);
    expect(peer.events.requests[0]?.headers).toEqual(fields);
  });

  test("§8.1.1 content-length of a tunnel is not a promise about it", () => {
    const pair = new Pair();
    pair.serverEvents.handler = (stream) => stream.sendHeaders([...ok, "content-length", "3"], false);
    const events = pair.request(connect, false);
    pair.settle();
    pair.serverEvents.requests[0]?.stream.sendData(bytes("more than three"), true);
    pair.settle();
    expect(events.text).toBe("more than three");
  });
});

describe("RFC 9113 §8.5 a tunnel has DATA only", () => {
  test("trailers in a tunnel are an error of the stream, at either end", () => {
    const { peer, events } = tunnel();
    peer.headers(1, ["x-trailer", "1"]);
    expect([events.reset?.errorCode, events.reset?.initiator]).toEqual([
      h2ErrorCode.protocolError,
      "library",
    ]);
    const server = new FramePeer("server");
    server.shake();
    server.events.handler = (stream) => stream.sendHeaders(ok, false);
    server.headers(1, connect, frameFlag.endHeaders);
    server.headers(1, ["x-trailer", "1"]);
    expect(server.events.requests[0]?.events.reset?.errorCode).toBe(h2ErrorCode.protocolError);
  });

  test("a refusal of CONNECT is an ordinary response", () => {
    const pair = new Pair();
    pair.serverEvents.handler = (stream) => {
      stream.sendHeaders([":status", "503", "content-length", "4"], false);
      stream.sendData(bytes("busy"), false);
      stream.sendTrailers(["x-reason", "none"]);
    };
    const events = pair.request(connect, false);
    pair.settle();
    expect([events.text, events.trailers]).toEqual(["busy", [["x-reason", "none"]]]);
  });
});

describe("RFC 9113 §8.3.1, §10.3 request targets", () => {
  test.each([
    ["a blank in :path", [":method", "GET", ":scheme", "https", ":path", "/a b", ":authority", "a"]],
    ["a control in :authority", [":method", "GET", ":scheme", "https", ":path", "/", ":authority", "a\x01"]],
    ["a blank in :method", [":method", "GET /", ":scheme", "https", ":path", "/", ":authority", "a"]],
    ["user information", [":method", "GET", ":scheme", "https", ":path", "/", ":authority", "u@a"]],
    ["a relative path", [":method", "GET", ":scheme", "https", ":path", "a", ":authority", "a"]],
    ["* without OPTIONS", [":method", "GET", ":scheme", "https", ":path", "*", ":authority", "a"]],
    ["a blank in CONNECT's :authority", [":method", "CONNECT", ":authority", "a:1 b"]],
  ])("%s is malformed", (_name, fields) => {
    const peer = new FramePeer("server");
    peer.shake();
    peer.headers(1, fields);
    expect(peer.frames().map((frame) => frame.type)).toEqual([frameType.rstStream]);
    expect(peer.events.requests).toHaveLength(0);
  });

  test("* with OPTIONS and other schemes are not", () => {
    const peer = new FramePeer("server");
    peer.shake();
    peer.headers(1, [":method", "OPTIONS", ":scheme", "https", ":path", "*", ":authority", "a"]);
    peer.headers(3, [":method", "GET", ":scheme", "coap", ":path", "a", ":authority", "a"]);
    expect(peer.events.requests).toHaveLength(2);
  });
});

describe("RFC 9113 §8.1 messages", () => {
  test("request and response with trailers", () => {
    const pair = new Pair();
    const events = pair.request(post, false);
    events.stream?.sendData(bytes("hello"), false);
    events.stream?.sendTrailers(["x-sum", "5"]);
    pair.settle();
    const served = pair.serverEvents.requests[0];
    expect(served?.events.text).toBe("hello");
    expect(served?.events.trailers).toEqual([["x-sum", "5"]]);
    served?.stream.sendHeaders(ok, false);
    served?.stream.sendData(bytes("world"), false);
    served?.stream.sendTrailers(["grpc-status", "0"]);
    pair.settle();
    expect(events.text).toBe("world");
    expect(events.trailers).toEqual([["grpc-status", "0"]]);
    expect([events.closed, served?.events.closed]).toEqual([true, true]);
  });

  test("trailers wait for DATA that waits for a window", () => {
    const peer = new FramePeer("client");
    peer.shake(settings({ initialWindowBytes: 3 }));
    const events = new RecordedStream();
    events.stream = peer.connection.request(post, false, events);
    peer.frames();
    events.stream?.sendData(bytes("abcdef"), false);
    events.stream?.sendTrailers(["x-end", "1"]);
    expect(peer.frames().map((frame) => [frame.type, frame.payload.length])).toEqual([[frameType.data, 3]]);
    peer.frame(frameType.windowUpdate, 0, 1, uint32(100));
    const [data, trailers] = peer.frames();
    expect([data?.type, data?.flags, trailers?.type]).toEqual([frameType.data, 0, frameType.headers]);
    expect((trailers?.flags ?? 0) & frameFlag.endStream).toBe(frameFlag.endStream);
  });

  test("interim responses come before the final one", () => {
    const pair = new Pair();
    pair.serverEvents.handler = (stream) => {
      stream.sendHeaders([":status", "103", "link", "</a>"], false);
      stream.sendHeaders(ok, true);
    };
    const events = pair.request(get, true);
    pair.settle();
    expect(events.headers).toEqual([[":status", "103", "link", "</a>"], ok]);
    expect(events.closed).toBe(true);
  });

  test.each([
    ["a response without :status", ["server", "x"], frameFlag.endHeaders],
    ["a status of two digits", [":status", "20"], frameFlag.endHeaders],
    ["status 101", [":status", "101"], frameFlag.endHeaders],
    [
      "an interim response that ends the stream",
      [":status", "100"],
      frameFlag.endHeaders | frameFlag.endStream,
    ],
    ["a request pseudo-header", [":status", "200", ":path", "/"], frameFlag.endHeaders],
    [
      "a response without the content it announces",
      [...ok, "content-length", "4"],
      frameFlag.endHeaders | frameFlag.endStream,
    ],
    ["two lengths", [...ok, "content-length", "4", "content-length", "5"], frameFlag.endHeaders],
  ])("%s is malformed", (_name, fields, flags) => {
    const peer = new FramePeer("client");
    peer.shake();
    const events = new RecordedStream();
    peer.connection.request(get, true, events);
    peer.headers(1, fields, flags);
    expect(events.reset?.errorCode).toBe(h2ErrorCode.protocolError);
    expect(events.reset?.initiator).toBe("library");
    expect(events.reset?.error.blame).toBe("peer");
  });

  test("DATA before the response is an error, after it content-length is kept", () => {
    const peer = new FramePeer("client");
    peer.shake();
    const [early, short, exact] = [new RecordedStream(), new RecordedStream(), new RecordedStream()];
    for (const events of [early, short, exact]) events.stream = peer.connection.request(get, true, events);
    peer.frame(frameType.data, 0, 1, bytes("x"));
    expect(early.reset?.errorCode).toBe(h2ErrorCode.protocolError);
    for (const id of [3, 5]) peer.headers(id, [...ok, "content-length", "4"], frameFlag.endHeaders);
    peer.frame(frameType.data, frameFlag.endStream, 3, bytes("abc"));
    expect(short.reset?.errorCode).toBe(h2ErrorCode.protocolError);
    peer.frame(frameType.data, frameFlag.endStream, 5, bytes("abcd"));
    expect([exact.text, exact.closed]).toEqual(["abcd", true]);
  });

  test("a response to HEAD, and 304, have a length without content", () => {
    const peer = new FramePeer("client");
    peer.shake();
    const [head, notModified] = [new RecordedStream(), new RecordedStream()];
    peer.connection.request([":method", "HEAD", ...get.slice(2)], true, head);
    peer.connection.request(get, true, notModified);
    peer.headers(1, [...ok, "content-length", "10"]);
    peer.headers(3, [":status", "304", "content-length", "10"]);
    expect([head.closed, notModified.closed]).toEqual([true, true]);
  });

  test("§8.3.1 host must agree with :authority", () => {
    const peer = new FramePeer("server");
    peer.shake();
    peer.headers(1, [...get, "host", "A.example"]);
    peer.headers(3, [...get, "host", "b.example"]);
    expect(peer.events.requests).toHaveLength(1);
    expect(peer.frames().at(-1)?.type).toBe(frameType.rstStream);
  });

  test("bytes of 0x80 and above survive in values", () => {
    const pair = new Pair();
    pair.request([...get, "x-bytes", "\x80\xe9\xff"], true);
    pair.settle();
    expect(pair.serverEvents.requests[0]?.headers.at(-1)).toBe("\x80\xe9\xff");
  });
});

describe("RFC 9113 §4.3 field blocks", () => {
  test("a block larger than the peer's frames is continued, and read again", () => {
    const pair = new Pair({}, { limits: { maxFrameBytes: 16_384 } });
    pair.settle();
    const big = [...get, "x-big", "v".repeat(40_000)];
    pair.request(big, true);
    pair.settle();
    expect(pair.serverEvents.requests[0]?.headers).toEqual(big);
  });

  test("padding and priority of HEADERS are taken off", () => {
    const peer = new FramePeer("server");
    peer.shake();
    const block = peer.block(get);
    const payload = concat([Uint8Array.from([2, 0, 0, 0, 0, 9]), block, Uint8Array.from([0, 0])]);
    const flags = frameFlag.padded | frameFlag.priority | frameFlag.endHeaders | frameFlag.endStream;
    peer.frame(frameType.headers, flags, 1, payload);
    expect(peer.events.requests[0]?.headers).toEqual(get);
  });

  test.each([
    ["more padding than frame", frameFlag.padded, [9, 0x82]],
    ["padding over the priority fields", frameFlag.padded | frameFlag.priority, [3, 0, 0, 0, 1, 1]],
    ["an empty padded frame", frameFlag.padded, []],
  ])("%s is a connection error", (_name, flags, payload) => {
    const peer = new FramePeer("server");
    peer.shake();
    peer.frame(frameType.headers, flags | frameFlag.endHeaders, 1, Uint8Array.from(payload));
    expect(peer.goAwayCode()).toBe(h2ErrorCode.protocolError);
  });
});

describe("RFC 9113 §5.1 closed streams and frames in flight", () => {
  test("after our RST_STREAM everything of the stream is dropped, and the connection window comes back", () => {
    const { peer, events } = tunnel();
    events.consumes = false;
    peer.frame(frameType.data, 0, 1, new Uint8Array(1000));
    events.stream?.reset(h2ErrorCode.cancel);
    expect(events.reset?.initiator).toBe("user");
    for (let i = 0; i < 10; i++) peer.frame(frameType.data, 0, 1, new Uint8Array(900_000));
    peer.headers(1, ["x-late", "trailer"]);
    peer.frame(frameType.windowUpdate, 0, 1, uint32(5));
    peer.frame(frameType.rstStream, 0, 1, uint32(0));
    const frames = peer.frames();
    const returned = frames.filter((frame) => frame.type === frameType.windowUpdate && frame.streamId === 0);
    expect(returned.reduce((sum, frame) => sum + readUint31(frame.payload, 0), 0)).toBeGreaterThan(8_000_000);
    expect(frames.filter((frame) => frame.type === frameType.rstStream)).toHaveLength(1);
    expect(peer.connection.done).toBe(false);
    expect(events.chunks).toHaveLength(1);
  });

  test("a reset after DATA waits for the peer's window, and then says nothing more", () => {
    const { peer, events } = tunnel({ initialWindowBytes: 3 });
    events.stream?.sendData(bytes("abcdef"), false);
    events.stream?.resetAfterData(h2ErrorCode.connectError);
    expect([peer.frames().map(({ type }) => type), events.reset]).toEqual([[frameType.data], null]);
    peer.frame(frameType.windowUpdate, 0, 1, uint32(100));
    expect(peer.frames().map(({ type, payload }) => [type, payload.length])).toEqual([
      [frameType.data, 3],
      [frameType.rstStream, 4],
    ]);
    expect([
      events.reset?.errorCode,
      events.reset?.initiator,
      events.writable,
      events.stream?.closed,
    ]).toEqual([h2ErrorCode.connectError, "user", 0, true]);
  });

  test("a reset after DATA comes behind an end that was said, and at once where nothing waits", () => {
    const { peer, events } = tunnel();
    events.stream?.sendData(bytes("abc"), true);
    events.stream?.resetAfterData(h2ErrorCode.connectError);
    expect(peer.frames().map(({ type }) => type)).toEqual([frameType.data, frameType.rstStream]);
    const other = tunnel();
    other.events.stream?.resetAfterData(h2ErrorCode.connectError);
    expect(other.peer.frames().map(({ type }) => type)).toEqual([frameType.rstStream]);
    expect(other.events.reset?.initiator).toBe("user");
  });

  test("a late header block still feeds the shared table", () => {
    const { peer, events } = tunnel();
    events.stream?.reset(h2ErrorCode.cancel);
    peer.headers(1, ["x-shared", "value"]);
    const other = new RecordedStream();
    peer.connection.request(connect, false, other);
    peer.headers(3, [...ok, "x-shared", "value"], frameFlag.endHeaders);
    expect(other.headers[0]).toEqual([...ok, "x-shared", "value"]);
  });

  test("a reset from within onData, with the rest of the frame still to come", () => {
    const { peer, events } = tunnel();
    events.onData = () => events.stream?.reset(h2ErrorCode.cancel);
    peer.send(Uint8Array.from([0, 0, 10, frameType.data, 0, 0, 0, 0, 1, 1, 2, 3]));
    peer.send(Uint8Array.from([4, 5, 6, 7, 8, 9, 10]));
    peer.frame(frameType.ping, 0, 0, new Uint8Array(8));
    expect(peer.frames().map((frame) => frame.type)).toEqual([frameType.rstStream, frameType.ping]);
  });

  test("streams that were reset long ago are forgotten in peace", () => {
    const peer = new FramePeer("client", { limits: { maxRememberedStreams: 4 } });
    peer.shake();
    for (let i = 0; i < 20; i++) {
      peer.connection.request(connect, false, new RecordedStream())?.reset(h2ErrorCode.cancel);
    }
    peer.headers(1, ok, frameFlag.endHeaders);
    peer.frame(frameType.data, 0, 1, bytes("late"));
    expect(peer.connection.done).toBe(false);
  });

  test("a reset of the peer ends the stream with its code", () => {
    const { peer, events } = tunnel();
    peer.frame(frameType.rstStream, 0, 1, uint32(h2ErrorCode.cancel));
    expect([events.reset?.errorCode, events.reset?.initiator, events.reset?.error.code]).toEqual([
      8,
      "remote",
      "h2_reset",
    ]);
    expect(events.stream?.closed).toBe(true);
    events.stream?.sendData(bytes("too late"), true);
    events.stream?.reset(1);
    expect(peer.frames()).toEqual([]);
  });

  test("§8.1 a server may answer, then ask the client to stop with NO_ERROR", () => {
    const pair = new Pair();
    pair.serverEvents.handler = (stream) => {
      stream.sendHeaders(ok, true);
      stream.reset(h2ErrorCode.noError);
    };
    const events = pair.request(post, false);
    pair.settle();
    expect(events.headers).toEqual([ok]);
    expect([events.ended, events.reset?.errorCode]).toEqual([true, h2ErrorCode.noError]);
  });
});

describe("RFC 9113 §5.1.2 concurrency", () => {
  test("a client opens no more than the server allows, and a server refuses what is above", () => {
    const pair = new Pair({}, { limits: { maxConcurrentStreams: 2 } });
    pair.settle();
    expect(pair.client.remoteMaxConcurrentStreams).toBe(2);
    const first = pair.request(connect, false);
    pair.request(connect, false);
    expect(pair.client.request(connect, false, new RecordedStream())).toBeNull();
    first.stream?.reset(h2ErrorCode.cancel);
    expect(pair.request(connect, false).stream).not.toBeNull();

    const peer = new FramePeer("server", { limits: { maxConcurrentStreams: 1 } });
    peer.shake();
    peer.headers(1, post, frameFlag.endHeaders);
    peer.headers(3, post, frameFlag.endHeaders);
    const refused = peer.frames()[0];
    expect([refused?.streamId, readUint31(refused?.payload ?? none, 0)]).toEqual([
      3,
      h2ErrorCode.refusedStream,
    ]);
  });

  test("before the server's SETTINGS a client is modest", () => {
    const pair = new Pair({ limits: { assumedConcurrentStreams: 3 } });
    for (let i = 0; i < 3; i++)
      expect(pair.client.request(connect, false, new RecordedStream())).not.toBeNull();
    expect(pair.client.request(connect, false, new RecordedStream())).toBeNull();
  });
});
