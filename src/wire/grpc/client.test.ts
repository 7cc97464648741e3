/** The client's end, against a server that speaks in frames and against our own. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { grpcLimits } from "../../base/limits/rpc.ts";
import { h2ErrorCode } from "../h2/error_code.ts";
import { frameFlag, frameType, readUint31 } from "../h2/frame.ts";
import type { HeaderFields } from "../h2/headers.ts";
import { headerValue } from "../h2/headers.ts";
import { concat, FramePeer } from "../h2/testing/wired.ts";
import { type CallOptions, GrpcClient } from "./client.ts";
import { frameMessage } from "./message_reader.ts";
import { GrpcError, grpcCode } from "./status.ts";
import { Answers, bytesOf, CallPair, echoMethod, HandClock, textOf } from "./testing/calls.ts";

const head: HeaderFields = [":status", "200", "content-type", "application/grpc"];

class Lab {
  readonly peer = new FramePeer("client");
  readonly clock = new HandClock();
  readonly client: GrpcClient;

  constructor() {
    this.client = new GrpcClient(this.peer.connection, {
      authority: "control.test:15012",
      scheme: "https",
      clock: this.clock,
      userAgent: "test",
    });
    this.peer.shake();
  }

  call(options: CallOptions = {}) {
    const answers = new Answers();
    return { stream: this.client.stream(echoMethod, answers, options), answers };
  }

  headers(fields: HeaderFields, end = false, id = 1): void {
    this.peer.headers(id, fields, frameFlag.endHeaders | (end ? frameFlag.endStream : 0));
  }

  data(bytes: Uint8Array, end = false): void {
    this.peer.frame(frameType.data, end ? frameFlag.endStream : 0, 1, bytes);
  }

  message(text: string, end = false): void {
    this.data(concat(frameMessage(bytesOf(text))), end);
  }

  resetCode(): number | null {
    const frame = this.peer.frames().find((each) => each.type === frameType.rstStream);
    return frame === undefined ? null : readUint31(frame.payload, 0);
  }
}

function ended(drive: (lab: Lab) => void, options: CallOptions = {}) {
  const lab = new Lab();
  const { answers, stream } = lab.call(options);
  drive(lab);
  return { lab, answers, stream, code: answers.code };
}

describe("Request", () => {
  test("the fields the specification asks for, the deadline, and the caller's metadata", () => {
    const lab = new Lab();
    lab.call({ timeoutMs: 1_500, metadata: ["authorization", "Bearer x"] });
    const [frame] = lab.peer.frames();
    const fields = lab.peer.decoder.decode(
      frame?.payload ?? new Uint8Array(0),
      0,
      frame?.payload.length ?? 0,
      1e6,
    );
    expect(fields).toEqual([
      ...[
        ":method",
        "POST",
        ":scheme",
        "https",
        ":path",
        "/test.Echo/Echo",
        ":authority",
        "control.test:15012",
      ],
      ...["te", "trailers", "content-type", "application/grpc", "user-agent", "test"],
      ...["grpc-timeout", "1500m", "authorization", "Bearer x"],
    ]);
  });

  test("metadata that the protocol writes itself is a bug of ours", () => {
    const lab = new Lab();
    expect(() => lab.call({ metadata: ["grpc-status", "0"] })).toThrow();
  });
});

describe("Response", () => {
  test("messages, then the status of the trailers", () => {
    const { answers } = ended((lab) => {
      lab.headers(head);
      lab.message("a");
      lab.message("b");
      lab.headers(["grpc-status", "5", "grpc-message", "n%C3%B6"], true);
    });
    expect([answers.headers, answers.messages.map(textOf)]).toEqual([1, ["a", "b"]]);
    expect(answers.end?.error).toMatchObject({ code: grpcCode.notFound, message: "nö" });
    expect(answers.ends).toBe(1);
  });

  test("Trailers-Only, whatever HTTP status it comes with", () => {
    const only = (status: string) =>
      ended((lab) => lab.headers([":status", status, ...head.slice(2), "grpc-status", "16"], true)).code;
    expect([only("200"), only("503")]).toEqual([16, 16]);
  });

  test("HTTP statuses without a gRPC status (http-grpc-status-mapping.md)", () => {
    const expected: Record<string, number> = {
      "400": 13,
      "401": 16,
      "403": 7,
      "404": 12,
      "429": 14,
      "502": 14,
      "503": 14,
      "504": 14,
      "200": 2,
      "418": 2,
      "500": 2,
    };
    for (const [status, code] of Object.entries(expected)) {
      expect(ended((lab) => lab.headers([":status", status], true)).code).toBe(code);
      if (status !== "200") expect(ended((lab) => lab.headers([":status", status])).code).toBe(code);
    }
  });

  test("interim responses are no response", () => {
    const { answers } = ended((lab) => {
      lab.headers([":status", "103"]);
      lab.headers(head);
      lab.headers(["grpc-status", "0"], true);
    });
    expect([answers.headers, answers.code]).toEqual([1, 0]);
  });

  test("an answer that is not gRPC is UNKNOWN, and is cancelled", () => {
    const { lab, code } = ended((each) => each.headers([":status", "200", "content-type", "text/html"]));
    expect([code, lab.resetCode()]).toEqual([grpcCode.unknown, h2ErrorCode.cancel]);
  });

  test("an end without a status is UNKNOWN, an OK within a message is INTERNAL", () => {
    const without = ended((lab) => {
      lab.headers(head);
      lab.message("a", true);
    });
    expect([without.answers.messages.length, without.code]).toEqual([1, grpcCode.unknown]);
    const trailers = ended((lab) => {
      lab.headers(head);
      lab.headers(["x", "y"], true);
    });
    expect(trailers.code).toBe(grpcCode.unknown);
    const half = ended((lab) => {
      lab.headers(head);
      lab.data(Uint8Array.of(0, 0, 0, 0, 9, 1));
      lab.headers(["grpc-status", "0"], true);
    });
    expect(half.code).toBe(grpcCode.internal);
  });

  test("a message beyond the bound is RESOURCE_EXHAUSTED, a compressed one INTERNAL; both are cancelled", () => {
    for (const [bytes, code] of [
      [Uint8Array.of(0, 0, 0, 0, 11), grpcCode.resourceExhausted],
      [Uint8Array.of(1, 0, 0, 0, 1, 0), grpcCode.internal],
    ] as const) {
      const { lab, answers } = ended(
        (each) => {
          each.headers([...head, "grpc-encoding", "gzip"]);
          each.data(bytes);
        },
        { maxResponseBytes: 10 },
      );
      expect([answers.code, lab.resetCode()]).toEqual([code, h2ErrorCode.cancel]);
    }
  });

  test("RST_STREAM codes (PROTOCOL-HTTP2.md, Errors)", () => {
    const expected: Record<number, number> = { 0: 13, 1: 13, 2: 13, 3: 13, 7: 14, 8: 8, 11: 8, 12: 7, 5: 2 };
    expected[8] = grpcCode.cancelled;
    for (const [code, status] of Object.entries(expected)) {
      const { answers } = ended((lab) =>
        lab.peer.frame(frameType.rstStream, 0, 1, Uint8Array.of(0, 0, 0, Number(code))),
      );
      expect([code, answers.code]).toEqual([code, status]);
    }
  });

  test("after the whole answer a reset with NO_ERROR changes nothing (RFC 9113 §8.1)", () => {
    const { answers } = ended((lab) => {
      lab.headers([...head, "grpc-status", "0"], true);
      lab.peer.frame(frameType.rstStream, 0, 1, new Uint8Array(4));
    });
    expect([answers.code, answers.ends]).toEqual([0, 1]);
  });

  test("a lost connection is UNAVAILABLE with the reason as its cause; GOAWAY is for calls it did not take", () => {
    const lost = ended((lab) => lab.peer.connection.receiveEnd(0));
    expect(lost.answers.end?.error).toMatchObject({ code: 14, cause: { code: "connection_closed" } });
    // A peer that breaks the rules of HTTP/2 would break them again: that is INTERNAL.
    const tooMuch = ended((lab) => lab.peer.frame(frameType.windowUpdate, 0, 0, maxIncrement));
    expect(tooMuch.answers.end?.error).toMatchObject({ code: 13, cause: { code: "h2_flow_control" } });
    const nonsense = ended((lab) => lab.peer.frame(frameType.data, 0, 0, new Uint8Array(1)));
    expect(nonsense.answers.end?.error).toMatchObject({ code: 13, cause: { code: "h2_protocol" } });
    const refused = ended((lab) => lab.peer.frame(frameType.goAway, 0, 0, new Uint8Array(8)));
    expect(refused.code).toBe(grpcCode.unavailable);
    expect(refused.lab.client.hasRoom).toBe(false);
    expect(() => refused.lab.call()).toThrow(GrpcError);
  });
});

/** A window grows to 2^31-1 at the most, and is not empty before. */
const maxIncrement = Uint8Array.of(0x7f, 0xff, 0xff, 0xff);

describe("The caller ends it", () => {
  test("deadline: DEADLINE_EXCEEDED, RST_STREAM CANCEL, and nothing is told afterwards", () => {
    const { lab, answers } = ended(() => {}, { timeoutMs: 100 });
    lab.peer.frames();
    lab.clock.advance(100);
    expect([answers.code, lab.resetCode()]).toEqual([grpcCode.deadlineExceeded, h2ErrorCode.cancel]);
    lab.headers(head);
    expect([answers.ends, answers.headers]).toEqual([1, 0]);
  });

  test("a deadline as far away as a timer can wait is kept, and one further away is none", () => {
    const timersOf = (timeoutMs: number) => ended(() => {}, { timeoutMs }).lab.clock.timers;
    expect([timersOf(grpcLimits.maxTimeoutMs), timersOf(grpcLimits.maxTimeoutMs + 1)]).toEqual([1, 0]);
  });

  test("cancel and an aborted signal: CANCELLED, RST_STREAM CANCEL", () => {
    const abort = new AbortController();
    const signalled = ended(() => abort.abort(), { signal: abort.signal });
    expect([signalled.code, signalled.lab.resetCode()]).toEqual([grpcCode.cancelled, h2ErrorCode.cancel]);
    const { stream, lab, answers } = ended(() => {});
    stream.cancel();
    stream.cancel();
    expect([answers.code, answers.ends, lab.resetCode()]).toEqual([1, 1, h2ErrorCode.cancel]);
    expect(stream.send(bytesOf("x"))).toBe(false);
  });

  test("a signal that was aborted before ends the call as soon as there is one", () => {
    const { lab, answers } = ended(() => {}, { signal: AbortSignal.abort() });
    lab.clock.advance(0);
    expect(answers.code).toBe(grpcCode.cancelled);
  });

  test("the end of the call takes its timer away", () => {
    const { lab } = ended((each) => each.headers([...head, "grpc-status", "0"], true), { timeoutMs: 1e6 });
    expect(lab.clock.timers).toBe(0);
  });
});

describe("Both ends", () => {
  test("unary: metadata, peer and deadline reach the handler", async () => {
    const calls = new CallPair();
    calls.service.unary(echoMethod, async (message, call) => {
      expect(headerValue(call.metadata, "clusterid")).toBe("edge");
      expect([call.peer, call.deadlineMs]).toEqual(["peer", 2_000]);
      return message;
    });
    const answer = calls.client.unary(echoMethod, bytesOf("hi"), {
      timeoutMs: 2_000,
      metadata: ["clusterid", "edge"],
    });
    await calls.settle();
    expect(textOf(await answer)).toBe("hi");
    expect(calls.clock.timers).toBe(0);
  });

  test("unary: an error, and a wrong number of responses", async () => {
    const calls = new CallPair();
    const twice = { ...echoMethod, path: "/test.Echo/Twice" };
    calls.service.unary(echoMethod, async () => {
      throw new GrpcError(grpcCode.aborted, "no");
    });
    calls.service.stream(twice, (stream) => ({
      onMessage(message) {
        for (let index = 0; index < message.length; index++) stream.send(message);
        stream.end();
      },
      onHalfClose() {},
      onWritable() {},
      onClose() {},
    }));
    const codes: number[] = [];
    const failed = (error: unknown) => void codes.push(error instanceof GrpcError ? error.code : -1);
    calls.client.unary(echoMethod, bytesOf("x")).catch(failed);
    calls.client.unary(twice, bytesOf("")).catch(failed);
    calls.client.unary(twice, bytesOf("ab")).catch(failed);
    await calls.settle();
    expect(codes.toSorted()).toEqual([grpcCode.aborted, grpcCode.unimplemented, grpcCode.unimplemented]);
  });

  test("a stream of messages of any size comes back whole, through small windows, cut anywhere", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.integer({ min: 0, max: 200_000 }), { minLength: 1, maxLength: 8 }),
        fc.integer({ min: 1, max: 5_000 }),
        async (sizes, cut) => {
          const calls = new CallPair({}, { streamWindowBytes: 32_768, connectionWindowBytes: 65_535 });
          calls.pair.cut = () => cut;
          calls.service.stream(echoMethod, (stream) => ({
            onMessage: (message) => void stream.send(message.slice()),
            onHalfClose: () => stream.end(),
            onWritable() {},
            onClose() {},
          }));
          const { stream, answers } = calls.call();
          for (const size of sizes) stream.send(new Uint8Array(size).fill(size));
          stream.end();
          await calls.settle();
          expect(answers.messages.map((each) => each.length)).toEqual(sizes);
          expect(
            answers.messages.every((each, index) =>
              each.every((byte) => byte === ((sizes[index] ?? 0) & 0xff)),
            ),
          ).toBe(true);
          expect(answers.code).toBe(0);
          expect([calls.pair.client.openStreams, calls.pair.server.openStreams]).toEqual([0, 0]);
        },
      ),
      { numRuns: 30 },
    );
  });

  test("a paused caller holds the server up, and hears the end last", async () => {
    const calls = new CallPair({}, { streamWindowBytes: 65_536 });
    let sent = 0;
    calls.service.stream(echoMethod, (stream) => {
      const more = () => {
        while (sent < 100 && !stream.aboveHighWater) {
          stream.send(new Uint8Array(20_000));
          sent++;
        }
        if (sent === 100) stream.end();
      };
      return { onMessage: more, onHalfClose() {}, onWritable: more, onClose() {} };
    });
    const { stream, answers } = calls.call();
    stream.send(bytesOf("go"));
    stream.pause();
    await calls.settle();
    expect(sent).toBeLessThan(40);
    expect(answers.messages.length).toBe(0);
    stream.resume();
    await calls.settle();
    expect([answers.messages.length, answers.code]).toEqual([100, 0]);
  });

  test("a server that ends a call under way leaves no stream behind", async () => {
    const calls = new CallPair();
    calls.service.stream(echoMethod, (stream) => ({
      onMessage: () => stream.end(new GrpcError(grpcCode.permissionDenied, "no")),
      onHalfClose() {},
      onWritable() {},
      onClose() {},
    }));
    const { stream, answers } = calls.call();
    stream.send(bytesOf("x"));
    await calls.settle();
    expect(answers.code).toBe(grpcCode.permissionDenied);
    expect([calls.pair.client.openStreams, calls.pair.server.openStreams]).toEqual([0, 0]);
  });
});
