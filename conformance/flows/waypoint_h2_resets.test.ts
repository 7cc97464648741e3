/**
 * An endpoint of HTTP/2 and gRPC that breaks at each possible moment of its answer, in each way there is: no client takes a cut answer for a
 * whole one, nothing unsafe is done twice, and nothing is held afterwards.
 */
import { describe, expect, test } from "bun:test";
import { servingLimits } from "../../src/base/limits/serving.ts";
import type { Recorder } from "../../src/host/testing/recorder.ts";
import { h2ErrorCode } from "../../src/wire/h2/error_code.ts";
import { headerValue } from "../../src/wire/h2/headers.ts";
import { type H2Call, H2Client, type StreamEnds, serveH2 } from "./h2_ends.ts";
import {
  data,
  goAway,
  headers,
  message,
  type RawRequest,
  readRequests,
  rstStream,
  settings,
  settingsAck,
} from "./raw_h2_upstream.ts";
import { type WaypointLab, waypointLab, webService } from "./waypoint_lab.ts";

/** One of each: what is not given back would refuse the next request. */
const oneAtATime = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web.shop
  trafficPolicy: {connectionPool: {http: {http2MaxRequests: 1, maxRetries: 1}}}
---
`;

const requested = message("asked");
const grpc = ["content-type", "application/grpc"];
const grpcHead = (id: number) => headers(id, [":status", "200", ...grpc]);
const grpcEnd = (id: number) => headers(id, ["grpc-status", "0"], true);

interface Form {
  readonly name: string;
  readonly method: "GET" | "PUT" | "POST";
  readonly isGrpc: boolean;
  readonly content: Uint8Array | null;
  /** The client's side stays open until there is an answer. */
  readonly goesOn: boolean;
  /** Frames of the whole answer. */
  readonly answer: (id: number) => readonly Uint8Array[];
}

const plainAnswer = (id: number) => [
  headers(id, [":status", "200"]),
  data(id, new TextEncoder().encode("hello")),
  data(id, new TextEncoder().encode("!"), true),
];
const streamed = (id: number) => [
  ...[grpcHead(id), data(id, message("one")), data(id, message("two")), grpcEnd(id)],
];
const unary = (id: number) => [grpcHead(id), data(id, message("one")), grpcEnd(id)];

const forms: readonly Form[] = [
  { name: "GET", method: "GET", isGrpc: false, content: null, goesOn: false, answer: plainAnswer },
  { name: "PUT", method: "PUT", isGrpc: false, content: requested, goesOn: false, answer: plainAnswer },
  { name: "POST", method: "POST", isGrpc: false, content: requested, goesOn: false, answer: plainAnswer },
  { name: "unary gRPC", method: "POST", isGrpc: true, content: requested, goesOn: false, answer: unary },
  {
    name: "streaming gRPC",
    method: "POST",
    isGrpc: true,
    content: requested,
    goesOn: true,
    answer: streamed,
  },
];

interface Broken extends WaypointLab {
  readonly client: H2Client;
  /** Of the requests that have come since it was emptied: their content. */
  readonly seen: string[];
  /** What is done with the next requests. */
  act: (peer: Recorder, request: RawRequest) => void;
}

async function brokenLab(): Promise<Broken> {
  const seen: string[] = [];
  const made = await waypointLab(webService("GRPC") + oneAtATime, (peer) =>
    readRequests(peer, (request) => {
      seen.push(request.content);
      lab.act(peer, request);
    }),
  );
  const client = new H2Client(made.cart.host, await made.call());
  const lab: Broken = { ...made, client, seen, act: () => {} };
  return lab;
}

/** @returns what the client has come to see when its request is over. */
async function ask(
  made: Broken,
  { method, isGrpc, content, goesOn }: Form,
  what: string,
): Promise<StreamEnds> {
  made.seen.length = 0;
  const { stream, said } = made.client.request(
    [
      ...[":method", method, ":scheme", "http", ":authority", "web.shop", ":path", "/a.B/C"],
      ...(isGrpc ? [...grpc, "te", "trailers"] : []),
    ],
    content === null,
  );
  if (content !== null) stream.sendData(content, !goesOn);
  await made.lab.until(() => said.ended || said.resetCode !== null, `an end: ${what}`, 30_000);
  if (!stream.closed) stream.sendData(new Uint8Array(0), true);
  await made.lab.until(() => made.client.link.openStreams === 0, `the stream is closed: ${what}`);
  return said;
}

/** @returns "told" for an answer of the waypoint's own in its place, "cut" for one that breaks off and says so. */
function judge(said: StreamEnds, { isGrpc, goesOn }: Form): "whole" | "told" | "cut" {
  const status = headerValue(said.headers, ":status");
  if (isGrpc) {
    // There is a place for it behind the head, too; a request that goes on is not wanted any more (RFC 9113 §8.1).
    expect([said.ended, status]).toEqual([true, "200"]);
    if (!goesOn) expect(said.resetCode).toBeNull();
    else if (said.resetCode !== null) expect(said.resetCode).toBe(h2ErrorCode.noError);
    const code = headerValue(said.trailers ?? said.headers, "grpc-status");
    if (code === "0") return "whole";
    expect(code).toBe("14");
    return said.trailers === null ? "told" : "cut";
  }
  if (said.resetCode !== null) {
    expect([said.ended, said.resetCode]).toEqual([false, h2ErrorCode.internalError]);
    return "cut";
  }
  if (status !== "200") expect(status).toMatch(/^50[23]$/);
  return status === "200" && said.text === "hello!" ? "whole" : "told";
}

/** How an endpoint ends in the midst, once what it wrote has gone. @member isSafe it says that it has not looked at the request. */
const breaks: readonly {
  readonly name: string;
  readonly isSafe: boolean;
  readonly act: (peer: Recorder, id: number) => void;
}[] = [
  { name: "resets its connection", isSafe: false, act: ({ socket }) => socket.resetAfterSent() },
  { name: "closes its connection", isSafe: false, act: ({ socket }) => socket.close() },
  ...(["internalError", "cancel", "noError", "protocolError", "enhanceYourCalm"] as const).map((word) => ({
    name: `resets the stream (${word})`,
    isSafe: false,
    act: ({ socket }: Recorder, id: number) => void socket.write(rstStream(id, h2ErrorCode[word])),
  })),
  {
    name: "refuses the stream",
    isSafe: true,
    act: ({ socket }, id) => void socket.write(rstStream(id, h2ErrorCode.refusedStream)),
  },
  {
    name: "goes away, this stream seen, and closes",
    isSafe: false,
    act: ({ socket }, id) => {
      socket.write(goAway(id, h2ErrorCode.noError));
      socket.close();
    },
  },
  {
    name: "goes away with an error, this stream seen, and closes",
    isSafe: false,
    act: ({ socket }, id) => {
      socket.write(goAway(id, h2ErrorCode.internalError));
      socket.close();
    },
  },
  {
    name: "goes away, this stream unseen",
    isSafe: true,
    act: ({ socket }) => {
      socket.write(goAway(0, h2ErrorCode.noError));
      socket.close();
    },
  },
];

/** The first attempt, and two more by default. */
const most = 3;

function timesAllowed(form: Form, isHeadThrough: boolean, isSafe: boolean): readonly [number, number] {
  if (isHeadThrough) return [1, 1];
  if (isSafe || form.method !== "POST") return [1, most];
  return [1, 1];
}

describe.each(forms)("an endpoint that breaks in its answer: $name", (form) => {
  for (const { name, isSafe, act } of breaks.slice(0, 2))
    test(`at each byte it ${name}`, async () => {
      const made = await brokenLab();
      const whole = [settings, settingsAck, ...form.answer(1)].flatMap((piece) => [...piece]);
      const headBytes = [settings, settingsAck, ...form.answer(1).slice(0, 1)].reduce(
        (sum, { length }) => sum + length,
        0,
      );
      for (let at = 0; at < whole.length; at++) {
        made.act = (peer, { id }) => {
          const answer = [settings, settingsAck, ...form.answer(id)].flatMap((piece) => [...piece]);
          if (at > 0) peer.socket.write(Uint8Array.from(answer.slice(0, at)));
          act(peer, id);
        };
        const said = await ask(made, form, `${name} at byte ${at}`);
        const isHeadThrough = at >= headBytes;
        expect([at, judge(said, form)]).toEqual([at, isHeadThrough ? "cut" : "told"]);
        const [least, mostTimes] = timesAllowed(form, isHeadThrough, isSafe);
        expect([at, made.seen.length >= least && made.seen.length <= mostTimes]).toEqual([at, true]);
        for (const content of made.seen) expect(content).toBe(String.fromCharCode(...(form.content ?? [])));
      }
      made.act = (peer, { id }) => {
        for (const piece of [settings, settingsAck, ...form.answer(id)]) peer.socket.write(piece);
      };
      expect(judge(await ask(made, form, "whole"), form)).toBe("whole");
      expect(made.seen.length).toBe(1);
    });

  for (const { name, isSafe, act } of breaks)
    test(`after each frame it ${name}`, async () => {
      const made = await brokenLab();
      const greeted = new WeakSet<Recorder>();
      const greet = (peer: Recorder) => {
        if (greeted.has(peer)) return;
        greeted.add(peer);
        peer.socket.write(settings);
        peer.socket.write(settingsAck);
      };
      const { length } = form.answer(1);
      for (let frames = 0; frames < length; frames++) {
        made.act = (peer, { id }) => {
          greet(peer);
          for (const piece of form.answer(id).slice(0, frames)) peer.socket.write(piece);
          act(peer, id);
        };
        const said = await ask(made, form, `${name} after ${frames} frames`);
        expect([frames, judge(said, form)]).toEqual([frames, frames > 0 ? "cut" : "told"]);
        const [least, mostTimes] = timesAllowed(form, frames > 0, isSafe);
        expect([frames, made.seen.length >= least && made.seen.length <= mostTimes]).toEqual([frames, true]);
        // What may be repeated is: a refusal that says so costs no client its request.
        if (isSafe && frames === 0) expect(made.seen.length).toBe(most);
      }
      made.act = (peer, { id }) => {
        greet(peer);
        for (const piece of form.answer(id)) peer.socket.write(piece);
      };
      expect(judge(await ask(made, form, "whole"), form)).toBe("whole");
      expect(made.seen.length).toBe(1);
    });
});

test("what breaks off gives the windows back: more than the connection's window is held in turn, then an answer is whole", async () => {
  const calls: H2Call[] = [];
  const content = new Uint8Array(3 * servingLimits.h2.streamWindowBytes).fill(0x78);
  const made: WaypointLab = await waypointLab(webService("HTTP2"), (peer) => {
    serveH2(made.web.host, peer.socket, (call) => {
      calls.push(call);
      call.stream.sendHeaders([":status", "200"], false);
      call.stream.sendData(content, true);
    });
  });
  const client = new H2Client(made.cart.host, await made.call(), { streamWindowBytes: 65_535 });
  const times = Math.ceil((2 * servingLimits.h2.connectionWindowBytes) / servingLimits.h2.streamWindowBytes);
  for (let turn = 0; turn < times; turn++) {
    const { stream, said } = client.get("/");
    // It takes nothing: what is on its way is held by the waypoint when the end comes.
    said.isSlow = true;
    await made.lab.until(() => said.byteCount === 65_535, `a full window of answer ${turn}`);
    await made.lab.run(20);
    const upstream = calls[turn]?.stream;
    expect(upstream?.queuedBytes).toBeGreaterThan(0);
    if (turn % 2 === 1) upstream?.reset(h2ErrorCode.cancel);
    else stream.reset(h2ErrorCode.cancel);
    await made.lab.run(20);
    if (!stream.closed) stream.reset(h2ErrorCode.cancel);
    stream.consume(said.byteCount);
    await made.lab.until(() => client.link.openStreams === 0, `the end of answer ${turn}`);
    expect([turn, said.ended]).toEqual([turn, false]);
  }
  const { said } = client.get("/");
  await made.lab.until(() => said.ended, "a whole answer");
  expect(said.byteCount).toBe(content.length);
  expect(made.served.length).toBe(1);
});
