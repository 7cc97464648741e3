import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { controlHttpLimits } from "../../base/limits/control.ts";
import { h2Limits } from "../../base/limits/h2.ts";
import { silentLogger } from "../../base/log.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { FakeClock } from "../../pki/testing/fake_clock.ts";
import { Pair, RecordedStream } from "../../wire/h2/testing/wired.ts";
import { IncomingBody } from "./incoming_body.ts";
import { type HttpAnswer, type HttpCall, readAll, requestHttp } from "./request.ts";
import { type HttpHandler, serveHttp } from "./serve.ts";

const get = [":method", "GET", ":scheme", "https", ":path", "/a?b=1", ":authority", "control.example:15012"];
const post = [":method", "POST", ":scheme", "https", ":path", "/a", ":authority", "control.example:15012"];
const encode = (text: string) => new TextEncoder().encode(text);

/** A client and a server whose requests the handler answers. */
class World {
  readonly clock = new FakeClock(0);
  readonly pair: Pair;
  readonly log: string[] = [];

  constructor(handler: HttpHandler<string>, server: ConstructorParameters<typeof Pair>[1] = {}) {
    this.pair = new Pair({}, server);
    const logger = {
      ...silentLogger,
      log: (level: string, target: string) => void this.log.push(`${level} ${target}`),
    };
    const serving = { clock: this.clock, logger, handler };
    this.pair.serverEvents.onRequest = (stream, headers, endStream) =>
      serveHttp(serving, stream, headers, endStream, "the peer");
  }

  /** Until nothing moves any more. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 12; turn++) {
      this.pair.settle();
      await this.clock.advance(0);
    }
  }

  async request(fields: readonly string[], endStream = true): Promise<RecordedStream> {
    const events = this.pair.request(fields, endStream);
    await this.settle();
    return events;
  }

  async call(call: Partial<HttpCall>, signal = new AbortController().signal): Promise<HttpAnswer> {
    const answer = requestHttp(
      this.pair.client,
      { method: "GET", authority: "control.example:15012", path: "/", headers: {}, body: null, ...call },
      signal,
    );
    const settled = this.settle();
    try {
      return await answer;
    } finally {
      await settled;
    }
  }

  async text(answer: HttpAnswer): Promise<string> {
    const whole = readAll(answer.body, 1 << 20);
    await this.settle();
    return new TextDecoder().decode(await whole);
  }
}

describe("HTTP over our engine", () => {
  test("a request comes as the web's Request with its peer, and the Response goes back whole", async () => {
    const world = new World(async (request, peer) => {
      const said = `${request.method} ${request.url} ${request.headers.get("x-a")} ${request.headers.get("cookie")}`;
      return new Response(`${said} ${peer} ${await request.text()}`, {
        status: 201,
        headers: [
          ["x-b", "2"],
          ["connection", "close"],
          ["set-cookie", "a=1"],
          ["set-cookie", "b=2"],
        ],
      });
    });
    const events = world.pair.request([...post, "x-a", "1", "cookie", "c=1", "cookie", "d=2"], false);
    events.stream?.sendData(encode("hel"), false);
    await world.settle();
    events.stream?.sendData(encode("lo"), true);
    await world.settle();
    expect(events.text).toBe("POST https://control.example:15012/a 1 c=1; d=2 the peer hello");
    const fields = events.headers[0] ?? [];
    expect(fields.slice(0, 2)).toEqual([":status", "201"]);
    expect(fields.filter((_, index) => fields[index - 1] === "set-cookie")).toEqual(["a=1", "b=2"]);
    expect(fields).not.toContain("connection");
    expect(events.closed).toBe(true);
    expect(world.clock.timers).toBe(0);
  });

  test("our client and our server understand each other", async () => {
    const world = new World(
      async (request) => new Response(`<${await request.text()}>`, { headers: { "x-a": "b" } }),
    );
    const answer = await world.call({ method: "POST", path: "/x", body: encode("body") });
    expect([answer.status, answer.headers.get("x-a")]).toEqual([200, "b"]);
    expect(await world.text(answer)).toBe("<body>");
    expect(world.pair.client.openStreams + world.pair.server.openStreams).toBe(0);
  });

  test("RFC 9110 §9.3.2 and §6.4.1: HEAD, 204 and 304 have no content", async () => {
    let cancelled = 0;
    const world = new World((request) => {
      const body = new ReadableStream({ cancel: () => void cancelled++ });
      if (request.method === "HEAD") return new Response(body, { headers: { "content-length": "5" } });
      return new Response(null, { status: request.url.endsWith("/304") ? 304 : 204 });
    });
    const head = await world.request([":method", "HEAD", ...get.slice(2)]);
    expect([head.headers[0], head.receivedBytes, head.closed]).toEqual([
      [":status", "200", "content-length", "5"],
      0,
      true,
    ]);
    expect(cancelled).toBe(1);
    for (const status of ["204", "304"]) {
      const answer = await world.request(get.map((text) => (text === "/a?b=1" ? `/${status}` : text)));
      expect([answer.headers[0]?.[1], answer.receivedBytes, answer.closed]).toEqual([status, 0, true]);
    }
  });

  test.each([
    ["501", [":method", "TRACE", ...get.slice(2)]],
    ["501", [":method", "BREW", ...get.slice(2)]],
    ["400", [...get.slice(0, 6), ":authority", "a/b"]],
    ["400", [...get.slice(0, 6), ":authority", "a?x"]],
    ["400", get.slice(0, 6)],
    ["400", [...get.slice(0, 6), ":authority", "[::1"]],
    ["400", [...get.slice(0, 6), ":authority", "a:99999"]],
    ["400", [":method", "OPTIONS", ":scheme", "https", ":path", "*", ":authority", "a.example"]],
  ])("%s for what no Request can say: %p", async (status, fields) => {
    const world = new World(() => new Response("reached"));
    const events = await world.request(fields);
    expect([events.headers[0]?.[1], events.closed]).toEqual([status, true]);
    expect(events.text).not.toContain("reached");
  });

  test("an exception is a 500 that says nothing, and a line in the log that says all", async () => {
    for (const handler of [
      () => Promise.reject(new Error("secret")),
      () => {
        throw new Error("secret");
      },
    ]) {
      const world = new World(handler);
      const events = await world.request(get);
      expect([events.headers[0]?.[1], events.closed]).toEqual(["500", true]);
      expect(events.text).not.toContain("secret");
      expect(world.log).toEqual(["error bug"]);
    }
  });

  test("a body that is not read holds its sender back", async () => {
    let read: (() => Promise<string>) | null = null;
    const { promise, resolve } = Promise.withResolvers<Response>();
    const world = new World(
      (request) => {
        read = () => request.text();
        return promise;
      },
      { limits: { streamWindowBytes: 65_536 } },
    );
    const events = world.pair.request(post, false);
    events.stream?.sendData(new Uint8Array(200_000).fill(97), true);
    await world.settle();
    expect(events.stream?.queuedBytes).toBe(200_000 - 65_536);
    const text = (read as (() => Promise<string>) | null)?.();
    await world.settle();
    expect(events.stream?.queuedBytes).toBe(0);
    expect((await text)?.length).toBe(200_000);
    resolve(new Response(null, { status: 204 }));
    await world.settle();
    expect(events.closed).toBe(true);
  });

  test("an answer before the end of the body: the rest is dropped up to a bound, then the stream is reset (RFC 9113 §8.1)", async () => {
    const bound = controlHttpLimits.maxDiscardedBytes;
    for (const [bytes, code] of [
      [bound, null],
      [bound + 1, 0],
    ] as const) {
      const world = new World(() => new Response("no", { status: 413 }));
      const events = await world.request(post, false);
      expect([events.headers[0]?.[1], events.text]).toEqual(["413", "no"]);
      events.stream?.sendData(new Uint8Array(bytes), false);
      await world.settle();
      expect(events.reset?.errorCode ?? null).toBe(code);
      expect(world.pair.server.openStreams).toBe(code === null ? 1 : 0);
    }
  });

  test("a client that does not read gets no further than its window, is cut after its time, and the source is told", async () => {
    let cancelled = false;
    let made = 0;
    const world = new World(
      () =>
        new Response(
          new ReadableStream({
            pull: (controller) => {
              made += 65_536;
              controller.enqueue(new Uint8Array(65_536));
            },
            cancel: () => {
              cancelled = true;
            },
          }),
        ),
    );
    const events = world.pair.request(get, true);
    events.consumes = false;
    for (let turn = 0; turn < 40; turn++) await world.settle();
    expect(events.receivedBytes).toBe(h2Limits.streamWindowBytes);
    expect(made).toBeLessThanOrEqual(h2Limits.streamWindowBytes + h2Limits.highWaterBytes + 3 * 65_536);
    await world.clock.advance(controlHttpLimits.stalledResponseMs - 1);
    await world.settle();
    expect([events.reset, cancelled]).toEqual([null, false]);
    await world.clock.advance(1);
    await world.settle();
    expect([events.reset?.errorCode, cancelled]).toEqual([8, true]);
    expect(world.clock.timers).toBe(0);
  }, 300_000);

  test("a request that does not come to its end is cut after its time", async () => {
    const failures: unknown[] = [];
    const world = new World(async (request) => {
      await request.text().catch((error) => failures.push(error));
      return new Response("late");
    });
    const events = await world.request(post, false);
    await world.clock.advance(controlHttpLimits.requestTimeoutMs - 1);
    expect(failures).toEqual([]);
    await world.clock.advance(1);
    await world.settle();
    expect(failures).toHaveLength(1);
    expect(events.reset?.errorCode).toBe(8);
    expect(world.pair.server.openStreams).toBe(0);
  });

  test("a client that goes away aborts the request and cancels the response", async () => {
    const said: string[] = [];
    const world = new World((request) => {
      request.signal.addEventListener("abort", () => said.push("aborted"));
      return new Response(
        new ReadableStream({
          cancel: () => void said.push("cancelled"),
          pull: (c) => c.enqueue(encode("x".repeat(1 << 16))),
        }),
      );
    });
    const abort = new AbortController();
    const answer = await world.call({}, abort.signal);
    await answer.body.getReader().read();
    abort.abort();
    await world.settle();
    expect(said.sort()).toEqual(["aborted", "cancelled"]);
    expect(world.pair.client.openStreams + world.pair.server.openStreams).toBe(0);
    expect(world.log).toEqual([]);
  });

  test("a response that breaks off is a reset, never a shorter response", async () => {
    const world = new World(
      () =>
        new Response(
          new ReadableStream({
            start: (controller) => controller.enqueue(encode("half")),
            pull: (controller) => controller.error(new Error("disk")),
          }),
        ),
    );
    const events = await world.request(get);
    expect([events.headers[0]?.[1], events.ended, events.reset?.errorCode]).toEqual(["200", false, 2]);
    expect(world.log).toEqual(["error http"]);
  });

  test("the client's bound on an answer is kept", async () => {
    const world = new World(() => new Response("x".repeat(1000)));
    const first = readAll((await world.call({})).body, 1000);
    await world.settle();
    expect((await first).length).toBe(1000);
    const second = readAll((await world.call({})).body, 999);
    const refusal = second.catch((error) => error);
    await world.settle();
    const error = await refusal;
    expect(error).toBeInstanceOf(MeshError);
    expect(error.code).toBe("limit_reached");
  });

  test("an answer that is longer than may be is given up at its source, and not read to its end", async () => {
    let cancelled = 0;
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => controller.enqueue(new Uint8Array(10)),
      cancel: () => void cancelled++,
    });
    const error = await readAll(body, 25).catch((thrown) => thrown);
    expect([error.code, error.blame, cancelled]).toEqual(["limit_reached", "upstream", 1]);
  });

  test("a request says how long its body is; interim answers are none (RFC 9110 §15.2)", async () => {
    const lengths: (string | null)[] = [];
    const world = new World((request) => {
      lengths.push(request.headers.get("content-length"));
      return new Response("x");
    });
    await world.call({ method: "POST", body: encode("four") });
    await world.call({});
    expect(lengths).toEqual(["4", null]);
    world.pair.serverEvents.onRequest = (stream) => {
      stream.events = new RecordedStream();
      for (const status of ["100", "103"]) stream.sendHeaders([":status", status], false);
      stream.sendHeaders([":status", "207"], true);
    };
    expect((await world.call({})).status).toBe(207);
  });

  test("a connection that takes no request says so", async () => {
    const world = new World(() => new Response("x"));
    world.pair.client.goAway(0);
    const error = await world.call({}).catch((thrown) => thrown);
    expect([error.code, error.blame]).toEqual(["h2_refused", "upstream"]);
  });
});

describe("a body that comes", () => {
  function body() {
    const given: number[] = [];
    return { given, made: new IncomingBody((bytes) => void given.push(bytes)) };
  }

  test("gives the window back what is read, when it is read, and what is never read when that is known", async () => {
    const { given, made } = body();
    expect([1, 2, 4].map((length) => made.push(new Uint8Array(length)))).toEqual([true, true, true]);
    expect(given).toEqual([]);
    const reader = made.stream.getReader();
    expect((await reader.read()).value?.length).toBe(1);
    expect(given).toEqual([1]);
    made.discard();
    expect(given).toEqual([1, 2, 4]);
    // Who still sends has it back as well: the connection's window is everybody's.
    expect(made.push(new Uint8Array(8))).toBe(false);
    expect(made.push(new Uint8Array(0))).toBe(true);
    expect(given).toEqual([1, 2, 4, 8]);
  });

  test("ends once, with what had come before", async () => {
    const { given, made } = body();
    made.push(encode("ab"));
    made.end();
    made.fail(new MeshError("connection_closed", "peer", "too late to matter"));
    const failed = body();
    failed.made.push(encode("ab"));
    failed.made.fail(new MeshError("connection_closed", "peer", "gone"));
    expect(await rejectionOf(failed.made.stream.getReader().read())).toMatchObject({ message: "gone" });
    expect([given, failed.given]).toEqual([[], []]);
  });
});
