import { describe, expect, test } from "bun:test";
import { anyPack } from "@bufbuild/protobuf/wkt";
import { otlpLimits } from "../../base/limits/otlp.ts";
import { Counter } from "../../base/metrics.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import { H2Link } from "../../transport/h2_link.ts";
import { encodeBinaryMetadata, statusFields } from "../../wire/grpc/call_headers.ts";
import { messageCodec } from "../../wire/grpc/method.ts";
import { type GrpcCode, GrpcError, grpcCode } from "../../wire/grpc/status.ts";
import { type HeaderFields, headerValue } from "../../wire/h2/headers.ts";
import type { H2Stream } from "../../wire/h2/stream.ts";
import { RetryInfoSchema, StatusSchema } from "../../wire/messages/google_rpc.gen.ts";
import { newMessage } from "../../wire/messages/message.ts";
import { GrpcCollector } from "./grpc_collector.ts";
import { OtlpQueue } from "./otlp_queue.ts";

interface Asked {
  readonly path: string;
  readonly token: string | null;
  readonly bytes: string;
}
/** Of the answer: its messages, in hexadecimal, and its trailers; null: there is none, ever. */
type Answer = { readonly message?: string; readonly trailers: HeaderFields } | null;

const ok: Answer = { message: "", trailers: ["grpc-status", "0"] };
const ended = (code: GrpcCode, more: HeaderFields = []): Answer => ({
  trailers: [...statusFields(new GrpcError(code, "no")), ...more],
});

/** A collector by hand: what a library would make right by itself can be wrong here. */
function scene(reply: (asked: Asked) => Answer, headers = "") {
  const world = new MemoryWorld(1);
  const machine = world.machine("collector", { addresses: ["10.0.0.2"] });
  const asked: Asked[] = [];
  const links: H2Link[] = [];
  const server = machine.start();
  server.net.listen({ address: machine.at(4317) }, (socket) => {
    const onRequest = (stream: H2Stream, fields: HeaderFields) => {
      let body = new Uint8Array(0);
      const finish = () => {
        const one = {
          path: headerValue(fields, ":path") ?? "",
          token: headerValue(fields, "x-token"),
          bytes: new TextDecoder().decode(body.slice(5)),
        };
        asked.push(one);
        const answer = reply(one);
        if (answer === null) return;
        stream.sendHeaders([":status", "200", "content-type", "application/grpc"], false);
        const { message, trailers } = answer;
        if (message !== undefined) {
          const bytes = Uint8Array.fromHex(message);
          stream.sendData(new Uint8Array([0, 0, 0, 0, bytes.length, ...bytes]), false);
        }
        stream.sendTrailers(trailers);
      };
      stream.events = {
        onHeaders() {},
        onData(bytes: Uint8Array, endStream: boolean) {
          body = new Uint8Array([...body, ...bytes]);
          stream.consume(bytes.length);
          if (endStream) finish();
        },
        onTrailers() {},
        onReset() {},
        onWritable() {},
        onClose() {},
      };
    };
    const link = new H2Link(server.clock, socket, { role: "server" }, { onRequest });
    links.push(link);
    link.start();
  });
  const host = world.host("waypoint", { addresses: ["10.0.0.1"] });
  let secured = 0;
  const collector = new GrpcCollector({
    host: {
      ...{ clock: host.clock, net: host.net },
      files: { ...host.files, readText: async () => headers },
    },
    signal: "logs",
    url: "http://10.0.0.2:4317/",
    headersPath: headers === "" ? null : "/headers",
    secure: async (socket) => {
      secured++;
      return socket;
    },
  });
  const said: string[] = [];
  const [sent, lost] = [new Counter(), new Counter()];
  const queue = new OtlpQueue<number>({
    ...{ clock: host.clock, random: host.random, collector, sent, lost },
    logger: {
      log: (level, _target, message, fields) => said.push(`${level} ${message} ${fields?.error ?? ""}`),
    },
    what: "log records",
    maxQueued: otlpLimits.maxQueuedLogs,
    encode: (items) => new TextEncoder().encode(items.join(",")),
  });
  const counts = () => ({ sent: sent.value, lost: lost.value, waiting: queue.waiting });
  return { world, queue, asked, said, counts, links, secured: () => secured };
}

const retryIn = (seconds: bigint): HeaderFields => {
  const status = newMessage(StatusSchema, {
    code: grpcCode.resourceExhausted,
    details: [anyPack(RetryInfoSchema, newMessage(RetryInfoSchema, { retryDelay: { seconds, nanos: 0 } }))],
  });
  return ["grpc-status-details-bin", encodeBinaryMetadata(messageCodec(StatusSchema).encode(status))];
};

describe("a collector over gRPC", () => {
  test("gets batches on one connection, with the operator's metadata", async () => {
    const { world, queue, asked, counts, links, secured } = scene(() => ok, "# key\nX-Token: t\n");
    queue.add(1);
    queue.add(2);
    await world.run(otlpLimits.delayMs + 1_000);
    queue.add(3);
    await world.run(world.nowMs + otlpLimits.delayMs + 1_000);
    const path = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
    expect(asked).toEqual([
      { path, token: "t", bytes: "1,2" },
      { path, token: "t", bytes: "3" },
    ]);
    expect(counts()).toEqual({ sent: 3, lost: 0, waiting: 0 });
    expect([links.length, secured()]).toEqual([1, 0]);
  });

  test("what it rejects of a batch is counted as lost", async () => {
    // partial_success { rejected_log_records: 2 }
    const { world, queue, counts } = scene(() => ({ message: "0a020802", trailers: ["grpc-status", "0"] }));
    for (const item of [1, 2, 3]) queue.add(item);
    await world.run(60_000);
    expect(counts()).toEqual({ sent: 1, lost: 2, waiting: 0 });
  });

  const codes = Object.entries(grpcCode).filter(([, code]) => code !== 0);
  const again = ["cancelled", "deadlineExceeded", "aborted", "outOfRange", "unavailable", "dataLoss"];
  test.each(codes)("OTLP/gRPC Response: after %s a batch is sent again, or is lost", async (name, code) => {
    const answers = [ended(code)];
    const { world, queue, asked, counts } = scene(() => answers.shift() ?? ok);
    queue.add(1);
    await world.run(60_000);
    const isRetried = again.includes(name);
    expect(asked.length).toBe(isRetried ? 2 : 1);
    expect(counts()).toEqual({ sent: isRetried ? 1 : 0, lost: isRetried ? 0 : 1, waiting: 0 });
  });

  test("RESOURCE_EXHAUSTED that says when is kept to, within a bound", async () => {
    const answers = [
      ended(grpcCode.resourceExhausted, retryIn(20n)),
      ended(grpcCode.resourceExhausted, retryIn(1_000_000n)),
    ];
    const { world, queue, asked, counts } = scene(() => answers.shift() ?? ok);
    queue.add(1);
    await world.run(otlpLimits.delayMs + 19_000);
    expect(asked.length).toBe(1);
    await world.run(otlpLimits.delayMs + 21_000);
    expect(asked.length).toBe(2);
    await world.run(otlpLimits.delayMs + 19_000 + otlpLimits.maxRetryAfterMs);
    expect(asked.length).toBe(2);
    await world.run(otlpLimits.delayMs + 22_000 + otlpLimits.maxRetryAfterMs);
    expect(counts()).toEqual({ sent: 1, lost: 0, waiting: 0 });
  });

  test("details that cannot be read are none", async () => {
    const broken = ["grpc-status-details-bin", "////"];
    const { world, queue, asked, counts } = scene(() => ended(grpcCode.resourceExhausted, broken));
    queue.add(1);
    await world.run(60_000);
    expect(asked.length).toBe(1);
    expect(counts()).toEqual({ sent: 0, lost: 1, waiting: 0 });
  });

  test("one that never answers is given up after its time, and asked again on another connection", async () => {
    const answers: Answer[] = [null];
    const { world, queue, asked, counts, links, said } = scene(() =>
      answers.length > 0 ? (answers.shift() ?? null) : ok,
    );
    queue.add(1);
    await world.run(otlpLimits.delayMs + otlpLimits.timeoutMs - 100);
    expect([asked.length, links.length]).toEqual([1, 1]);
    await world.run(60_000);
    expect([asked.length, links.length, links[0]?.over]).toEqual([2, 2, true]);
    expect(counts()).toEqual({ sent: 1, lost: 0, waiting: 0 });
    expect(said).toEqual([
      "warn log records cannot be sent; those beyond a bound are lost meanwhile the collector answers deadlineExceeded: deadline exceeded",
      "info the collector takes log records again ",
    ]);
  });

  test("one that goes away, between calls or in a call, costs no batch", async () => {
    const { world, queue, counts, links } = scene(() => {
      // The third answer is cut.
      if (links.length === 2) links[1]?.close();
      return ok;
    });
    queue.add(1);
    await world.run(world.nowMs + otlpLimits.delayMs + 1_000);
    links[0]?.close();
    queue.add(2);
    await world.run(world.nowMs + 60_000);
    expect(counts()).toEqual({ sent: 2, lost: 0, waiting: 0 });
    expect(links.length).toBe(3);
  });

  test.each(["grpc-timeout: 1S", "te: trailers", ":path: /x", "x-key: \u00fc"])(
    "a header that cannot be metadata is said without its value, and nothing is sent: %s",
    async (line) => {
      const { world, queue, asked, said } = scene(() => ok, line);
      queue.add(1);
      await world.run(otlpLimits.delayMs + 100);
      expect(asked.length).toBe(0);
      expect(said[0]).toContain("/headers");
      expect(said[0]).not.toContain("trailers");
    },
  );

  test.each([otlpLimits.maxHeaders, otlpLimits.maxHeaders + 1])("%d headers", async (count) => {
    const lines = Array.from({ length: count }, (_, index) => `x-${index}: a`).join("\n");
    const { world, queue, asked } = scene(() => ok, lines);
    queue.add(1);
    await world.run(otlpLimits.delayMs + 100);
    expect(asked.length).toBe(count > otlpLimits.maxHeaders ? 0 : 1);
  });
});
