/** The server's end against a client that speaks in frames: PROTOCOL-HTTP2.md, statuscodes.md. */
import { describe, expect, test } from "bun:test";
import { grpcLimits } from "../../base/limits/rpc.ts";
import { h2ErrorCode } from "../h2/error_code.ts";
import { frameFlag, frameType, readUint31 } from "../h2/frame.ts";
import { type HeaderFields, headerValue } from "../h2/headers.ts";
import { concat, FramePeer, RecordedStream } from "../h2/testing/wired.ts";
import type { CallContext } from "./call_context.ts";
import { CallLoad } from "./call_load.ts";
import { frameMessage } from "./message_reader.ts";
import type { MethodDescription } from "./method.ts";
import { GrpcService } from "./server.ts";
import type { ServerStream, StreamEvents } from "./server_stream.ts";
import { GrpcError, grpcCode } from "./status.ts";
import { bytesOf, echoMethod, HandClock, textOf } from "./testing/calls.ts";

const request: HeaderFields = [
  ...[":method", "POST", ":scheme", "https", ":path", "/test.Echo/Echo", ":authority", "a"],
  ...["te", "trailers", "content-type", "application/grpc"],
];

function requestWith(...fields: string[]): HeaderFields {
  return [...request, ...fields];
}

function without(name: string, fields = request): HeaderFields {
  return fields.filter((_, index) => fields[index - (index % 2)] !== name);
}

function replaced(name: string, value: string): HeaderFields {
  return request.map((each, index) => (index % 2 === 1 && request[index - 1] === name ? value : each));
}

/** What came back on a stream. */
interface Answer {
  readonly headers: HeaderFields | null;
  readonly trailers: HeaderFields | null;
  readonly body: Uint8Array;
  readonly reset: number | null;
}

class Lab {
  readonly clock = new HandClock();
  readonly service = new GrpcService<string>();
  readonly faults: unknown[] = [];
  readonly taken: boolean[] = [];
  readonly peer: FramePeer;

  constructor(context: Partial<CallContext> = {}) {
    this.peer = new FramePeer("server");
    this.peer.events.onRequest = (stream, headers, endStream) => {
      stream.events = new RecordedStream();
      this.taken.push(
        this.service.handle(stream, headers, endStream, "peer", {
          clock: this.clock,
          load: null,
          maxRequestBytes: 1_000_000,
          onFault: (_path, thrown) => this.faults.push(thrown),
          ...context,
        }),
      );
    };
    this.peer.shake();
  }

  headers(id: number, fields: HeaderFields, end = false): void {
    this.peer.headers(id, fields, frameFlag.endHeaders | (end ? frameFlag.endStream : 0));
  }

  data(id: number, bytes: Uint8Array, end = false): void {
    this.peer.frame(frameType.data, end ? frameFlag.endStream : 0, id, bytes);
  }

  message(id: number, text: string, end = false): void {
    this.data(id, concat(frameMessage(bytesOf(text))), end);
  }

  async rest(): Promise<void> {
    for (let turn = 0; turn < 3; turn++) await new Promise((resolve) => setImmediate(resolve));
  }

  /** All that was said on `id` since the last time; the only stream that spoke. */
  answer(id: number): Answer {
    let headers: HeaderFields | null = null;
    let trailers: HeaderFields | null = null;
    let reset: number | null = null;
    const body: Uint8Array[] = [];
    for (const frame of this.peer.frames()) {
      if (frame.streamId !== id) continue;
      if (frame.type === frameType.headers) {
        const fields = this.#decode(frame.payload);
        if (fields[0] === ":status") headers = fields;
        if ((frame.flags & frameFlag.endStream) !== 0) trailers = fields;
      } else if (frame.type === frameType.data) body.push(frame.payload);
      else if (frame.type === frameType.rstStream) reset = readUint31(frame.payload, 0);
    }
    return { headers, trailers, body: concat(body), reset };
  }

  status(id: number): number | null {
    const { trailers } = this.answer(id);
    const text = trailers === null ? null : headerValue(trailers, "grpc-status");
    return text === null ? null : Number(text);
  }

  #decode(block: Uint8Array): HeaderFields {
    const fields = this.peer.decoder.decode(block, 0, block.length, 1 << 20);
    if (!Array.isArray(fields)) throw new Error("the header block is malformed");
    return fields;
  }
}

const echo: MethodDescription<Uint8Array, Uint8Array> = echoMethod;

/** A stream method that remembers what its handler was told. */
class RecordedHandler implements StreamEvents<Uint8Array> {
  readonly log: string[] = [];
  stream: ServerStream<Uint8Array, Uint8Array, string> | null = null;
  onMessage(message: Uint8Array): void {
    this.log.push(`message ${textOf(message)}`);
  }
  onHalfClose(): void {
    this.log.push("half close");
  }
  onWritable(): void {
    this.log.push("writable");
  }
  onClose(): void {
    this.log.push("close");
  }
  of(stream: ServerStream<Uint8Array, Uint8Array, string>): this {
    this.stream = stream;
    return this;
  }
}

function streaming(context: Partial<CallContext> = {}) {
  const lab = new Lab(context);
  const handler = new RecordedHandler();
  lab.service.stream(echo, (stream) => handler.of(stream));
  return { lab, handler };
}

function unary(context: Partial<CallContext> = {}) {
  const lab = new Lab(context);
  let calls = 0;
  lab.service.unary(echo, async (message) => {
    calls++;
    return message;
  });
  return { lab, calls: () => calls };
}

describe("Requests", () => {
  test("a unary call: headers, one message, trailers with status 0", async () => {
    const { lab } = unary();
    lab.headers(1, request);
    lab.message(1, "hello", true);
    await lab.rest();
    const { headers, body, trailers, reset } = lab.answer(1);
    expect(headers).toEqual([":status", "200", "content-type", "application/grpc"]);
    expect(textOf(body.subarray(5))).toBe("hello");
    expect(trailers).toEqual(["grpc-status", "0"]);
    expect(reset).toBeNull();
  });

  test("an unknown service or method is UNIMPLEMENTED, as Trailers-Only", () => {
    const { lab } = unary();
    lab.headers(1, replaced(":path", "/test.Echo/Other"), true);
    expect(lab.answer(1).trailers?.slice(0, 6)).toEqual([
      ...[":status", "200", "content-type", "application/grpc", "grpc-status", "12"],
    ]);
  });

  test("what is not gRPC is left untouched: another content type, none, another method", () => {
    const { lab } = unary();
    lab.headers(1, replaced("content-type", "application/json"), true);
    lab.headers(3, without("content-type"), true);
    lab.headers(5, replaced(":method", "GET"), true);
    expect(lab.taken).toEqual([false, false, false]);
    expect(lab.answer(1)).toMatchObject({ headers: null, reset: null });
  });

  test("messages in a form we do not read are UNIMPLEMENTED", () => {
    const { lab } = unary();
    lab.headers(1, replaced("content-type", "application/grpc+json"), true);
    expect(lab.status(1)).toBe(grpcCode.unimplemented);
  });

  test("without te: trailers there is a proxy in between that would lose the status: INTERNAL", () => {
    const { lab } = unary();
    lab.headers(1, without("te"), true);
    expect(lab.status(1)).toBe(grpcCode.internal);
  });

  test("a refused request whose body is to come is told to stop, with NO_ERROR after the whole answer (RFC 9113 §8.1)", () => {
    const { lab } = unary();
    lab.headers(1, replaced(":path", "/x/y"));
    expect(lab.answer(1)).toMatchObject({ reset: h2ErrorCode.noError });
    expect(lab.peer.connection.openStreams).toBe(0);
  });
});

describe("Request cardinality", () => {
  test("a unary call without a request, or with two, is UNIMPLEMENTED and no handler runs", async () => {
    const { lab, calls } = unary();
    lab.headers(1, request, true);
    expect(lab.status(1)).toBe(grpcCode.unimplemented);
    lab.headers(3, request);
    lab.message(3, "one");
    lab.message(3, "two", true);
    await lab.rest();
    expect(lab.status(3)).toBe(grpcCode.unimplemented);
    expect(calls()).toBe(0);
  });

  test("an empty message is a message", async () => {
    const { lab, calls } = unary();
    lab.headers(1, request);
    lab.message(1, "", true);
    await lab.rest();
    expect(lab.status(1)).toBe(grpcCode.ok);
    expect(calls()).toBe(1);
  });

  test("the end of the request within a message is INTERNAL", async () => {
    for (const half of [3, 5, 8]) {
      const { lab, calls } = unary();
      lab.headers(1, request);
      lab.data(1, concat(frameMessage(bytesOf("hello"))).subarray(0, half), true);
      await lab.rest();
      expect(lab.status(1)).toBe(grpcCode.internal);
      expect(calls()).toBe(0);
    }
  });

  test("END_STREAM may come in an empty frame or with trailers of the client's", async () => {
    const { lab } = unary();
    lab.headers(1, request);
    lab.message(1, "a");
    lab.data(1, new Uint8Array(0), true);
    await lab.rest();
    expect(lab.status(1)).toBe(grpcCode.ok);
    lab.headers(3, request);
    lab.message(3, "a");
    lab.headers(3, ["x-trailer", "1"], true);
    await lab.rest();
    expect(lab.status(3)).toBe(grpcCode.ok);
  });

  test("a request that cannot be decoded is INTERNAL, one that is too large RESOURCE_EXHAUSTED, a compressed one UNIMPLEMENTED", () => {
    const lab = new Lab({ maxRequestBytes: 10 });
    const refusing = {
      ...echo,
      request: {
        ...echo.request,
        decode: (): Uint8Array => {
          throw new Error("no");
        },
      },
    };
    lab.service.unary(refusing, async (message) => message);
    lab.headers(1, request);
    lab.message(1, "hello", true);
    expect(lab.status(1)).toBe(grpcCode.internal);
    lab.headers(3, request);
    lab.data(3, Uint8Array.of(0, 0, 0, 0, 11));
    expect(lab.status(3)).toBe(grpcCode.resourceExhausted);
    lab.headers(5, requestWith("grpc-encoding", "gzip"));
    lab.data(5, Uint8Array.of(1, 0, 0, 0, 1, 9));
    expect(lab.status(5)).toBe(grpcCode.unimplemented);
  });

  test("a method may have a bound of its own: the byte at it is taken, the one after it is not", () => {
    const lab = new Lab({ maxRequestBytes: 10 });
    const taken: number[] = [];
    const events = { onHalfClose() {}, onWritable() {}, onClose() {} };
    const onMessage = (message: Uint8Array): void => void taken.push(message.length);
    lab.service.stream(echo, () => ({ ...events, onMessage }), { maxRequestBytes: 12 });
    lab.headers(1, request);
    lab.message(1, "x".repeat(12));
    expect(taken).toEqual([12]);
    lab.data(1, Uint8Array.of(0, 0, 0, 0, 13));
    expect(lab.status(1)).toBe(grpcCode.resourceExhausted);
  });
});

describe("Status", () => {
  test("a handler's GrpcError is the status, its message percent-encoded", async () => {
    const lab = new Lab();
    lab.service.unary(echo, async () => {
      throw new GrpcError(grpcCode.permissionDenied, "nö %");
    });
    lab.headers(1, request);
    lab.message(1, "a", true);
    await lab.rest();
    const { trailers, body } = lab.answer(1);
    expect(trailers?.slice(4)).toEqual(["grpc-status", "7", "grpc-message", "n%C3%B6 %25"]);
    expect(body.length).toBe(0);
  });

  test("whatever else a handler throws is INTERNAL, and tells the client nothing", async () => {
    const lab = new Lab();
    const bug = new Error("the password is hunter2");
    lab.service.unary(echo, async () => {
      throw bug;
    });
    lab.service.stream({ ...echo, path: "/test.Echo/Stream" }, () => {
      throw bug;
    });
    lab.headers(1, request);
    lab.message(1, "a", true);
    await lab.rest();
    expect(lab.answer(1).trailers?.slice(4)).toEqual(["grpc-status", "13", "grpc-message", "internal error"]);
    lab.headers(3, replaced(":path", "/test.Echo/Stream"), true);
    expect(lab.status(3)).toBe(grpcCode.internal);
    expect(lab.faults).toEqual([bug, bug]);
  });
});

describe("Timeout", () => {
  test("a malformed grpc-timeout is refused before a handler runs", async () => {
    const { lab, calls } = unary();
    lab.headers(1, requestWith("grpc-timeout", "1x"));
    lab.message(1, "a", true);
    await lab.rest();
    expect(lab.status(1)).toBe(grpcCode.internal);
    expect(calls()).toBe(0);
  });

  test("at the deadline the call ends with DEADLINE_EXCEEDED, the handler is told, and what it says later is dropped", () => {
    const { lab, handler } = streaming();
    lab.headers(1, requestWith("grpc-timeout", "100m"));
    const { stream } = handler;
    expect(stream?.deadlineMs).toBe(100);
    const signal = stream?.cancelled;
    lab.clock.advance(99);
    expect(signal?.aborted).toBe(false);
    lab.clock.advance(1);
    expect(signal?.aborted).toBe(true);
    expect(signal?.reason).toMatchObject({ code: grpcCode.deadlineExceeded });
    expect(lab.status(1)).toBe(grpcCode.deadlineExceeded);
    expect(stream?.send(bytesOf("late"))).toBe(false);
    stream?.end();
    expect(handler.log).toEqual(["close"]);
    expect(lab.clock.timers).toBe(0);
  });

  test("a deadline that is over costs no handler", async () => {
    const { lab, calls } = unary();
    lab.headers(1, requestWith("grpc-timeout", "0n"));
    expect(lab.status(1)).toBe(grpcCode.deadlineExceeded);
    expect(calls()).toBe(0);
    const stream = streaming();
    stream.lab.headers(1, requestWith("grpc-timeout", "0m"), true);
    expect(stream.lab.status(1)).toBe(grpcCode.deadlineExceeded);
    expect(stream.handler.log).toEqual([]);
  });

  test("a deadline further away than a timer can wait is none", () => {
    const seconds = Math.floor(grpcLimits.maxTimeoutMs / 1_000);
    const timersOf = (timeout: string): number => {
      const { lab } = streaming();
      lab.headers(1, requestWith("grpc-timeout", timeout), true);
      return lab.clock.timers;
    };
    expect([timersOf(`${seconds}S`), timersOf(`${seconds + 1}S`)]).toEqual([1, 0]);
  });

  test("the end of a call takes its timer away", () => {
    const { lab, handler } = streaming();
    lab.headers(1, requestWith("grpc-timeout", "1H"), true);
    expect(lab.clock.timers).toBe(1);
    handler.stream?.end();
    expect(lab.clock.timers).toBe(0);
  });
});

describe("Streams", () => {
  test("response headers go out at once; messages come in order; half close is no end of the answer", () => {
    const { lab, handler } = streaming();
    lab.headers(1, request);
    expect(lab.answer(1)).toMatchObject({
      trailers: null,
      headers: [":status", "200", ...request.slice(-2)],
    });
    lab.data(1, concat([...frameMessage(bytesOf("a")), ...frameMessage(bytesOf("b"))]));
    lab.message(1, "c", true);
    expect(handler.log).toEqual(["message a", "message b", "message c", "half close"]);
    handler.stream?.send(bytesOf("answer"));
    handler.stream?.end();
    const { body, trailers } = lab.answer(1);
    expect([textOf(body.subarray(5)), trailers]).toEqual(["answer", ["grpc-status", "0"]]);
    expect(handler.log.at(-1)).toBe("close");
  });

  test("a handler that refuses at once does it with Trailers-Only", () => {
    const { lab, handler } = streaming();
    lab.service.stream({ ...echo, path: "/test.Echo/Refusing" }, (stream) => {
      stream.end(new GrpcError(grpcCode.unauthenticated, ""));
      return handler;
    });
    lab.headers(1, replaced(":path", "/test.Echo/Refusing"), true);
    expect(lab.answer(1).trailers).toEqual([
      ...[":status", "200", ...request.slice(-2)],
      "grpc-status",
      "16",
    ]);
    expect(handler.log).toEqual(["close"]);
  });

  test("after the end of the call messages of the client are dropped, and their window is given back", () => {
    const { lab, handler } = streaming();
    lab.headers(1, request);
    handler.stream?.send(bytesOf("x"));
    handler.stream?.end();
    // The answer still waits to be written: a reset would lose it.
    lab.message(1, "late");
    expect(lab.answer(1)).toMatchObject({ trailers: ["grpc-status", "0"], reset: null });
    lab.message(1, "later");
    expect(lab.answer(1).reset).toBe(h2ErrorCode.noError);
    expect(handler.log).toEqual(["close"]);
    expect(lab.peer.connection.openStreams).toBe(0);
  });

  test("RST_STREAM cancels: the signal is aborted, onClose is the last call, and nothing is said any more", () => {
    const { lab, handler } = streaming();
    lab.headers(1, request);
    const signal = handler.stream?.cancelled;
    lab.answer(1);
    lab.peer.frame(frameType.rstStream, 0, 1, Uint8Array.of(0, 0, 0, h2ErrorCode.cancel));
    expect(signal?.aborted).toBe(true);
    expect(signal?.reason).toMatchObject({ code: grpcCode.cancelled });
    handler.stream?.send(bytesOf("x"));
    handler.stream?.end();
    expect(lab.answer(1)).toMatchObject({ headers: null, trailers: null, reset: null });
    expect(handler.log).toEqual(["close"]);
  });

  test("a lost connection cancels every call, once", () => {
    const { lab, handler } = streaming();
    lab.headers(1, request);
    lab.peer.connection.receiveEnd(0);
    expect(handler.stream?.cancelled.aborted).toBe(true);
    expect(handler.log).toEqual(["close"]);
  });

  test("a normal end does not abort the signal", () => {
    const { lab, handler } = streaming();
    lab.headers(1, request, true);
    handler.stream?.end();
    expect(handler.stream?.cancelled.aborted).toBe(false);
  });

  test("a handler that throws at a message ends its call alone", () => {
    const lab = new Lab();
    lab.service.stream(echo, () => ({
      onMessage() {
        throw new GrpcError(grpcCode.invalidArgument, "bad");
      },
      onHalfClose() {},
      onWritable() {},
      onClose() {},
    }));
    lab.headers(1, request);
    lab.headers(3, request);
    lab.message(1, "x");
    expect(lab.status(1)).toBe(grpcCode.invalidArgument);
    expect(lab.peer.connection.done).toBe(false);
  });
});

describe("Flow control", () => {
  test("a paused handler holds the client up by its window, and gets everything in order afterwards", () => {
    const { lab, handler } = streaming();
    lab.headers(1, request);
    lab.answer(1);
    handler.stream?.pause();
    const big = new Uint8Array(1_000_000 - 5);
    for (let index = 0; index < 4; index++) lab.data(1, concat(frameMessage(big)));
    expect(lab.peer.frames().filter((frame) => frame.type === frameType.windowUpdate)).toEqual([]);
    lab.data(1, new Uint8Array(0), true);
    expect(handler.log).toEqual([]);
    handler.stream?.resume();
    expect(handler.log.length).toBe(5);
    expect(handler.log.at(-1)).toBe("half close");
  });

  test("a handler that pauses within a message gets no second one", () => {
    const { lab, handler } = streaming();
    const seen: string[] = [];
    handler.onMessage = (message) => {
      seen.push(textOf(message));
      handler.stream?.pause();
    };
    lab.headers(1, request);
    lab.data(1, concat([...frameMessage(bytesOf("a")), ...frameMessage(bytesOf("b"))]), true);
    expect(seen).toEqual(["a"]);
    handler.stream?.resume();
    expect(seen).toEqual(["a", "b"]);
    expect(handler.log).toEqual([]);
    handler.stream?.resume();
    expect(handler.log).toEqual(["half close"]);
  });

  test("send says when there is no more room, onWritable when there is again", () => {
    const { lab, handler } = streaming();
    lab.headers(1, request);
    lab.answer(1);
    const chunk = new Uint8Array(100_000);
    let sent = 0;
    while (handler.stream?.send(chunk)) sent++;
    expect(sent).toBeGreaterThan(3);
    expect(handler.stream?.aboveHighWater).toBe(true);
    lab.peer.frames();
    expect(handler.log).toEqual([]);
    for (const id of [0, 1]) lab.peer.frame(frameType.windowUpdate, 0, id, Uint8Array.of(0, 0x20, 0, 0));
    lab.peer.frames();
    expect(handler.log).toEqual(["writable"]);
  });

  test("unread bytes of a call that ended in order go back to the connection's window", () => {
    const { lab, handler } = streaming();
    let consumed = 0;
    for (let id = 1; id < 20; id += 2) {
      lab.headers(id, request);
      handler.stream?.pause();
      lab.data(id, concat(frameMessage(new Uint8Array(2_000_000).subarray(0, 999_000))));
      lab.data(id, concat(frameMessage(new Uint8Array(999_000))));
      lab.data(id, new Uint8Array(0), true);
      handler.stream?.end();
      for (const frame of lab.peer.frames())
        if (frame.type === frameType.windowUpdate && frame.streamId === 0)
          consumed += readUint31(frame.payload, 0);
    }
    // Twenty megabytes passed a window of sixteen.
    expect(consumed).toBeGreaterThan(10_000_000);
    expect(lab.peer.connection.done).toBe(false);
  });
});

describe("Load", () => {
  test("unfinished requests are bounded together, and their room is given back", () => {
    const load = new CallLoad({ maxAssembledBytes: 1_000, maxHandlers: 10 });
    const { lab } = unary({ load });
    const part = concat(frameMessage(new Uint8Array(900))).subarray(0, 605);
    lab.headers(1, request);
    lab.data(1, part);
    expect(load.assembledBytes).toBe(600);
    lab.headers(3, request);
    lab.data(3, part);
    expect(lab.status(3)).toBe(grpcCode.resourceExhausted);
    expect(load.assembledBytes).toBe(600);
    lab.peer.frame(frameType.rstStream, 0, 1, Uint8Array.of(0, 0, 0, h2ErrorCode.cancel));
    expect(load.assembledBytes).toBe(0);
  });

  test("a request that is not finished ends in time, and gives back what it held", () => {
    const half = concat(frameMessage(new Uint8Array(900))).subarray(0, 605);
    for (const said of [new Uint8Array(0), half]) {
      const load = new CallLoad({ maxAssembledBytes: 1_000, maxHandlers: 10 });
      const { lab } = unary({ load, requestTimeoutMs: 30_000 });
      lab.headers(1, request);
      lab.data(1, said);
      lab.clock.advance(29_999);
      expect([lab.status(1), load.assembledBytes]).toEqual([null, Math.max(0, said.length - 5)]);
      lab.clock.advance(1);
      expect(lab.status(1)).toBe(grpcCode.deadlineExceeded);
      expect([load.assembledBytes, lab.clock.timers]).toEqual([0, 0]);
    }
  });

  test("a stream may rest between messages, not within one, and one that goes on goes on", () => {
    const lab = new Lab({ requestTimeoutMs: 30_000 });
    const taken: number[] = [];
    const events = { onHalfClose() {}, onWritable() {}, onClose() {} };
    lab.service.stream(echo, () => ({ ...events, onMessage: (bytes) => void taken.push(bytes.length) }));
    lab.headers(1, request);
    lab.clock.advance(3_600_000);
    const message = concat(frameMessage(new Uint8Array(10)));
    // Each piece ends one message and begins the next.
    for (let round = 0; round < 5; round++) {
      lab.data(1, concat([round === 0 ? message : message.subarray(7), message.subarray(0, 7)]));
      lab.clock.advance(20_000);
    }
    expect([taken.length, lab.status(1)]).toEqual([5, null]);
    lab.data(1, message.subarray(7));
    lab.clock.advance(3_600_000);
    expect([taken.length, lab.status(1)]).toEqual([6, null]);
    lab.data(1, message.subarray(0, 3));
    lab.clock.advance(30_000);
    expect(lab.status(1)).toBe(grpcCode.deadlineExceeded);
    expect(lab.clock.timers).toBe(0);
  });

  test("calls that are reset do not free their handlers' places before these are done", async () => {
    const load = new CallLoad({ maxAssembledBytes: 1_000, maxHandlers: 2 });
    const lab = new Lab({ load });
    const waiting: (() => void)[] = [];
    lab.service.unary(echo, async (message) => {
      await new Promise<void>((resolve) => waiting.push(resolve));
      return message;
    });
    for (const id of [1, 3]) {
      lab.headers(id, request);
      lab.message(id, "a", true);
      lab.peer.frame(frameType.rstStream, 0, id, Uint8Array.of(0, 0, 0, h2ErrorCode.cancel));
    }
    lab.headers(5, request);
    lab.message(5, "a", true);
    await lab.rest();
    expect(lab.status(5)).toBe(grpcCode.resourceExhausted);
    for (const go of waiting) go();
    await lab.rest();
    expect(load.handlers).toBe(0);
  });

  test("a load within another counts in both, and a refusal counts in neither", () => {
    const all = new CallLoad({ maxAssembledBytes: 10, maxHandlers: 1 });
    const one = new CallLoad({ maxAssembledBytes: 100, maxHandlers: 5 }, all);
    expect([one.assemble(10), one.assemble(1)]).toEqual([true, false]);
    expect([one.assembledBytes, all.assembledBytes]).toEqual([10, 10]);
    expect([one.handlerStarts(), one.handlerStarts()]).toEqual([true, false]);
    expect([one.handlers, all.handlers]).toEqual([1, 1]);
  });
});
