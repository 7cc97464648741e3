import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { proxyLimits } from "../../base/limits/proxy.ts";
import type { Clock } from "../../host/host.ts";
import { FakeSocket } from "../../host/testing/fake_socket.ts";
import { Copy } from "../carry/copy.ts";
import { EarlySocket } from "../carry/early_socket.ts";
import { SocketEnd } from "../carry/socket_end.ts";
import { EntryHandshake } from "./entry.ts";
import { httpConnectEntry, socks5Entry } from "./entry_protocols.ts";

function fakeClock() {
  const timers = new Set<{ delayMs: number; callback: () => void }>();
  const clock: Clock = {
    now: () => 0,
    wallMs: () => 0,
    defer: (callback) => callback(),
    setTimer: (delayMs, callback) => {
      const timer = { delayMs, callback };
      timers.add(timer);
      return { cancel: () => timers.delete(timer) };
    },
  };
  return { clock, timers };
}

describe("entries", () => {
  test("SOCKS5: destination found, later bytes kept in order, answer written", async () => {
    const socket = new FakeSocket();
    const running = EntryHandshake.run(fakeClock().clock, socket, socks5Entry());
    socket.receive("\x05\x01\x00");
    socket.receive("\x05\x01\x00\x03\x01a\x00\x50first");
    const { destination, handshake } = await running;
    expect(destination).toEqual({ host: "a", port: 80 });
    expect(socket.paused).toBe(false);
    socket.receive("second");
    socket.handler?.onEnd();
    const told: string[] = [];
    handshake.handOver({
      onData: (bytes) => told.push(Buffer.from(bytes).toString()),
      onEnd: () => told.push("end"),
      onDrain: () => {},
      onClose: () => told.push("close"),
    });
    expect(told).toEqual(["first", "second", "end"]);
    handshake.answer(null);
    expect(socket.written.slice(0, 4)).toEqual([5, 0, 5, 0]);
  });

  test("a client that sends much before its connection is made waits in its own kernel", async () => {
    const socket = new FakeSocket();
    const early = new EarlySocket(socket);
    socket.setHandler(early);
    socket.receive("x".repeat(proxyLimits.earlyBytes));
    expect(socket.paused).toBe(false);
    socket.receive("y");
    expect(socket.paused).toBe(true);
    const sink = new FakeSocket();
    const counters = { bytesToUpstream: 0, bytesToDownstream: 0 };
    new Copy(new SocketEnd(socket, early), new SocketEnd(sink), counters, fakeClock().clock, {
      finish: () => {},
    }).start();
    expect([sink.written.length, socket.paused]).toEqual([proxyLimits.earlyBytes + 1, false]);
  });

  test("HTTP CONNECT tells its client why", async () => {
    const socket = new FakeSocket();
    const running = EntryHandshake.run(fakeClock().clock, socket, httpConnectEntry());
    socket.receive("CONNECT a:80 HTTP/1.1\r\n\r\n");
    const { handshake } = await running;
    handshake.answer(new MeshError("no_healthy_upstream", "upstream", "none there"));
    expect(socket.text).toContain("HTTP/1.1 503");
    expect(socket.text).toContain("no_healthy_upstream: none there");
  });

  test("a client that does not speak the protocol is told and closed", async () => {
    const socket = new FakeSocket();
    const running = EntryHandshake.run(fakeClock().clock, socket, httpConnectEntry());
    socket.receive("GET / HTTP/1.1\r\n\r\n");
    expect(await running.catch((error) => error.blame)).toBe("peer");
    expect([socket.text.slice(0, 12), socket.state]).toEqual(["HTTP/1.1 405", "closed"]);
  });

  test("a client that says nothing is closed when its time is up", async () => {
    const { clock, timers } = fakeClock();
    const socket = new FakeSocket();
    const running = EntryHandshake.run(clock, socket, socks5Entry());
    const [timer] = timers;
    expect(timer?.delayMs).toBe(proxyLimits.entryTimeoutMs);
    timer?.callback();
    expect(await running.catch((error) => error.code)).toBe("idle_timeout");
    expect(socket.state).toBe("closed");
  });

  test("a client that leaves ends the wait", async () => {
    const socket = new FakeSocket();
    const running = EntryHandshake.run(fakeClock().clock, socket, socks5Entry());
    socket.handler?.onClose(null);
    expect(await running.catch((error) => error.code)).toBe("connection_closed");
  });
});
