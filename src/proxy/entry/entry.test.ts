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
    expect(socket.state).not.toBe("closed");
    handshake.answer(null);
    expect(socket.written.slice(0, 4)).toEqual([5, 0, 5, 0]);
  });

  test("HTTP CONNECT: a head that comes in pieces is waited for, and nothing is written before it is whole", async () => {
    const socket = new FakeSocket();
    let writes = 0;
    socket.write = () => ++writes;
    const running = EntryHandshake.run(fakeClock().clock, socket, httpConnectEntry());
    socket.receive("CONNECT a:80 HT");
    socket.receive("TP/1.1\r\n\r\nfirst");
    const { destination, handshake } = await running;
    expect([destination, writes]).toEqual([{ host: "a", port: 80 }, 0]);
    const told: string[] = [];
    handshake.handOver({
      onData: (bytes) => told.push(Buffer.from(bytes).toString()),
      ...{ onEnd: () => {}, onDrain: () => {}, onClose: () => {} },
    });
    expect(told).toEqual(["first"]);
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
    expect([socket.text.slice(0, 12), socket.state]).toEqual(["HTTP/1.1 405", "closed"]);
    expect(await running.catch((error) => error.blame)).toBe("peer");
  });

  test("a request that comes in pieces is waited for, and nothing is said before it is whole", async () => {
    const socket = new FakeSocket();
    const running = EntryHandshake.run(fakeClock().clock, socket, httpConnectEntry());
    for (const piece of ["CONNECT a:80 ", "HTTP/1.1\r\n"]) {
      socket.receive(piece);
      expect([socket.text, socket.state]).toEqual(["", "open"]);
    }
    socket.receive("\r\n");
    expect((await running).destination).toEqual({ host: "a", port: 80 });
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

  test("a client that sends nothing with its request has sent nothing: what is told begins with what comes then", async () => {
    const socket = new FakeSocket();
    const { clock, timers } = fakeClock();
    const running = EntryHandshake.run(clock, socket, httpConnectEntry());
    socket.receive("CONNECT a:80 HTTP/1.1\r\n\r\n");
    const { handshake } = await running;
    socket.receive("later");
    const told: string[] = [];
    handshake.handOver({
      onData: (bytes) => told.push(Buffer.from(bytes).toString()),
      onEnd: () => told.push("end"),
      onDrain: () => {},
      onClose: () => told.push("close"),
    });
    expect([told, timers.size]).toEqual([["later"], 0]);
  });

  test("a client that leaves ends the wait, in order or not", async () => {
    for (const leave of ["onEnd", "onClose"] as const) {
      const socket = new FakeSocket();
      const { clock, timers } = fakeClock();
      const running = EntryHandshake.run(clock, socket, socks5Entry());
      socket.receive("\x05\x01\x00");
      socket.handler?.[leave](null);
      expect(await running.catch((error) => error.code)).toBe("connection_closed");
      expect([socket.state, timers.size]).toEqual(["closed", 0]);
    }
  });

  test("a client that leaves once it has said where to has its wait elsewhere: its connection's", async () => {
    const socket = new FakeSocket();
    const running = EntryHandshake.run(fakeClock().clock, socket, httpConnectEntry());
    socket.receive("CONNECT a:80 HTTP/1.1\r\n\r\n");
    const { handshake } = await running;
    const gone: string[] = [];
    handshake.onGone = ({ code }) => void gone.push(code);
    socket.handler?.onEnd();
    expect([socket.state, gone]).toEqual(["open", []]);
    socket.handler?.onClose(null);
    expect(gone).toEqual(["connection_closed"]);
  });

  test.each([
    ["connect_refused", 5, 502],
    ["connect_timeout", 6, 504],
    ["connect_unreachable", 3, 502],
    ["no_route", 4, 502],
    ["name_not_found", 4, 502],
    ["no_healthy_upstream", 4, 503],
    ["hbone_status", 2, 502],
    ["policy_denied", 2, 403],
    ["policy_missing", 2, 403],
    ["self_call", 2, 403],
    ["limit_reached", 1, 503],
    ["draining", 1, 503],
    ["h2_reset", 1, 502],
  ] as const)("%s is %i in SOCKS5 (RFC 1928 §6), and %i in HTTP", (code, reply, status) => {
    const error = new MeshError(code, "upstream", "so it was");
    expect(socks5Entry().answer(error)[1]).toBe(reply);
    expect(Buffer.from(httpConnectEntry().answer(error)).toString()).toStartWith(`HTTP/1.1 ${status} `);
  });
});
