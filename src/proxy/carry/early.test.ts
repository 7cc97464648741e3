/** What happens on a socket or a stream before its connection is carried, told again in its order. */
import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { proxyLimits } from "../../base/limits/proxy.ts";
import type { SocketHandler } from "../../host/host.ts";
import { FakeSocket } from "../../host/testing/fake_socket.ts";
import type { H2StreamEvents } from "../../wire/h2/stream.ts";
import { EarlySocket } from "./early_socket.ts";
import { EarlyStream } from "./early_stream.ts";
import { KeptSocket } from "./kept_socket.ts";

const bytes = (text: string): Uint8Array => Uint8Array.from(text, (one) => one.charCodeAt(0));
const text = (data: Uint8Array): string => String.fromCharCode(...data);

function socketListener() {
  const heard: string[] = [];
  const handler: SocketHandler = {
    onData: (data) => void heard.push(text(data)),
    onDrain: () => void heard.push("drain"),
    onEnd: () => void heard.push("end"),
    onClose: (error) => void heard.push(`close ${error?.code ?? "in order"}`),
  };
  return { heard, handler };
}

function streamListener() {
  const heard: string[] = [];
  const events: H2StreamEvents = {
    onHeaders: () => void heard.push("headers"),
    onData: (data, endStream) => void heard.push(`${text(data)}${endStream ? " end" : ""}`),
    onTrailers: () => void heard.push("trailers"),
    onReset: (code, initiator) => void heard.push(`reset ${code} by ${initiator}`),
    onWritable: () => void heard.push("writable"),
    onClose: () => void heard.push("close"),
  };
  return { heard, events };
}

describe("a socket", () => {
  test("is had by the next one, who is told first what came", () => {
    const socket = new FakeSocket();
    const early = new EarlySocket(socket);
    socket.setHandler(early);
    socket.receive("one");
    early.onDrain();
    socket.receive("two");
    const { heard, handler } = socketListener();
    early.handOver(handler);
    expect([heard, socket.handler === handler]).toEqual([["one", "two"], true]);
  });

  test("that has ended or closed is told as such, and a closed one is given to no other", () => {
    for (const error of [null, new MeshError("connection_reset", "peer", "reset")]) {
      const socket = new FakeSocket();
      const early = new EarlySocket(socket);
      const gone: string[] = [];
      early.onGone = ({ code }) => void gone.push(code);
      socket.setHandler(early);
      socket.receive("one");
      early.onEnd();
      early.onClose(error);
      const { heard, handler } = socketListener();
      early.handOver(handler);
      const code = error?.code ?? "in order";
      expect([heard, socket.handler === early]).toEqual([["one", "end", `close ${code}`], true]);
      expect(gone).toEqual([error?.code ?? "connection_closed"]);
    }
  });

  test("is held back past a bound, and not at it", () => {
    const socket = new FakeSocket();
    const early = new EarlySocket(socket);
    early.keep(new Uint8Array(proxyLimits.earlyBytes));
    expect([socket.paused, early.isPaused]).toEqual([false, false]);
    early.keep(new Uint8Array(1));
    expect([socket.paused, early.isPaused]).toEqual([true, true]);
  });

  test("that keeps what is written to it is known as such in other hands, and no other is", () => {
    const plain = new FakeSocket();
    const retaining = Object.assign(new FakeSocket(), { retainsWrites: true as const });
    const kept = [plain, retaining].map((socket) => new KeptSocket(socket, new EarlySocket(socket)));
    expect(kept.map(({ retainsWrites }) => retainsWrites)).toEqual([undefined, true]);
  });
});

describe("a stream", () => {
  const reset = new MeshError("h2_reset", "peer", "reset");
  const cases: readonly (readonly [string, (early: EarlyStream) => void, readonly string[]])[] = [
    ["that said nothing", () => {}, []],
    [
      "with data and an end in one frame, or an end of its own",
      (early) => {
        early.onData(bytes("one"), false);
        early.onData(bytes("two"), true);
      },
      ["one", "two", " end"],
    ],
    ["with an end that carries nothing", (early) => early.onData(bytes(""), true), [" end"]],
    ["with trailers", (early) => early.onTrailers(), [" end"]],
    ["that ends with its headers", (early) => early.onHeaders([], true), [" end"]],
    ["whose headers are no end", (early) => early.onHeaders([], false), []],
    [
      "that was reset, and then closed",
      (early) => {
        early.onData(bytes("one"), false);
        early.onWritable();
        early.onReset(8, "remote", reset);
        early.onClose();
      },
      ["one", "reset 8 by remote"],
    ],
    ["that was closed", (early) => early.onClose(), ["close"]],
  ];
  for (const [name, happens, told] of cases)
    test(name, () => {
      const early = new EarlyStream(false);
      happens(early);
      const { heard, events } = streamListener();
      early.replay(events);
      expect(heard).toEqual([...told]);
    });

  test("that had ended before it was had", () => {
    const { heard, events } = streamListener();
    new EarlyStream(true).replay(events);
    expect(heard).toEqual([" end"]);
  });

  test("whose other side leaves says so at once", () => {
    const gone: string[] = [];
    for (const leave of [
      (early: EarlyStream) => early.onReset(8, "remote", reset),
      (early: EarlyStream) => early.onClose(),
    ]) {
      const early = new EarlyStream(false);
      early.onGone = ({ code }) => void gone.push(code);
      leave(early);
    }
    expect(gone).toEqual(["h2_reset", "connection_closed"]);
  });
});
