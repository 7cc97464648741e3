import { describe, expect, test } from "bun:test";
import { h2ErrorCode } from "./error_code.ts";
import { ReceiveWindow } from "./flow.ts";
import { frameFlag, frameType, readUint31 } from "./frame.ts";
import { defaultSettings, encodeSettings } from "./settings.ts";
import { concat, type Frame, FramePeer, Pair, RecordedStream } from "./testing/wired.ts";

const connect = [":method", "CONNECT", ":authority", "10.0.0.7:8080"];
const ok = [":status", "200"];

function uint32(value: number): Uint8Array {
  return Uint8Array.from([value >>> 24, value >>> 16, value >>> 8, value]);
}

function windowSettings(initialWindowBytes: number): Uint8Array {
  return encodeSettings(
    { ...defaultSettings, initialWindowBytes },
    { ...defaultSettings, initialWindowBytes: -1 },
    "server",
  );
}

function open(peer: FramePeer): RecordedStream {
  const events = new RecordedStream();
  events.stream = peer.connection.request(connect, false, events);
  peer.headers(events.stream?.id ?? 0, ok, frameFlag.endHeaders);
  return events;
}

function dataBytes(frames: readonly Frame[], streamId = 0): number {
  const data = frames.filter(
    (frame) => frame.type === frameType.data && (streamId === 0 || frame.streamId === streamId),
  );
  return data.reduce((sum, frame) => sum + frame.payload.length, 0);
}

describe("RFC 9113 §6.9 receiving", () => {
  test("a window is given back by halves", () => {
    const window = new ReceiveWindow(100);
    expect(window.take(80)).toBe(true);
    expect(window.release(49)).toBe(0);
    expect(window.release(1)).toBe(50);
    expect(window.availableBytes).toBe(70);
    expect(window.release(0)).toBe(0);
  });

  test("what the application does not consume the peer cannot replace", () => {
    const limits = { streamWindowBytes: 100_000, connectionWindowBytes: 150_000 };
    const pair = new Pair({}, { limits });
    pair.serverEvents.handler = (_stream, _headers, events) => {
      events.consumes = false;
    };
    pair.settle();
    const one = pair.request(connect, false);
    const two = pair.request(connect, false);
    for (const { stream } of [one, two])
      for (let i = 0; i < 20; i++) stream?.sendData(new Uint8Array(50_000), false);
    pair.settle();
    const served = pair.serverEvents.requests.map((request) => request.events);
    expect(served.map((events) => events.receivedBytes).reduce((a, b) => a + b)).toBe(150_000);
    expect(Math.max(...served.map((events) => events.receivedBytes))).toBeLessThanOrEqual(100_000);
    expect(one.stream?.aboveHighWater).toBe(true);
    for (const { stream, events } of pair.serverEvents.requests) {
      events.consumes = true;
      stream.consume(events.receivedBytes);
    }
    pair.settle();
    expect(served.map((events) => events.receivedBytes)).toEqual([1_000_000, 1_000_000]);
    expect([one.writable, two.writable]).toEqual([1, 1]);
  });

  test("consuming more than came, or after the end, gives nothing away", () => {
    const peer = new FramePeer("client", {
      limits: { streamWindowBytes: 65_535, connectionWindowBytes: 65_535 },
    });
    peer.shake();
    const events = open(peer);
    events.consumes = false;
    peer.frame(frameType.data, 0, 1, new Uint8Array(100));
    peer.frames();
    events.stream?.consume(1_000_000);
    expect(peer.frames()).toEqual([]);
  });

  test("a stream that the peer has ended gets no WINDOW_UPDATE", () => {
    const peer = new FramePeer("client", {
      limits: { streamWindowBytes: 65_535, connectionWindowBytes: 1 << 20 },
    });
    peer.shake();
    const events = open(peer);
    events.consumes = false;
    for (let i = 0; i < 3; i++) peer.frame(frameType.data, 0, 1, new Uint8Array(16_384));
    peer.frame(frameType.data, frameFlag.endStream, 1, new Uint8Array(16_383));
    peer.frames();
    events.stream?.consume(65_535);
    expect(peer.frames()).toEqual([]);
  });

  test("bytes held past an orderly end go back to the connection when they are consumed", () => {
    const peer = new FramePeer("client", {
      limits: { streamWindowBytes: 65_535, connectionWindowBytes: 65_535 },
    });
    peer.shake();
    const events = open(peer);
    events.consumes = false;
    peer.frame(frameType.data, 0, 1, new Uint8Array(16_384));
    peer.frame(frameType.data, frameFlag.endStream, 1, new Uint8Array(16_384));
    events.stream?.holdPastEnd();
    events.stream?.sendData(new Uint8Array(0), true);
    expect(events.closed).toBe(true);
    peer.frames();
    events.stream?.consume(32_768);
    const [update, ...rest] = peer.frames();
    expect([update?.type, update?.streamId, readUint31(update?.payload ?? new Uint8Array(4), 0)]).toEqual([
      8, 0, 32_768,
    ]);
    expect(rest).toEqual([]);
  });

  test("padding counts against the windows and is given back by the engine", () => {
    const peer = new FramePeer("client", {
      limits: { streamWindowBytes: 65_535, connectionWindowBytes: 65_535 },
    });
    peer.shake();
    const events = open(peer);
    peer.frames();
    const padded = concat([Uint8Array.from([200]), new Uint8Array(10).fill(7), new Uint8Array(200)]);
    for (let i = 0; i < 1000; i++) peer.frame(frameType.data, frameFlag.padded, 1, padded);
    expect(events.receivedBytes).toBe(10_000);
    expect(peer.connection.done).toBe(false);
  });

  test("a stream above its window is reset, a connection above its own ends", () => {
    const limits = { streamWindowBytes: 65_535, connectionWindowBytes: 100_000, maxFrameBytes: 1 << 20 };
    const peer = new FramePeer("client", { limits });
    peer.shake();
    const [one, two] = [open(peer), open(peer)];
    one.consumes = false;
    two.consumes = false;
    peer.frame(frameType.data, 0, 1, new Uint8Array(65_536));
    expect(one.reset?.errorCode).toBe(h2ErrorCode.flowControlError);
    expect(one.reset?.error.code).toBe("h2_flow_control");
    peer.frames();
    peer.frame(frameType.data, 0, 3, new Uint8Array(100_001));
    expect(peer.goAwayCode()).toBe(h2ErrorCode.flowControlError);
  });

  test("§6.5.3 a smaller window of ours is in force when it was acknowledged, a larger one at once", () => {
    const peer = new FramePeer("client", { limits: { streamWindowBytes: 100_000 } });
    peer.shake();
    const events = open(peer);
    events.consumes = false;
    peer.connection.updateSettings({ initialWindowBytes: 10_000 });
    peer.frame(frameType.data, 0, 1, new Uint8Array(50_000));
    expect(events.reset).toBeNull();
    peer.frame(frameType.settings, frameFlag.ack, 0);
    expect(events.reset).toBeNull();
    peer.frame(frameType.data, 0, 1, new Uint8Array(1));
    expect(events.reset?.errorCode).toBe(h2ErrorCode.flowControlError);
    const other = open(peer);
    other.consumes = false;
    peer.connection.updateSettings({ initialWindowBytes: 20_000 });
    peer.frame(frameType.data, 0, 3, new Uint8Array(20_000));
    expect(other.receivedBytes).toBe(20_000);
  });
});

describe("RFC 9113 §6.9.2 a window of ours that shrinks", () => {
  test("gives back at once what was too little of the old window and is much of the new one", () => {
    const peer = new FramePeer("client", { limits: { streamWindowBytes: 1000 } });
    peer.shake();
    const events = open(peer);
    peer.frame(frameType.data, 0, 1, new Uint8Array(1));
    expect(events.receivedBytes).toBe(1);
    peer.connection.updateSettings({ initialWindowBytes: 1 });
    peer.frames();
    peer.frame(frameType.settings, frameFlag.ack, 0);
    const [update] = peer.frames();
    expect([update?.type, update?.streamId, readUint31(update?.payload ?? new Uint8Array(4), 0)]).toEqual([
      8, 1, 1,
    ]);
  });

  test("gives nothing back on a stream that has nothing more to come", () => {
    const peer = new FramePeer("client", { limits: { streamWindowBytes: 1000 } });
    peer.shake();
    open(peer);
    peer.frame(frameType.data, 0, 1, new Uint8Array(1));
    peer.frame(frameType.data, frameFlag.endStream, 1, new Uint8Array(0));
    peer.connection.updateSettings({ initialWindowBytes: 1 });
    peer.frames();
    peer.frame(frameType.settings, frameFlag.ack, 0);
    expect(peer.frames()).toEqual([]);
  });
});

describe("RFC 9113 §6.9.2 sending", () => {
  test("SETTINGS move the windows of open streams, below zero too", () => {
    const peer = new FramePeer("client");
    peer.shake(windowSettings(100));
    const events = open(peer);
    peer.frames();
    events.stream?.sendData(new Uint8Array(150), false);
    expect(dataBytes(peer.frames())).toBe(100);
    peer.frame(frameType.settings, 0, 0, windowSettings(20));
    expect(dataBytes(peer.frames())).toBe(0);
    peer.frame(frameType.windowUpdate, 0, 1, uint32(80));
    expect(dataBytes(peer.frames())).toBe(0);
    peer.frame(frameType.windowUpdate, 0, 1, uint32(30));
    expect(dataBytes(peer.frames())).toBe(30);
    peer.frame(frameType.settings, 0, 0, windowSettings(1000));
    expect(dataBytes(peer.frames())).toBe(20);
    expect(events.stream?.queuedBytes).toBe(0);
  });

  test("the connection's window stops all streams, and an end needs none", () => {
    const peer = new FramePeer("client");
    peer.shake();
    const [one, two, three] = [open(peer), open(peer), open(peer)];
    peer.frames();
    one.stream?.sendData(new Uint8Array(60_000), true);
    two.stream?.sendData(new Uint8Array(60_000), true);
    three.stream?.sendData(new Uint8Array(0), true);
    const frames = peer.frames();
    expect(dataBytes(frames)).toBe(65_535);
    expect(frames.some((frame) => frame.streamId === 5 && frame.flags === frameFlag.endStream)).toBe(true);
    expect(peer.connection.wantsOutput).toBe(false);
    peer.frame(frameType.windowUpdate, 0, 0, uint32(1 << 20));
    expect(dataBytes(peer.frames())).toBe(120_000 - 65_535);
  });

  test("§6.9.1 windows above 2^31-1 are errors of the stream or the connection", () => {
    const peer = new FramePeer("client");
    peer.shake();
    const events = open(peer);
    peer.frame(frameType.windowUpdate, 0, 1, uint32(0x7fffffff));
    expect(events.reset?.errorCode).toBe(h2ErrorCode.flowControlError);
    peer.frames();
    peer.frame(frameType.windowUpdate, 0, 0, uint32(0x7fffffff));
    expect(peer.goAwayCode()).toBe(h2ErrorCode.flowControlError);
  });

  test("§4.2 frames keep to the peer's MAX_FRAME_SIZE", () => {
    const peer = new FramePeer("client");
    peer.shake();
    const events = open(peer);
    peer.frames();
    peer.frame(frameType.windowUpdate, 0, 0, uint32(1 << 20));
    peer.frame(frameType.windowUpdate, 0, 1, uint32(1 << 20));
    events.stream?.sendData(new Uint8Array(100_000), true);
    expect(peer.frames().map((frame) => frame.payload.length)).toEqual([
      16_384, 16_384, 16_384, 16_384, 16_384, 16_384, 1696,
    ]);
  });
});

describe("scheduling", () => {
  test("bulk streams take turns, and a small one does not wait for them", () => {
    const pair = new Pair();
    pair.settle();
    const bulk = [pair.request(connect, false), pair.request(connect, false)];
    const small = pair.request(connect, false);
    pair.settle();
    for (const { stream } of bulk)
      for (let i = 0; i < 40; i++) stream?.sendData(new Uint8Array(64 * 1024), false);
    small.stream?.sendData(new Uint8Array(10), false);
    pair.deliver(concat(pair.client.takeOutput(256 * 1024)), pair.server);
    expect(pair.client.wantsOutput).toBe(true);
    const first = pair.serverEvents.requests.map((request) => request.events);
    expect(first[2]?.receivedBytes).toBe(10);

    const again = new Pair();
    again.settle();
    const two = [again.request(connect, false), again.request(connect, false)];
    again.settle();
    for (const { stream } of two) stream?.sendData(new Uint8Array(1 << 20), false);
    again.deliver(concat(again.client.takeOutput(512 * 1024)), again.server);
    const [a, b] = again.serverEvents.requests.map((request) => request.events.receivedBytes);
    expect(Math.abs((a ?? 0) - (b ?? 0))).toBeLessThanOrEqual(64 * 1024);
    expect((a ?? 0) + (b ?? 0)).toBeGreaterThan(500 * 1024);
  });

  test("large payloads leave as the caller's own memory, small ones share one buffer", () => {
    const pair = new Pair();
    pair.settle();
    const events = pair.request(connect, false);
    pair.settle();
    const large = new Uint8Array(100_000).fill(1);
    events.stream?.sendData(new Uint8Array(100).fill(2), false);
    events.stream?.sendData(large, false);
    events.stream?.sendData(new Uint8Array(100).fill(3), false);
    const output = pair.client.takeOutput(1 << 20);
    expect(output.map((part) => part.length)).toEqual([109, 100_000, 100]);
    expect(output[1]).toBe(large);
    expect(output[0]?.buffer).toBe(output[2]?.buffer ?? new ArrayBuffer(0));
  });

  test("output comes in about the size that was asked for", () => {
    const pair = new Pair();
    pair.settle();
    const events = pair.request(connect, false);
    pair.settle();
    for (let i = 0; i < 400; i++) events.stream?.sendData(new Uint8Array(5000), false);
    while (pair.client.wantsOutput) {
      const size = pair.client.takeOutput(50_000).reduce((sum, part) => sum + part.length, 0);
      expect(size).toBeLessThanOrEqual(50_009);
      expect(size).toBeGreaterThan(0);
    }
    expect(events.stream?.queuedBytes).toBe(0);
  });

  test("onOutputReady comes once per stretch of output", () => {
    const pair = new Pair();
    pair.settle();
    const events = pair.request(connect, false);
    pair.settle();
    const before = pair.clientEvents.outputReady;
    events.stream?.sendData(new Uint8Array(1), false);
    events.stream?.sendData(new Uint8Array(1), false);
    expect(pair.clientEvents.outputReady).toBe(before + 1);
    pair.settle();
    events.stream?.sendData(new Uint8Array(1), false);
    expect(pair.clientEvents.outputReady).toBe(before + 2);
  });
});
