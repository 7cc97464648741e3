/** Our RpcChannel against grpcio's server. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { MeshError } from "../../src/base/errors.ts";
import { silentLogger } from "../../src/base/log.ts";
import { createBunHost } from "../../src/host/bun/host.ts";
import { RpcChannel } from "../../src/transport/rpc/channel.ts";
import { encodeBinaryMetadata } from "../../src/wire/grpc/call_headers.ts";
import type { CallOptions } from "../../src/wire/grpc/client.ts";
import { GrpcError, grpcCode } from "../../src/wire/grpc/status.ts";
import { bulkHangMs, eventually, hangMs } from "../peer/lab/eventually.ts";
import { Subprocess } from "../peer/lab/subprocess.ts";
import type { Tally } from "../peer/tally.ts";
import { findPythonWithGrpc } from "./certificates.ts";
import { freePort } from "./free_port.ts";
import { bytesOf, type GrpcCertificates, makeCertificates, method, textOf } from "./grpc_lab.ts";

/** What a stream brought, and a promise of its end. */
class Incoming {
  readonly messages: Uint8Array[] = [];
  readonly ended: Promise<GrpcError | null>;
  onWritable = () => {};
  #resolve: (error: GrpcError | null) => void = () => {};

  constructor() {
    this.ended = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }
  onMessage(message: Uint8Array): void {
    this.messages.push(message.slice());
  }
  onEnd(error: GrpcError | null): void {
    this.#resolve(error);
  }
}

function expect(value: unknown, wanted: unknown): void {
  const [got, want] = [JSON.stringify(value), JSON.stringify(wanted)];
  if (got !== want) throw new Error(`got ${got}, wanted ${want}`);
}

async function codeOf(call: Promise<unknown>): Promise<readonly [number, string]> {
  try {
    await call;
    return [0, ""];
  } catch (error) {
    if (error instanceof GrpcError) return [error.code, error.message];
    throw error;
  }
}

interface Case {
  readonly name: string;
  run(channel: RpcChannel): Promise<void>;
}

const call = (channel: RpcChannel, name: string, message: string | Uint8Array, options: CallOptions = {}) =>
  channel.unary(method(name), typeof message === "string" ? bytesOf(message) : message, options);

const cases: readonly Case[] = [
  {
    name: "unary-echo",
    async run(channel) {
      for (const text of ["hello", "", "x".repeat(100_000)])
        expect(textOf(await call(channel, "Unary", text)) === text, true);
    },
  },
  {
    name: "large-messages",
    async run(channel) {
      const large = new Uint8Array(20 * 1024 * 1024).fill(3);
      expect(Buffer.compare(await call(channel, "Unary", large), large), 0);
      const [code] = await codeOf(call(channel, "Unary", large, { maxResponseBytes: 1_000_000 }));
      expect(code, grpcCode.resourceExhausted);
    },
  },
  {
    name: "every-status",
    async run(channel) {
      for (const code of Object.values(grpcCode).filter((each) => each !== 0))
        expect(await codeOf(call(channel, "Fail", JSON.stringify([code, "nö: 100 %\n"]))), [
          code,
          "nö: 100 %\n",
        ]);
    },
  },
  {
    name: "metadata-and-deadline",
    async run(channel) {
      const metadata = [
        "authorization",
        "Bearer abc",
        "x-raw-bin",
        encodeBinaryMetadata(Uint8Array.of(0, 255)),
      ];
      const got = JSON.parse(textOf(await call(channel, "Metadata", "", { metadata, timeoutMs: 600_000 })));
      expect([got.authorization, got["x-raw-bin"]], [["Bearer abc"], [[0, 255]]]);
      if (got.remaining < 300 || got.remaining > 600.1) throw new Error(`${got.remaining} s remain of 600`);
    },
  },
  {
    name: "unknown-method",
    async run(channel) {
      expect((await codeOf(call(channel, "Absent", "")))[0], grpcCode.unimplemented);
    },
  },
  {
    name: "trailers-only",
    async run(channel) {
      expect(await codeOf(call(channel, "Refuse", "")), [grpcCode.unauthenticated, ""]);
    },
  },
  {
    name: "cardinality",
    async run(channel) {
      expect((await codeOf(call(channel, "Twice", "")))[0], grpcCode.unimplemented);
    },
  },
  {
    name: "deadline",
    async run(channel) {
      // Longer each time, until the call has reached its handler before it was over.
      for (let timeoutMs = 200; !(await isAmong(channel, "Hanging", "deadline")); timeoutMs *= 3) {
        const [code] = await codeOf(call(channel, "Hang", "deadline", { timeoutMs }));
        expect(code, grpcCode.deadlineExceeded);
      }
      await cancelledAtServer(channel, "deadline");
    },
  },
  {
    name: "cancellation",
    async run(channel) {
      const abort = new AbortController();
      const hanging = codeOf(call(channel, "Hang", "cancel", { signal: abort.signal }));
      await eventually("the call at its handler", () => isAmong(channel, "Hanging", "cancel"));
      abort.abort();
      expect((await hanging)[0], grpcCode.cancelled);
      await cancelledAtServer(channel, "cancel");
    },
  },
  {
    name: "bidirectional",
    async run(channel) {
      const incoming = new Incoming();
      const stream = await channel.stream(method("Stream"), incoming);
      for (let index = 0; index < 1_000; index++) stream.send(bytesOf(`${index}`));
      stream.end();
      expect(await incoming.ended, null);
      expect(
        incoming.messages.map((each) => textOf(each)),
        Array.from({ length: 1_000 }, (_, index) => `${index}`),
      );
    },
  },
  {
    name: "bulk-both-ways",
    async run(channel) {
      const incoming = new Incoming();
      const stream = await channel.stream(method("Stream"), incoming);
      let left = 400;
      incoming.onWritable = () => {
        while (left > 0) {
          left--;
          if (!stream.send(new Uint8Array(100_000))) break;
        }
        if (left === 0) stream.end();
      };
      incoming.onWritable();
      expect(await incoming.ended, null);
      expect(incoming.messages.length, 400);
    },
  },
  {
    name: "a-paused-reader-loses-nothing",
    async run(channel) {
      const incoming = new Incoming();
      const stream = await channel.stream(method("Flood"), incoming);
      stream.pause();
      stream.send(bytesOf("500"));
      stream.end();
      await Bun.sleep(300);
      expect(incoming.messages.length, 0);
      stream.resume();
      expect(await incoming.ended, null);
      expect(incoming.messages.length, 500);
    },
  },
  {
    name: "thousand-streams",
    async run(channel) {
      await call(channel, "Unary", "");
      const all = Array.from({ length: 1_000 }, async (_, index) => {
        const incoming = new Incoming();
        const stream = await channel.stream(method("Stream"), incoming);
        stream.send(bytesOf(`${index}`));
        stream.end();
        const error = await incoming.ended;
        return error === null ? incoming.messages.map((each) => textOf(each)).join() : error.message;
      });
      expect(
        await Promise.all(all),
        all.map((_, index) => `${index}`),
      );
    },
  },
];

async function cancelledAtServer(channel: RpcChannel, name: string): Promise<void> {
  await eventually(`the server's handler of ${name} told`, () => isAmong(channel, "Cancelled", name));
}

async function isAmong(channel: RpcChannel, list: "Hanging" | "Cancelled", name: string): Promise<boolean> {
  return JSON.parse(textOf(await call(channel, list, ""))).includes(name);
}

export async function grpcChannelSuite(tally: Tally, directory: string): Promise<void> {
  const prefix = "RpcChannel → python grpcio";
  const python = findPythonWithGrpc();
  if ("missing" in python) return tally.skip(prefix, python.missing);
  const certificates = await makeCertificates();
  const port = freePort();
  const strictPort = freePort();
  const facts = join(directory, "grpc_server.json");
  const { certificate, key } = certificates.server;
  writeFileSync(
    facts,
    JSON.stringify({
      target: `127.0.0.1:${port}`,
      strict: `127.0.0.1:${strictPort}`,
      root: certificates.root,
      certificate,
      key,
    }),
  );
  const server = Subprocess.start({
    name: "grpcio server",
    argv: [python.path, join(import.meta.dir, "python", "grpc_server.py"), facts],
    logPath: join(directory, "grpc_server.log"),
  });
  try {
    await server.waitForLine((line) => line.includes('"ready"'));
    for (const { name, run } of cases) {
      const channel = channelTo(port, certificates);
      tally.check(`${prefix}: ${name}`, await problemOf(run(channel)));
      channel.close();
    }
    const known = channelTo(strictPort, certificates, true);
    tally.check(
      `${prefix}: client-certificate`,
      await problemOf(call(known, "Chain", "").then((chain) => expect(textOf(chain), "1"))),
    );
    tally.check(`${prefix}: a-lost-server-is-unavailable`, await problemOf(losesItsServer(known, server)));
    known.close();
  } finally {
    await server.stop();
  }
}

/** Last, because it costs the server its life. */
async function losesItsServer(channel: RpcChannel, server: Subprocess): Promise<void> {
  const hanging = codeOf(call(channel, "Hang", "killed"));
  await eventually("the call at its handler", () => isAmong(channel, "Hanging", "killed"));
  server.kill();
  expect((await hanging)[0], grpcCode.unavailable);
  const error = await call(channel, "Unary", "", { timeoutMs: hangMs }).catch((thrown: unknown) => thrown);
  if (!(error instanceof MeshError) || error.code !== "connect_refused") throw new Error(String(error));
}

async function problemOf(run: Promise<void>): Promise<string | null> {
  try {
    const late = Bun.sleep(bulkHangMs).then(() => Promise.reject(new Error("it hangs")));
    late.catch(() => {});
    await Promise.race([run, late]);
    return null;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

function channelTo(port: number, certificates: GrpcCertificates, known = false): RpcChannel {
  const { root, client } = certificates;
  return new RpcChannel({
    host: createBunHost(),
    logger: silentLogger,
    target: { host: "127.0.0.1", port },
    tls: () => ({
      credentials: {
        certificateChainPem: known ? client.certificate : "",
        privateKeyPem: known ? client.key : "",
        trustedRootsPem: root,
      },
      serverName: "localhost",
      verify: async (chain) => {
        if (chain.length === 0) throw new MeshError("certificate_missing", "peer", "no certificate");
      },
    }),
  });
}
