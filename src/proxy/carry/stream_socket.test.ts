import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { ip } from "../../mesh/testing/fixture.ts";
import { resetCode } from "../../wire/hbone.ts";
import { EarlyStream } from "./early_stream.ts";
import { StreamSocket } from "./stream_socket.ts";
import { FakeStream } from "./testing/fake_stream.ts";

const bytes = (text: string): Uint8Array => Uint8Array.from(text, (one) => one.charCodeAt(0));
const broken = new MeshError("h2_reset", "peer", "reset");

function scene(happens: (early: EarlyStream) => void = () => {}) {
  const stream = new FakeStream();
  const early = new EarlyStream(false);
  happens(early);
  const at = { ip: ip("10.0.0.1"), port: 80 };
  const socket = new StreamSocket(stream, early, at, { ...at, port: 4000 });
  socket.counters = { bytesToUpstream: 0, bytesToDownstream: 0 };
  const heard: string[] = [];
  const handler = {
    onData: (data: Uint8Array) => void heard.push(String.fromCharCode(...data)),
    onDrain: () => void heard.push("drain"),
    onEnd: () => void heard.push("end"),
    onClose: (error: MeshError | null) => void heard.push(`close ${error?.code ?? "in order"}`),
  };
  return { stream, socket, heard, handler, counters: socket.counters };
}

function open(happens?: (early: EarlyStream) => void) {
  const made = scene(happens);
  made.socket.setHandler(made.handler);
  return made;
}

describe("a stream as a socket", () => {
  test("carries both ways, counts, gives the window back, and ends when both have said so", () => {
    const { stream, socket, heard, counters } = open();
    stream.receive("ask");
    expect([socket.write(bytes("answer")), stream.sent, stream.consumed]).toEqual([6, "answer", 3]);
    expect(counters).toEqual({ bytesToUpstream: 3, bytesToDownstream: 6 });
    socket.end();
    expect([socket.write(bytes("late")), stream.sent]).toEqual([0, "answer"]);
    socket.end();
    stream.receive("", true);
    expect(heard).toEqual(["ask", "end", "close in order"]);
    expect(socket.write(bytes("late"))).toBe(0);
    socket.end();
    expect(stream.sent).toBe("answer");
  });

  test("without a record counts nothing, and carries the same", () => {
    const { stream, socket, heard } = open();
    socket.counters = null;
    stream.receive("ask");
    expect([socket.write(bytes("answer")), heard]).toEqual([6, ["ask"]]);
  });

  test("tells first what came before, once, however often it is given to another", () => {
    const made = scene((early) => early.onData(bytes("early"), true));
    made.socket.setHandler(made.handler);
    const again: string[] = [];
    made.socket.setHandler({ ...made.handler, onData: () => void again.push("data") });
    expect([made.heard, again, made.stream.holds]).toEqual([["early", "end"], [], true]);
  });

  test("above the stream's mark takes nothing, and says when it takes more; it says so of nothing else", () => {
    const { stream, socket, heard } = open();
    stream.events.onWritable();
    expect(heard).toEqual([]);
    stream.aboveHighWater = true;
    expect([socket.write(bytes("x")), stream.sent]).toEqual([0, ""]);
    stream.aboveHighWater = false;
    stream.events.onWritable();
    stream.events.onWritable();
    expect([heard, socket.write(bytes("x"))]).toEqual([["drain"], 1]);
  });
});

describe("paused", () => {
  test("it keeps what comes and asks for no more; resumed, it tells it in order, its end last", () => {
    const { stream, socket, heard } = open();
    socket.pause();
    stream.receive("one");
    stream.receive("two", true);
    expect([heard, stream.consumed]).toEqual([[], 0]);
    socket.resume();
    socket.resume();
    expect([heard, stream.consumed]).toEqual([["one", "two", "end"], 6]);
  });

  test("again in the middle, the rest waits, and what comes waits behind it", () => {
    const made = scene();
    const { stream, socket, heard, handler } = made;
    socket.setHandler({
      ...handler,
      onData: (data) => {
        handler.onData(data);
        socket.pause();
      },
    });
    socket.pause();
    for (const piece of ["one", "two", "three"]) stream.receive(piece);
    socket.resume();
    stream.receive("four");
    expect(heard).toEqual(["one"]);
    for (let times = 0; times < 4; times++) socket.resume();
    expect(heard).toEqual(["one", "two", "three", "four"]);
    socket.resume();
    stream.receive("five");
    expect([heard.at(-1), stream.consumed]).toEqual(["five", 19]);
  });

  test("an end that carries nothing is not told before it goes on, nor in another's hands", () => {
    const { stream, socket, heard, handler } = open();
    socket.pause();
    stream.receive("", true);
    socket.setHandler(handler);
    expect(heard).toEqual([]);
    socket.resume();
    expect(heard).toEqual(["end"]);
  });

  test("in other hands what waits is told where it goes on", () => {
    const { stream, socket, heard, handler } = open();
    socket.pause();
    stream.receive("kept");
    const other: string[] = [];
    socket.setHandler({ ...handler, onData: (data) => void other.push(String.fromCharCode(...data)) });
    expect(other).toEqual([]);
    socket.resume();
    expect([heard, other]).toEqual([[], ["kept"]]);
  });

  test("a stream that is through closes once what came is told", () => {
    const { stream, socket, heard } = open();
    socket.pause();
    stream.receive("last", true);
    socket.end();
    expect([stream.closed, heard]).toEqual([true, []]);
    socket.resume();
    expect(heard).toEqual(["last", "end", "close in order"]);
  });
});

describe("a handler", () => {
  test("is told nothing from within a call, and hears the end where it paused only when it goes on", () => {
    const { stream, socket, heard, handler } = scene();
    let depth = 0;
    socket.setHandler({
      ...handler,
      onData: (data) => {
        heard.push(`${"inside ".repeat(depth)}`);
        depth++;
        handler.onData(data);
        socket.resume();
        depth--;
      },
    });
    socket.pause();
    stream.receive("one");
    stream.receive("two");
    socket.resume();
    expect(heard).toEqual(["", "one", "", "two"]);
    const paused = scene();
    paused.socket.setHandler({
      ...paused.handler,
      onData: (data) => {
        paused.handler.onData(data);
        paused.socket.pause();
      },
    });
    paused.socket.pause();
    paused.stream.receive("last", true);
    paused.socket.resume();
    expect(paused.heard).toEqual(["last"]);
    paused.socket.resume();
    expect(paused.heard).toEqual(["last", "end"]);
  });
});

describe("the end of it", () => {
  test("a close takes nothing back of a reset that waits for what was sent", () => {
    const { stream, socket } = open();
    stream.queuedBytes = 5;
    socket.resetAfterSent();
    socket.close();
    stream.flushed();
    expect([stream.localEnded, stream.resetWith]).toEqual([false, resetCode.connectError]);
  });

  test("closed when its peer has ended, it is not reset though our end is still to be sent", () => {
    const { stream, socket, heard } = open();
    stream.receive("", true);
    stream.queuedBytes = 5;
    socket.close();
    expect([stream.localEnded, stream.closed]).toEqual([true, false]);
    stream.flushed();
    expect([stream.resetWith, stream.resetAfter, heard]).toEqual([null, null, ["end", "close in order"]]);
  });

  test("closed, it says its end, hears nothing more, and asks a peer that goes on to stop", () => {
    const { stream, socket, heard } = open();
    socket.pause();
    stream.receive("kept");
    socket.close();
    expect([stream.localEnded, stream.consumed, stream.resetWith]).toEqual([true, 4, resetCode.noError]);
    expect(heard).toEqual(["close in order"]);
    socket.close();
    expect(heard).toEqual(["close in order"]);
    const late = open();
    late.stream.queuedBytes = 5;
    late.socket.close();
    late.stream.receive("late");
    late.stream.events.onTrailers([]);
    expect([late.heard, late.stream.consumed, late.stream.resetWith]).toEqual([[], 4, null]);
    late.stream.flushed();
    expect([late.heard, late.stream.resetWith]).toEqual([["close in order"], resetCode.noError]);
  });

  test("closed after its peer has ended, it is not reset", () => {
    const { stream, socket, heard } = open();
    stream.receive("", true);
    socket.close();
    expect([stream.resetWith, heard]).toEqual([null, ["end", "close in order"]]);
  });

  test("reset, it is gone at once, and what it kept is given up", () => {
    const { stream, socket, heard } = open();
    socket.pause();
    stream.receive("kept");
    socket.reset();
    socket.reset();
    expect([stream.resetWith, heard, stream.holds]).toEqual([
      resetCode.connectError,
      ["close in order"],
      false,
    ]);
    const after = open();
    after.stream.queuedBytes = 5;
    after.socket.pause();
    after.stream.receive("kept");
    after.socket.resetAfterSent();
    expect([after.stream.resetWith, after.heard, after.stream.consumed]).toEqual([null, [], 4]);
    after.stream.flushed();
    expect([after.stream.resetWith, after.heard]).toEqual([resetCode.connectError, ["close in order"]]);
  });

  test("by its peer in order, what came is told, then the end; otherwise it breaks, and what waits is dropped", () => {
    for (const [code, initiator, told] of [
      [resetCode.noError, "remote", ["kept", "end", "close in order"]],
      [resetCode.cancel, "remote", ["kept", "end", "close in order"]],
      [resetCode.connectError, "remote", ["close h2_reset"]],
      [resetCode.cancel, "library", ["close h2_reset"]],
      [resetCode.cancel, "user", ["close in order"]],
    ] as const) {
      const { stream, socket, heard } = open();
      socket.pause();
      stream.receive("kept");
      stream.closed = true;
      stream.events.onReset(code, initiator, broken);
      stream.events.onClose();
      expect([code, initiator, heard]).toEqual([code, initiator, [...told]]);
      expect(stream.holds).toBe(false);
    }
  });

  test("that the stream tells is told once the end was, and not before", () => {
    const { stream, heard } = open();
    stream.events.onClose();
    expect(heard).toEqual([]);
    stream.events.onTrailers([]);
    stream.events.onTrailers([]);
    stream.events.onClose();
    stream.events.onClose();
    expect(heard).toEqual(["end", "close in order"]);
  });
});
