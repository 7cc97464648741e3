import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { h2Limits } from "../../base/limits/h2.ts";
import { h2ErrorCode } from "./error_code.ts";
import { frameFlag, frameType, maxStreamId, readUint31 } from "./frame.ts";
import { concat, FramePeer, Pair, RecordedStream } from "./testing/wired.ts";

const connect = [":method", "CONNECT", ":authority", "10.0.0.7:8080"];
const post = [":method", "POST", ":scheme", "https", ":path", "/", ":authority", "a.example"];
const ok = [":status", "200"];
const eight = new Uint8Array(8);
const keepAlive = { intervalMs: 10_000, timeoutMs: 20_000 };

function uint32(value: number): Uint8Array {
  return Uint8Array.from([value >>> 24, value >>> 16, value >>> 8, value]);
}

/** Ticks whenever the connection asks for it, until `now`. */
function pass(peer: FramePeer, untilMs: number): void {
  for (;;) {
    const deadlineMs = peer.connection.deadlineMs;
    if (deadlineMs === null || deadlineMs > untilMs) break;
    peer.now = Math.max(peer.now, deadlineMs);
    peer.connection.tick(peer.now);
  }
  peer.now = untilMs;
}

describe("RFC 9113 §3.4, §6.5 the beginning", () => {
  test("both say preface, SETTINGS and the connection's window, and acknowledge", () => {
    const peer = new FramePeer("client");
    const [settings, update] = peer.frames();
    const pairs = Array.from({ length: (settings?.payload.length ?? 0) / 6 }, (_, i) => [
      settings?.payload[i * 6 + 1],
      readUint31(settings?.payload ?? eight, i * 6 + 2),
    ]);
    expect(pairs).toEqual([
      [2, 0],
      [4, h2Limits.streamWindowBytes],
      [5, h2Limits.maxFrameBytes],
      [6, h2Limits.maxHeaderListBytes],
    ]);
    expect([update?.type, readUint31(update?.payload ?? eight, 0)]).toEqual([
      8,
      h2Limits.connectionWindowBytes - 65_535,
    ]);
    peer.frame(frameType.settings, 0, 0);
    expect(peer.frames().map((frame) => [frame.type, frame.flags])).toEqual([
      [frameType.settings, frameFlag.ack],
    ]);
  });

  test("a server never sends ENABLE_PUSH and does say its streams", () => {
    const [settings] = new FramePeer("server").frames();
    expect(settings?.payload.slice(0, 6)).toEqual(
      Uint8Array.of(0, 3, 0, 0, 0, h2Limits.maxConcurrentStreams),
    );
  });

  test("§6.5.3 SETTINGS that are never acknowledged end the connection", () => {
    const peer = new FramePeer("server");
    expect(peer.connection.deadlineMs).toBe(h2Limits.settingsAckTimeoutMs);
    pass(peer, h2Limits.settingsAckTimeoutMs);
    expect(peer.connection.done).toBe(true);
    expect(peer.goAwayCode()).toBe(h2ErrorCode.settingsTimeout);
    const good = new FramePeer("server");
    good.shake();
    expect(good.connection.deadlineMs).toBeNull();
  });

  test("§6.5.3 each SETTINGS has its own time: one that is acknowledged late takes none of the next one's", () => {
    const peer = new FramePeer("server");
    peer.shake();
    for (const maxFrameBytes of [20_000, 30_000]) peer.connection.updateSettings({ maxFrameBytes });
    const ackedMs = h2Limits.settingsAckTimeoutMs - 1;
    pass(peer, ackedMs);
    peer.frame(frameType.settings, frameFlag.ack, 0);
    expect(peer.connection.deadlineMs).toBe(ackedMs + h2Limits.settingsAckTimeoutMs);
    pass(peer, ackedMs + h2Limits.settingsAckTimeoutMs);
    expect(peer.goAwayCode()).toBe(h2ErrorCode.settingsTimeout);
  });

  test("the constructor has output but does not call back", () => {
    const peer = new FramePeer("client");
    expect([peer.connection.wantsOutput, peer.events.outputReady]).toEqual([true, 0]);
  });
});

describe("RFC 9113 §6.7 PING", () => {
  test("is answered with its own content", () => {
    const peer = new FramePeer("server");
    peer.shake();
    const content = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
    peer.frame(frameType.ping, 0, 0, content);
    const pong = peer.frames()[0];
    expect([pong?.type, pong?.flags]).toEqual([frameType.ping, frameFlag.ack]);
    expect(pong?.payload).toEqual(content);
  });

  test("ours tells the round trip", () => {
    const peer = new FramePeer("client");
    peer.shake();
    peer.connection.ping();
    peer.connection.ping();
    const [ping, ...rest] = peer.frames();
    expect(rest).toEqual([]);
    peer.frame(frameType.ping, frameFlag.ack, 0, eight);
    expect(peer.events.pongs).toBe(0);
    peer.frame(frameType.ping, frameFlag.ack, 0, ping?.payload);
    expect(peer.events.pongs).toBe(1);
    // The answer to an earlier one is none to the next.
    peer.connection.ping();
    const [next] = peer.frames();
    peer.frame(frameType.ping, frameFlag.ack, 0, ping?.payload);
    expect(peer.events.pongs).toBe(1);
    peer.frame(frameType.ping, frameFlag.ack, 0, next?.payload);
    expect(peer.events.pongs).toBe(2);
  });

  test("keep-alive: a PING after silence, and the end when nothing answers", () => {
    for (const role of ["client", "server"] as const) {
      const peer = new FramePeer(role, { keepAlive });
      peer.shake();
      pass(peer, 9_999);
      expect(peer.frames()).toEqual([]);
      pass(peer, 10_000);
      expect(peer.frames().map((frame) => frame.type)).toEqual([frameType.ping]);
      pass(peer, 29_999);
      expect(peer.connection.done).toBe(false);
      pass(peer, 30_000);
      expect(peer.connection.done).toBe(true);
      expect(peer.events.closes[0]?.code).toBe("h2_keepalive_timeout");
      expect(peer.goAwayCode()).toBe(h2ErrorCode.noError);
    }
  });

  test("keep-alive: whatever comes proves that the peer lives", () => {
    const peer = new FramePeer("client", { keepAlive });
    peer.shake();
    for (let now = 0; now < 200_000; now += 8_000) {
      pass(peer, now);
      peer.frame(frameType.priority, 0, 1, Uint8Array.of(0, 0, 0, 3, 1));
      expect(peer.frames()).toEqual([]);
    }
    pass(peer, 210_000);
    const [ping] = peer.frames();
    pass(peer, 220_000);
    peer.frame(frameType.ping, frameFlag.ack, 0, ping?.payload);
    pass(peer, 229_999);
    expect(peer.frames()).toEqual([]);
    expect(peer.connection.done).toBe(false);
  });

  test("keep-alive: an answer may stand behind bulk data for longer than the time-out", () => {
    const peer = new FramePeer("client", { keepAlive });
    peer.shake();
    pass(peer, 10_000);
    const [ping] = peer.frames();
    for (let now = 20_000; now <= 60_000; now += 10_000) {
      pass(peer, now);
      peer.frame(frameType.priority, 0, 1, Uint8Array.of(0, 0, 0, 3, 1));
    }
    expect([ping?.type, peer.connection.done]).toEqual([frameType.ping, false]);
    pass(peer, 80_000);
    expect(peer.connection.done).toBe(true);
  });
});

describe("RFC 9113 §6.8 GOAWAY", () => {
  test("a drain in two steps: requests under way are served, later ones are not looked at", () => {
    const peer = new FramePeer("server");
    peer.shake();
    peer.headers(1, connect, frameFlag.endHeaders);
    peer.connection.drain();
    peer.connection.drain();
    const [first, ping, ...none] = peer.frames();
    expect([first?.type, readUint31(first?.payload ?? eight, 0), ping?.type, none]).toEqual([
      7,
      maxStreamId,
      6,
      [],
    ]);
    // Crossed with the first GOAWAY.
    peer.headers(3, post, frameFlag.endHeaders);
    peer.frame(frameType.ping, frameFlag.ack, 0, ping?.payload);
    const [second] = peer.frames();
    expect([
      second?.type,
      readUint31(second?.payload ?? eight, 0),
      readUint31(second?.payload ?? eight, 4),
    ]).toEqual([7, 3, 0]);
    peer.headers(5, [...connect, "x-shared", "late"], frameFlag.endHeaders);
    peer.frame(frameType.data, 0, 5, eight);
    peer.frame(frameType.windowUpdate, 0, 5, uint32(7));
    peer.frame(frameType.rstStream, 0, 5, uint32(8));
    expect(peer.events.requests.map((request) => request.stream.id)).toEqual([1, 3]);
    expect(peer.connection.done).toBe(false);
    // The table went on through the block that was not looked at.
    peer.headers(3, ["x-shared", "late"]);
    const served = peer.events.requests[1];
    expect(served?.events.trailers).toEqual([["x-shared", "late"]]);
    served?.stream.sendHeaders(ok, true);
    expect(peer.events.closes).toEqual([]);
    peer.events.requests[0]?.stream.reset(h2ErrorCode.cancel);
    expect(peer.events.closes).toEqual([null]);
    expect(peer.connection.done).toBe(true);
    expect(peer.connection.wantsOutput).toBe(true);
  });

  test("at an end it names the last request that was looked at: those above may be tried elsewhere, those below may not", () => {
    const lastOf = (peer: FramePeer): number | null => {
      const goAway = peer.frames().findLast((frame) => frame.type === frameType.goAway);
      return goAway === undefined ? null : readUint31(goAway.payload, 0);
    };
    const server = new FramePeer("server");
    server.shake();
    server.headers(1, post, frameFlag.endHeaders);
    server.headers(5, post, frameFlag.endHeaders);
    server.frames();
    // A fault of the peer's: a SETTINGS of seven bytes.
    server.frame(frameType.settings, 0, 0, new Uint8Array(7));
    expect(lastOf(server)).toBe(5);
    const unused = new FramePeer("server");
    unused.shake();
    unused.frame(frameType.settings, 0, 0, new Uint8Array(7));
    expect(lastOf(unused)).toBe(0);
    // Of a drained server what came after its word is not among them.
    const drained = new FramePeer("server");
    drained.shake();
    drained.headers(1, post, frameFlag.endHeaders);
    drained.connection.drain();
    const ping = drained.frames().find((frame) => frame.type === frameType.ping);
    drained.frame(frameType.ping, frameFlag.ack, 0, ping?.payload);
    expect(lastOf(drained)).toBe(1);
    drained.headers(7, post, frameFlag.endHeaders);
    drained.frame(frameType.settings, 0, 0, new Uint8Array(7));
    expect(lastOf(drained)).toBe(1);
    // A client has been asked nothing.
    const client = new FramePeer("client");
    client.shake();
    client.connection.request(connect, false, new RecordedStream());
    client.frames();
    client.connection.goAway(h2ErrorCode.noError);
    expect(lastOf(client)).toBe(0);
  });

  test("a drain does not wait for a PING for ever", () => {
    const peer = new FramePeer("server");
    peer.shake();
    peer.connection.drain();
    pass(peer, h2Limits.drainPingTimeoutMs);
    expect(peer.frames().map((frame) => frame.type)).toEqual([7, 6, 7]);
    expect(peer.events.closes).toEqual([null]);
  });

  test("a drained server and its client come to an orderly end together", () => {
    const pair = new Pair();
    pair.serverEvents.handler = (stream) => stream.sendHeaders(ok, false);
    const events = pair.request(connect, false);
    pair.settle();
    pair.server.drain();
    pair.settle();
    expect(pair.client.acceptsRequests).toBe(false);
    expect(pair.client.request(connect, false, new RecordedStream())).toBeNull();
    events.stream?.sendData(new TextEncoder().encode("last words"), true);
    pair.settle();
    const served = pair.serverEvents.requests[0];
    expect(served?.events.text).toBe("last words");
    served?.stream.sendData(new TextEncoder().encode("bye"), true);
    pair.settle();
    expect(events.text).toBe("bye");
    expect([pair.clientEvents.closes, pair.serverEvents.closes]).toEqual([[null], [null]]);
    expect([pair.client.done, pair.server.done]).toEqual([true, true]);
  });

  test("streams above the peer's last are refused, and may be tried elsewhere", () => {
    const peer = new FramePeer("client");
    peer.shake();
    const [one, two] = [new RecordedStream(), new RecordedStream()];
    peer.connection.request(connect, false, one);
    peer.connection.request(connect, false, two);
    peer.frame(frameType.goAway, 0, 0, concat([uint32(1), uint32(0), new TextEncoder().encode("bye")]));
    expect(peer.events.goAways).toEqual([{ lastStreamId: 1, errorCode: 0, debug: "bye" }]);
    expect(one.reset).toBeNull();
    expect([two.reset?.errorCode, two.reset?.initiator, two.reset?.error.code]).toEqual([
      7,
      "remote",
      "h2_refused",
    ]);
    peer.frame(frameType.rstStream, 0, 1, uint32(0));
    expect(peer.events.closes).toEqual([null]);
  });

  test("our own, abrupt: every stream is reset first, then the connection closes", () => {
    const pair = new Pair();
    const events = pair.request(connect, false);
    pair.settle();
    const order: string[] = [];
    events.onReset = (_code, initiator, error) => order.push(`reset ${initiator} ${error.code}`);
    pair.clientEvents.onClose = (error) => order.push(`close ${error}`);
    pair.client.goAway(h2ErrorCode.noError, "done here");
    expect(order).toEqual(["reset user connection_closed", "close null"]);
    pair.settle();
    expect(pair.serverEvents.goAways[0]?.debug).toBe("done here");
    expect(pair.client.request(connect, false, new RecordedStream())).toBeNull();
  });
});

describe("the end of the transport", () => {
  test("under open streams it is the peer's fault, without any it is orderly", () => {
    const pair = new Pair();
    const events = pair.request(connect, false);
    pair.settle();
    pair.client.receiveEnd(1);
    expect([events.reset?.initiator, events.reset?.error.code]).toEqual(["remote", "connection_closed"]);
    expect(pair.clientEvents.closes[0]).toBeInstanceOf(MeshError);
    pair.client.receiveEnd(2);
    expect(pair.clientEvents.closes).toHaveLength(1);

    const quiet = new Pair();
    quiet.settle();
    quiet.server.receiveEnd(1);
    expect(quiet.serverEvents.closes).toEqual([null]);
  });

  test("in the middle of a frame it is not orderly", () => {
    const peer = new FramePeer("server");
    peer.shake();
    peer.send(Uint8Array.of(0, 0, 8, 6, 0));
    peer.connection.receiveEnd(1);
    expect(peer.events.closes[0]?.code).toBe("connection_closed");
  });

  test("after the end nothing is read, and calls do nothing", () => {
    const peer = new FramePeer("server");
    peer.shake();
    peer.connection.goAway(0);
    peer.frames();
    peer.headers(1, connect, frameFlag.endHeaders);
    peer.connection.drain();
    peer.connection.ping();
    peer.connection.updateSettings({ maxFrameBytes: 20_000 });
    peer.connection.tick(1e9);
    expect([peer.events.requests, peer.frames(), peer.connection.deadlineMs]).toEqual([[], [], null]);
  });
});

describe("our own bugs are loud", () => {
  test("headers that cannot be encoded throw, and end the connection rather than desynchronise it", () => {
    const pair = new Pair();
    expect(() => pair.request([...connect, "x-bad", "a\r\nb"], false)).toThrow("header field");
    expect(pair.client.done).toBe(true);
  });

  test("a request that is not taken", () => {
    const peer = new FramePeer("server");
    peer.shake();
    peer.events.onRequest = () => {};
    expect(() => peer.headers(1, connect, frameFlag.endHeaders)).toThrow("without events");
  });

  test("DATA and trailers after the end", () => {
    const pair = new Pair();
    const events = pair.request(connect, true);
    expect(() => events.stream?.sendData(eight, false)).toThrow("after the end");
    expect(() => events.stream?.sendTrailers([])).toThrow("after the end");
  });
});

describe("memory of an idle connection", () => {
  test("scratch memory that a burst made large is let go at the next tick", () => {
    const peer = new FramePeer("client", { keepAlive });
    peer.shake();
    const events = new RecordedStream();
    events.stream = peer.connection.request(connect, false, events);
    for (let i = 0; i < 50; i++) events.stream?.sendData(new Uint8Array(1000), false);
    const large = peer.connection.takeOutput(1 << 20)[0]?.buffer.byteLength ?? 0;
    pass(peer, 10_000);
    const small = peer.connection.takeOutput(1 << 20)[0]?.buffer.byteLength ?? 0;
    expect(large).toBeGreaterThan(50_000);
    expect(small).toBeLessThanOrEqual(1024);
  });
});
