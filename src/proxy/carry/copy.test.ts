import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { proxyLimits } from "../../base/limits/proxy.ts";
import { FakeSocket } from "../../host/testing/fake_socket.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { resetCode } from "../../wire/hbone.ts";
import { Copy, type CopyEnd } from "./copy.ts";
import { EarlySocket } from "./early_socket.ts";
import { EarlyStream } from "./early_stream.ts";
import { SocketEnd } from "./socket_end.ts";
import { StreamEnd } from "./stream_end.ts";
import { FakeStream } from "./testing/fake_stream.ts";

function carry(early = new EarlyStream(false)) {
  const stream = new FakeStream();
  const socket = new FakeSocket();
  const counters = { bytesToUpstream: 0, bytesToDownstream: 0 };
  const finished: (MeshError | null)[] = [];
  const clock = new FakeClock(0);
  const copy = new Copy(new StreamEnd(stream, early), new SocketEnd(socket), counters, clock, {
    finish: (error) => void finished.push(error),
  });
  copy.start();
  return { stream, socket, counters, finished, copy, clock };
}

describe("copy between a tunnel's stream and a socket", () => {
  test("carries both ways, counts, and ends when both directions ended", () => {
    const { stream, socket, counters, finished } = carry();
    stream.receive("ping");
    socket.receive("pong!");
    expect([socket.text, stream.sent, stream.consumed]).toEqual(["ping", "pong!", 4]);
    stream.receive("", true);
    expect([socket.state, finished]).toEqual(["ended", []]);
    socket.receive(" more");
    socket.handler?.onEnd();
    expect(stream.sent).toBe("pong! more");
    expect(finished).toEqual([null]);
    expect(counters).toEqual({ bytesToUpstream: 4, bytesToDownstream: 10 });
  });

  test("a socket that does not read stops the stream's window, byte for byte", () => {
    const { stream, socket } = carry();
    socket.room = 3;
    stream.receive("abcdef");
    stream.receive("gh", true);
    expect([stream.consumed, socket.text, socket.state]).toEqual([3, "abc", "open"]);
    socket.drain(4);
    expect([stream.consumed, socket.text, socket.state]).toEqual([7, "abcdefg", "open"]);
    socket.drain(100);
    expect([stream.consumed, socket.text, socket.state]).toEqual([8, "abcdefgh", "ended"]);
  });

  test("a stream above its high-water mark stops the socket until it is writable", () => {
    const { stream, socket } = carry();
    stream.aboveHighWater = true;
    socket.receive("abc");
    expect(socket.paused).toBe(true);
    stream.aboveHighWater = false;
    stream.events.onWritable();
    expect(socket.paused).toBe(false);
  });

  test("what a socket reads after the stream ended in order is still given back to the connection's window", () => {
    const { stream, socket } = carry();
    socket.room = 1;
    socket.handler?.onEnd();
    stream.receive("abc", true);
    expect([stream.closed, stream.consumed]).toEqual([true, 1]);
    socket.drain(10);
    expect([socket.text, stream.consumed]).toEqual(["abc", 3]);
  });

  test("a socket that breaks after the stream ended gives up what it had kept, or the connection's window would lose it", () => {
    const { stream, socket, finished } = carry();
    socket.room = 1;
    socket.handler?.onEnd();
    stream.receive("abc", true);
    expect([stream.closed, stream.consumed, stream.holds]).toEqual([true, 1, true]);
    socket.handler?.onClose(new MeshError("connection_reset", "upstream", "reset"));
    expect([stream.holds, finished.length]).toEqual([false, 1]);
  });

  test("a socket reset becomes CONNECT_ERROR on the stream (RFC 9113 §8.5)", () => {
    const { stream, socket, finished } = carry();
    const error = new MeshError("connection_reset", "upstream", "reset");
    socket.handler?.onClose(error);
    expect([stream.resetWith, finished]).toEqual([resetCode.connectError, [error]]);
  });

  test("a stream reset becomes a socket reset, but NO_ERROR and CANCEL from the peer are the end of data", () => {
    for (const code of [resetCode.internalError, resetCode.connectError]) {
      const { stream, socket, finished } = carry();
      stream.closed = true;
      stream.events.onReset(code, "remote", new MeshError("h2_reset", "peer", "reset"));
      expect([socket.state, finished[0]?.code]).toEqual(["reset", "h2_reset"]);
    }
    for (const code of [resetCode.noError, resetCode.cancel]) {
      const { stream, socket, finished } = carry();
      socket.room = 1;
      stream.receive("abc");
      stream.closed = true;
      stream.events.onReset(code, "remote", new MeshError("h2_reset", "peer", "reset"));
      expect([socket.state, finished.length]).toEqual(["open", 0]);
      socket.drain(10);
      expect([socket.text, socket.state, finished]).toEqual(["abc", "closed", [null]]);
    }
  });

  test("a CANCEL of our own engine is never taken for an orderly end", () => {
    const { stream, socket } = carry();
    stream.closed = true;
    stream.events.onReset(resetCode.cancel, "library", new MeshError("h2_flood", "peer", "flood"));
    expect(socket.state).toBe("reset");
  });

  test("what came on the stream before is delivered first, its end included", () => {
    const early = new EarlyStream(false);
    early.onData(Uint8Array.from(Buffer.from("early")), true);
    const { socket, stream } = carry(early);
    expect([socket.text, socket.state, stream.consumed]).toEqual(["early", "ended", 5]);
  });

  test("ended from outside: both sides see an error, and the reason is the first one", () => {
    const { stream, socket, finished, copy, counters } = carry();
    const reason = new MeshError("policy_changed", "policy", "closed");
    copy.abort(reason);
    expect([stream.resetWith, socket.state, finished]).toEqual([resetCode.connectError, "reset", [reason]]);
    stream.receive("late");
    socket.receive("late");
    expect([socket.text, stream.sent, counters]).toEqual([
      "",
      "",
      { bytesToUpstream: 0, bytesToDownstream: 0 },
    ]);
  });

  test("an application that answers and breaks has answered: the answer leaves first, then the reset", () => {
    const { stream, socket, finished } = carry();
    stream.queuedBytes = 3;
    socket.receive("413");
    const error = new MeshError("connection_reset", "upstream", "unread input");
    socket.handler?.onClose(error);
    expect([stream.sent, stream.resetWith, finished]).toEqual(["413", null, []]);
    stream.receive("more of the upload");
    expect(stream.consumed).toBe(0);
    stream.flushed();
    expect([stream.resetWith, finished]).toEqual([resetCode.connectError, [error]]);
  });

  test("the same on the other side: what the tunnel brought is written, then the client sees the reset", () => {
    const { stream, socket, finished } = carry();
    socket.room = 1;
    stream.receive("413");
    stream.closed = true;
    stream.events.onReset(resetCode.connectError, "remote", new MeshError("h2_reset", "peer", "reset"));
    expect([socket.text, socket.state, socket.paused, stream.holds, finished]).toEqual([
      "4",
      "open",
      true,
      true,
      [],
    ]);
    socket.drain(1);
    expect([socket.text, socket.state, finished.length]).toEqual(["41", "open", 0]);
    socket.drain(10);
    expect([socket.text, socket.state, stream.consumed]).toEqual(["413", "reset", 3]);
    expect(finished.map((error) => error?.code)).toEqual(["h2_reset"]);
  });

  test("what had come before a stream was carried, and broke, is passed on as well", () => {
    const early = new EarlyStream(false);
    early.onData(Uint8Array.from(Buffer.from("early")), false);
    early.onReset(resetCode.connectError, "remote", new MeshError("h2_reset", "peer", "reset"));
    const { socket, finished } = carry(early);
    expect([socket.text, socket.state, finished.map((error) => error?.code)]).toEqual([
      "early",
      "reset",
      ["h2_reset"],
    ]);
  });

  test("the same where the socket does not take it at once", () => {
    const early = new EarlyStream(false);
    early.onData(Uint8Array.from(Buffer.from("early")), false);
    early.onReset(resetCode.connectError, "remote", new MeshError("h2_reset", "peer", "reset"));
    const socket = new FakeSocket();
    socket.room = 2;
    const finished: (MeshError | null)[] = [];
    const counters = { bytesToUpstream: 0, bytesToDownstream: 0 };
    const stream = new FakeStream();
    stream.closed = true;
    new Copy(new StreamEnd(stream, early), new SocketEnd(socket), counters, new FakeClock(0), {
      finish: (error) => void finished.push(error),
    }).start();
    expect([socket.text, socket.state, finished]).toEqual(["ea", "open", []]);
    socket.drain(10);
    expect([socket.text, socket.state, finished.length, stream.holds]).toEqual(["early", "reset", 1, false]);
  });

  test("whoever leaves while the last is passed on, or is cut by policy, ends it at once and once", () => {
    for (const end of ["leaves", "policy"] as const) {
      const { stream, socket, finished, copy } = carry();
      socket.room = 1;
      stream.receive("413");
      stream.closed = true;
      stream.events.onReset(resetCode.connectError, "remote", new MeshError("h2_reset", "peer", "reset"));
      if (end === "leaves") socket.close();
      else copy.abort(new MeshError("policy_changed", "policy", "closed"));
      socket.drain(10);
      expect([finished.map((error) => error?.code), socket.text, stream.holds]).toEqual([
        [end === "leaves" ? "h2_reset" : "policy_changed"],
        "4",
        false,
      ]);
    }
  });

  test("a reader that has stalled holds up what broke for a bounded time, then nothing more is said", async () => {
    const { stream, socket, finished, clock } = carry();
    socket.room = 1;
    stream.receive("413");
    stream.closed = true;
    stream.events.onReset(resetCode.connectError, "remote", new MeshError("h2_reset", "peer", "reset"));
    await clock.advance(proxyLimits.passOnMs - 1);
    expect([finished, socket.state]).toEqual([[], "open"]);
    await clock.advance(1);
    expect([finished.map((error) => error?.code), socket.state]).toEqual([["h2_reset"], "reset"]);
    socket.drain(10);
    expect([socket.text, stream.holds]).toEqual(["4", false]);
  });

  test("a socket that closes without its end is a failure, not an end", () => {
    const { stream, socket, finished } = carry();
    socket.handler?.onClose(null);
    expect([stream.resetWith, finished[0]?.code]).toEqual([resetCode.connectError, "connection_closed"]);
  });
});

describe("copy between two sockets", () => {
  function pair() {
    const client = new FakeSocket();
    const server = new FakeSocket();
    const finished: (MeshError | null)[] = [];
    const counters = { bytesToUpstream: 0, bytesToDownstream: 0 };
    const clock = new FakeClock(0);
    new Copy(new SocketEnd(client), new SocketEnd(server), counters, clock, {
      finish: (error) => void finished.push(error),
    }).start();
    return { client, server, finished };
  }

  test("back-pressure and half-close", () => {
    const { client, server, finished } = pair();
    server.room = 2;
    client.receive("hello");
    expect([server.text, client.paused]).toEqual(["he", true]);
    client.handler?.onEnd();
    expect(server.state).toBe("open");
    server.drain(10);
    expect([server.text, server.state, client.paused]).toEqual(["hello", "ended", false]);
    server.receive("bye");
    server.handler?.onEnd();
    expect([client.text, client.state, finished]).toEqual(["bye", "ended", [null]]);
  });

  test("a reset on one side is a reset on the other", () => {
    const { client, server } = pair();
    client.handler?.onClose(new MeshError("connection_reset", "peer", "reset"));
    expect(server.state).toBe("reset");
  });
});

describe("what comes late", () => {
  const broke = new MeshError("connection_reset", "peer", "reset");

  /** Two ends that note what they are told. */
  function noted(onStart: (copy: Copy, self: CopyEnd, index: number) => void = () => {}) {
    const said: string[] = [];
    const finished: (MeshError | null)[] = [];
    const clock = new FakeClock(0);
    const end = (index: number): CopyEnd => {
      const self: CopyEnd = {
        start: (copy) => {
          said.push(`${index} start`);
          onStart(copy, self, index);
        },
        write: (bytes) => bytes.length,
        end: () => void said.push(`${index} end`),
        released: () => {},
        stop: () => void said.push(`${index} stop`),
        break: () => void said.push(`${index} break`),
        abort: () => void said.push(`${index} abort`),
      };
      return self;
    };
    const ends = [end(0), end(1)] as const;
    const counters = { bytesToUpstream: 0, bytesToDownstream: 0 };
    const copy = new Copy(...ends, counters, clock, { finish: (error) => void finished.push(error) });
    return { said, finished, clock, copy, ends, counters };
  }

  test("an end that is cut while it starts leaves the other one untouched", () => {
    const { said, copy, finished } = noted((one) => one.abort(broke));
    copy.start();
    expect([said, finished]).toEqual([["0 start", "0 abort", "1 abort"], [broke]]);
  });

  test("an end that breaks while it starts breaks the other once that has started, and only once", () => {
    const { said, copy, ends } = noted((one, self, index) => {
      if (index === 0) one.fail(self, broke);
    });
    copy.start();
    expect(said).toEqual(["0 start", "1 start", "1 break"]);
    copy.fail(ends[1], new MeshError("connection_closed", "peer", "later"));
    expect(said).toEqual(["0 start", "1 start", "1 break"]);
    const cut = noted((one, self, index) => {
      if (index === 0) one.fail(self, broke);
      else one.abort(broke);
    });
    cut.copy.start();
    expect(cut.said).toEqual(["0 start", "1 start", "0 abort", "1 abort"]);
  });

  test("it finishes once, whatever follows, and what follows is told to no end", async () => {
    const { said, copy, ends, finished, clock } = noted();
    copy.start();
    copy.broken();
    expect([finished, copy.finished]).toEqual([[], false]);
    copy.fail(ends[0], broke);
    expect([finished, copy.finished]).toEqual([[], true]);
    copy.broken();
    said.length = 0;
    copy.broken();
    copy.abort(broke);
    copy.endDone();
    copy.endDone();
    await clock.advance(proxyLimits.passOnMs + 1);
    expect([said, finished, clock.timers]).toEqual([[], [broke], 0]);
  });

  test("two ends that are through finish it in order; not where one broke before", () => {
    const through = noted();
    through.copy.start();
    through.copy.endDone();
    expect(through.finished).toEqual([]);
    through.copy.endDone();
    expect([through.finished, through.copy.finished]).toEqual([[null], true]);
    const cut = noted();
    cut.copy.start();
    cut.copy.abort(broke);
    cut.copy.endDone();
    cut.copy.endDone();
    expect(cut.finished).toEqual([broke]);
    const one = noted();
    one.copy.start();
    one.copy.fail(one.ends[1], broke);
    one.copy.endDone();
    one.copy.endDone();
    expect(one.finished).toEqual([]);
    one.copy.broken();
    expect([one.finished, one.said.at(-1)]).toEqual([[broke], "1 abort"]);
  });

  test("a socket that says twice that it ends, or ends after it was cut, has ended once", () => {
    const { stream, socket, finished } = carry();
    socket.handler?.onEnd();
    socket.handler?.onEnd();
    expect([stream.localEnded, finished]).toEqual([true, []]);
    stream.receive("", true);
    socket.handler?.onEnd();
    socket.handler?.onClose(null);
    expect([socket.state, finished]).toEqual(["ended", [null]]);
    const cut = carry();
    cut.copy.abort(broke);
    cut.socket.handler?.onEnd();
    cut.socket.handler?.onClose(null);
    expect([cut.stream.localEnded, cut.finished]).toEqual([false, [broke]]);
  });

  test("what a socket says to a stream that was reset in order is dropped", () => {
    const { stream, socket, counters } = carry();
    stream.closed = true;
    stream.events.onReset(resetCode.noError, "remote", new MeshError("h2_reset", "peer", "reset"));
    socket.receive("late");
    expect([stream.sent, counters.bytesToDownstream, socket.paused]).toEqual(["", 0, false]);
    const closed = carry();
    closed.stream.closed = true;
    // What it had not sent by then is in its way no more.
    closed.stream.aboveHighWater = true;
    closed.socket.receive("late");
    expect([closed.stream.sent, closed.socket.paused]).toEqual(["", false]);
  });
});

describe("one end by itself", () => {
  const broke = new MeshError("h2_reset", "peer", "reset");

  /** @param room what the other end takes of what it is given. */
  function other(room = Number.POSITIVE_INFINITY) {
    const said: string[] = [];
    const end: CopyEnd = {
      start: () => {},
      write: (bytes) => Math.min(room, bytes.length),
      end: () => void said.push("end"),
      released: (count) => void said.push(`released ${count}`),
      stop: () => void said.push("stop"),
      break: () => void said.push("break"),
      abort: () => void said.push("abort"),
    };
    return { said, beside: end };
  }

  function started(end: CopyEnd, beside: CopyEnd) {
    const finished: (MeshError | null)[] = [];
    const counters = { bytesToUpstream: 0, bytesToDownstream: 0 };
    const copy = new Copy(end, beside, counters, new FakeClock(0), {
      finish: (error) => void finished.push(error),
    });
    copy.start();
    return { copy, finished, counters };
  }

  /** @param kept bytes that the socket said before it was carried. */
  function socketEnd(kept = 0, room?: number) {
    const socket = new FakeSocket();
    const calls: string[] = [];
    for (const name of ["end", "close", "resume"] as const) {
      const original = socket[name].bind(socket);
      socket[name] = () => {
        calls.push(name);
        original();
      };
    }
    const early = new EarlySocket(socket);
    if (kept > 0) early.keep(new Uint8Array(kept));
    const { said, beside } = other(room);
    const end = new SocketEnd(socket, early);
    return { socket, calls, end, said, ...started(end, beside) };
  }

  test("a socket that was held back goes on when it is carried, unless the other end does not take what it said", () => {
    for (const [kept, room, resumes] of [
      [proxyLimits.earlyBytes + 1, Number.POSITIVE_INFINITY, ["resume"]],
      [proxyLimits.earlyBytes + 1, 1, []],
      [1, Number.POSITIVE_INFINITY, []],
    ] as const) {
      const { calls } = socketEnd(kept, room);
      expect(calls).toEqual([...resumes]);
    }
  });

  test("a socket that both have ended is stopped by nothing, and is through once", () => {
    const { socket, calls, end, finished, copy } = socketEnd();
    socket.handler?.onEnd();
    end.end();
    end.end();
    end.stop();
    expect([calls, finished]).toEqual([["end"], []]);
    copy.endDone();
    expect(finished).toEqual([null]);
  });

  test("a socket's end is said once to the other, and not after it was cut", () => {
    const { socket, said, copy } = socketEnd();
    socket.handler?.onEnd();
    socket.handler?.onEnd();
    expect(said).toEqual(["end"]);
    const cut = socketEnd();
    cut.copy.abort(broke);
    cut.socket.handler?.onEnd();
    expect([cut.said, copy.finished]).toEqual([["abort"], false]);
  });

  test("what a socket says is dropped, uncounted, once the other has stopped it, though it still writes", () => {
    const { socket, end, counters } = socketEnd();
    socket.room = 1;
    end.write(Uint8Array.of(1, 2));
    end.end();
    end.stop();
    socket.receive("late");
    expect([counters.bytesToUpstream, socket.state]).toEqual([0, "open"]);
    socket.drain(10);
    expect(socket.state).toBe("closed");
  });

  function streamEnd() {
    const stream = new FakeStream();
    const { said, beside } = other();
    const end = new StreamEnd(stream, new EarlyStream(false));
    return { stream, end, said, ...started(end, beside) };
  }

  test("a stream's end is said once to the other, and it is through once", () => {
    const { stream, said, finished, copy } = streamEnd();
    stream.receive("", true);
    stream.events.onTrailers([]);
    expect(said).toEqual(["end"]);
    stream.closed = true;
    stream.events.onReset(resetCode.noError, "remote", broke);
    stream.events.onClose();
    expect([said, finished]).toEqual([["end", "stop"], []]);
    copy.endDone();
    expect(finished).toEqual([null]);
  });

  test("our end of a stream is said once", () => {
    const { stream, end } = streamEnd();
    end.end();
    end.end();
    expect(stream.localEnded).toBe(true);
  });

  test("a stream that is writable again releases what was kept, once, and nothing where nothing was", () => {
    const { stream, said, end } = streamEnd();
    stream.events.onWritable();
    stream.aboveHighWater = true;
    end.write(Uint8Array.of(1, 2, 3));
    stream.events.onWritable();
    stream.events.onWritable();
    expect(said).toEqual(["released 3"]);
  });

  test("an end that carries nothing is no data", () => {
    const { stream, socket } = carry();
    let writes = 0;
    socket.write = () => ++writes;
    stream.receive("", true);
    expect([writes, socket.state]).toEqual([0, "ended"]);
  });

  test("a stream that comes to its end by itself while the last is passed on has done so", () => {
    const { stream, socket, finished } = carry();
    stream.queuedBytes = 3;
    const error = new MeshError("connection_reset", "upstream", "reset");
    socket.handler?.onClose(error);
    expect(finished).toEqual([]);
    stream.closed = true;
    stream.events.onClose();
    expect(finished).toEqual([error]);
  });

  test("of two streams the one is stopped in order when the other is", () => {
    const [one, two] = [new FakeStream(), new FakeStream()];
    const { finished } = started(
      new StreamEnd(one, new EarlyStream(false)),
      new StreamEnd(two, new EarlyStream(false)),
    );
    one.closed = true;
    one.events.onReset(resetCode.cancel, "remote", broke);
    expect([two.localEnded, two.resetWith, finished]).toEqual([true, resetCode.noError, [null]]);
  });
});
