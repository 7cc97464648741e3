import { describe, expect, test } from "bun:test";
import { h2Limits } from "../../base/limits/h2.ts";
import { HpackDecoder } from "../hpack/decoder.ts";
import { h2ErrorCode } from "./error_code.ts";
import { frameFlag, frameType } from "./frame.ts";
import { applySettings, defaultSettings, encodeSettings } from "./settings.ts";
import { FramePeer, Pair, RecordedStream } from "./testing/wired.ts";

const connect = [":method", "CONNECT", ":authority", "10.0.0.7:8080"];

describe("RFC 9113 §6.5.2", () => {
  test("what is encoded is applied, and what does not differ is not sent", () => {
    const settings = {
      headerTableBytes: 0,
      enablePush: false,
      maxConcurrentStreams: 7,
      initialWindowBytes: 0x7fffffff,
      maxFrameBytes: 16_777_215,
      maxHeaderListBytes: 0xffffffff,
      enableConnectProtocol: true,
    };
    const payload = encodeSettings(settings, defaultSettings, "client");
    expect(payload.length).toBe(7 * 6);
    expect(applySettings(defaultSettings, payload, 0, payload.length, "client")).toEqual(settings);
    expect(encodeSettings(settings, settings, "client").length).toBe(0);
    expect(encodeSettings(settings, defaultSettings, "server").length).toBe(6 * 6);
  });

  test("unknown settings are ignored, later entries win", () => {
    const payload = Uint8Array.of(0x0a, 0x0a, 1, 2, 3, 4, 0, 3, 0, 0, 0, 9, 0, 3, 0, 0, 0, 4);
    expect(applySettings(defaultSettings, payload, 0, payload.length, "client")).toEqual({
      ...defaultSettings,
      maxConcurrentStreams: 4,
    });
  });

  test("a server must not enable push, and RFC 8441 §3 is not taken back", () => {
    const push = Uint8Array.of(0, 2, 0, 0, 0, 1);
    expect(applySettings(defaultSettings, push, 0, 6, "server")).toHaveProperty(
      "errorCode",
      h2ErrorCode.protocolError,
    );
    expect(applySettings(defaultSettings, push, 0, 6, "client")).not.toHaveProperty("errorCode");
    const offered = { ...defaultSettings, enableConnectProtocol: true };
    const back = Uint8Array.of(0, 8, 0, 0, 0, 0);
    expect(applySettings(offered, back, 0, 6, "server")).toHaveProperty(
      "errorCode",
      h2ErrorCode.protocolError,
    );
  });
});

describe("RFC 9113 §6.5.3 our own changes", () => {
  test("a smaller header table is demanded of the peer's encoder, and obeyed by ours", () => {
    const pair = new Pair();
    pair.request([...connect, "x-a", "1"], false);
    pair.settle();
    pair.server.updateSettings({ headerTableBytes: 64 });
    pair.settle();
    for (let i = 0; i < 5; i++) pair.request([...connect, "x-a", String(i)], false);
    pair.settle();
    expect(pair.serverEvents.requests.map((request) => request.headers.at(-1))).toEqual([
      "1",
      "0",
      "1",
      "2",
      "3",
      "4",
    ]);

    const peer = new FramePeer("server");
    peer.shake();
    peer.connection.updateSettings({ headerTableBytes: 64 });
    peer.headers(1, connect, frameFlag.endHeaders);
    peer.frame(frameType.settings, frameFlag.ack, 0);
    expect(peer.connection.done).toBe(false);
    // Acknowledged, and the block does not begin with the update.
    peer.headers(3, connect, frameFlag.endHeaders);
    peer.frames();
    expect(peer.events.closes[0]?.message).toContain("table size update missing");
  });

  test("RFC 7541 §4.2 the peer's table of 0, then 4,096, in one SETTINGS: the next block says both", () => {
    const peer = new FramePeer("client");
    peer.shake();
    const first = new RecordedStream();
    // Puts entries into the table, which the peer's 0 drops.
    peer.connection.request([...connect, "x-kept", "in the table"], true, first);
    peer.frames();
    peer.frame(frameType.settings, 0, 0, Uint8Array.of(0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0x10, 0));
    peer.frames();
    peer.connection.request([...connect, "x-kept", "in the table"], true, new RecordedStream());
    const block = peer.frames().find(({ type }) => type === frameType.headers)?.payload;
    // Size updates of 0 and of 4,096 (31 + 4,065 in seven-bit groups).
    expect([...(block?.subarray(0, 4) ?? [])]).toEqual([0x20, 0x3f, 0xe1, 0x1f]);
    const decoder = new HpackDecoder();
    decoder.setAllowedTableBytes(4096);
    const fields = decoder.decode(block ?? new Uint8Array(0), 0, block?.length ?? 0, 65_536);
    expect(fields).toEqual([...connect, "x-kept", "in the table"]);
  });

  test("a larger frame size may be used before its acknowledgement comes back", () => {
    const peer = new FramePeer("client", { limits: { maxFrameBytes: 16_384 } });
    peer.shake();
    const events = new RecordedStream();
    events.stream = peer.connection.request(connect, false, events);
    peer.headers(1, [":status", "200"], frameFlag.endHeaders);
    peer.connection.updateSettings({ maxFrameBytes: 40_000 });
    peer.frame(frameType.data, 0, 1, new Uint8Array(40_000));
    expect(events.receivedBytes).toBe(40_000);
    peer.frame(frameType.settings, frameFlag.ack, 0);
    peer.frame(frameType.data, 0, 1, new Uint8Array(40_001));
    expect(peer.goAwayCode()).toBe(h2ErrorCode.frameSizeError);
  });

  test("too many without an acknowledgement are our bug", () => {
    const peer = new FramePeer("client");
    peer.shake();
    peer.frame(frameType.settings, frameFlag.ack, 0);
    const send = () => peer.connection.updateSettings({ maxFrameBytes: 20_000 });
    for (let count = 0; count < h2Limits.maxOutstandingSettings; count++) send();
    expect(send).toThrow("too many SETTINGS");
    peer.frame(frameType.settings, frameFlag.ack, 0);
    send();
    expect(send).toThrow("too many SETTINGS");
  });

  test("the peer's are told", () => {
    const pair = new Pair();
    const told: number[] = [];
    Object.assign(pair.clientEvents, {
      onRemoteSettings: (settings: { maxConcurrentStreams: number }) =>
        told.push(settings.maxConcurrentStreams),
    });
    pair.settle();
    pair.server.updateSettings({ maxConcurrentStreams: 3 });
    pair.settle();
    expect(told).toEqual([200, 3]);
    expect(pair.client.remoteMaxConcurrentStreams).toBe(3);
  });

  test("fewer streams are enforced at once: a refused request may be tried again", () => {
    const peer = new FramePeer("server");
    peer.shake();
    peer.headers(1, connect, frameFlag.endHeaders);
    peer.connection.updateSettings({ maxConcurrentStreams: 1, maxHeaderListBytes: 100 });
    peer.frames();
    peer.headers(3, connect, frameFlag.endHeaders);
    expect(peer.frames()[0]?.payload[3]).toBe(h2ErrorCode.refusedStream);
    peer.events.requests[0]?.stream.reset(h2ErrorCode.cancel);
    peer.frames();
    peer.headers(5, [...connect, "x-large", "100 bytes less overhead"], frameFlag.endHeaders);
    expect(peer.frames()[0]?.payload[3]).toBe(h2ErrorCode.enhanceYourCalm);
  });
});
