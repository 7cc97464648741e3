import { describe, expect, test } from "bun:test";
import { Pair } from "./testing.ts";

const connect = [":method", "CONNECT", ":authority", "10.0.0.7:8080"];
const bytes = (text: string) => new TextEncoder().encode(text);

describe("RFC 9113 §8.5 CONNECT", () => {
  test("a tunnel carries bytes both ways and half-closes", () => {
    const pair = new Pair();
    pair.serverEvents.handler = (stream) => stream.sendHeaders([":status", "200"], false);
    const tunnel = pair.request(connect, false);
    pair.settle();
    expect(tunnel.headers).toEqual([[":status", "200"]]);
    const served = pair.serverEvents.requests[0];
    expect(served?.headers).toEqual(connect);
    tunnel.stream?.sendData(bytes("ping"), false);
    pair.settle();
    expect(served?.events.text).toBe("ping");
    served?.stream.sendData(bytes("pong"), true);
    pair.settle();
    expect(tunnel.text).toBe("pong");
    expect(tunnel.ended).toBe(true);
    expect(tunnel.closed).toBe(false);
    tunnel.stream?.sendData(bytes("!"), true);
    pair.settle();
    expect(served?.events.text).toBe("ping!");
    expect(tunnel.closed).toBe(true);
    expect(served?.events.closed).toBe(true);
    expect(pair.client.openStreams + pair.server.openStreams).toBe(0);
  });
});
