/** Our RpcServer under grpcio's client. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { IpAddress } from "../../src/base/ip.ts";
import { silentLogger } from "../../src/base/log.ts";
import { createBunHost } from "../../src/host/bun/host.ts";
import { type RpcPeer, RpcServer } from "../../src/transport/rpc/server.ts";
import { binaryMetadata } from "../../src/wire/grpc/call_headers.ts";
import { GrpcService } from "../../src/wire/grpc/server.ts";
import type { ServerCall } from "../../src/wire/grpc/server_stream.ts";
import { GrpcError, grpcCode, grpcCodeOf } from "../../src/wire/grpc/status.ts";
import { Subprocess } from "../peer/lab/subprocess.ts";
import type { Tally } from "../peer/tally.ts";
import { findPythonWithGrpc } from "./certificates.ts";
import { freePort } from "./free_port.ts";
import { bytesOf, type GrpcCertificates, makeCertificates, method, textOf } from "./grpc_lab.ts";

const ip = IpAddress.parse("127.0.0.1");

/** One address, and one server after the other at it. */
class EchoServer {
  readonly port = freePort();
  readonly #certificates: GrpcCertificates;
  readonly #host = createBunHost();
  readonly #hanging: string[] = [];
  readonly #cancelled: string[] = [];
  readonly #streamsOf = new Map<RpcPeer, number>();
  #flooded = 0;
  #server: RpcServer;

  constructor(certificates: GrpcCertificates) {
    this.#certificates = certificates;
    this.#server = this.#listen();
  }

  close(): void {
    this.#server.close();
  }

  #listen(): RpcServer {
    const { root, server } = this.#certificates;
    const made = new RpcServer({
      host: this.#host,
      logger: silentLogger,
      service: this.#service(),
      credentials: () => ({
        certificateChainPem: server.certificate,
        privateKeyPem: server.key,
        trustedRootsPem: root,
      }),
    });
    if (ip === null) throw new Error("127.0.0.1");
    made.listen({ ip, port: this.port });
    return made;
  }

  #service(): GrpcService<RpcPeer> {
    return new GrpcService<RpcPeer>()
      .unary(method("Unary"), async (message) => message.slice())
      .unary(method("Fail"), async (message) => {
        const [code, text]: [number, string] = JSON.parse(textOf(message));
        throw new GrpcError(grpcCodeOf(code), text);
      })
      .unary(method("Bug"), async () => {
        throw new Error("a secret");
      })
      .unary(method("Metadata"), async (_message, call) => bytesOf(JSON.stringify(metadataOf(call))))
      .unary(method("Hang"), (message, call) => {
        const name = textOf(message);
        this.#hanging.push(name);
        return new Promise((_, reject) => {
          call.cancelled.addEventListener("abort", () => {
            this.#cancelled.push(name);
            reject(call.cancelled.reason);
          });
        });
      })
      .unary(method("Hanging"), async () => bytesOf(JSON.stringify(this.#hanging)))
      .unary(method("Cancelled"), async () => bytesOf(JSON.stringify(this.#cancelled)))
      .unary(method("Chain"), async (_message, call) => bytesOf(String(call.peer.chain.length)))
      .unary(method("Flooded"), async () => bytesOf(String(this.#flooded)))
      .unary(method("Load"), async (_message, call) =>
        bytesOf(JSON.stringify({ mine: this.#streamsOf.get(call.peer) ?? 0 })),
      )
      .unary(method("Restart"), async () => {
        void this.#server.drain();
        this.#server = this.#listen();
        return new Uint8Array(0);
      })
      .stream(method("Refuse"), (stream) => ({
        onMessage: () => stream.end(new GrpcError(grpcCode.permissionDenied, "no")),
        onHalfClose() {},
        onWritable() {},
        onClose() {},
      }))
      .stream(method("Stream"), (stream) => {
        this.#count(stream.peer, 1);
        return {
          onMessage: (message) => {
            if (!stream.send(message.slice())) stream.pause();
          },
          onHalfClose: () => stream.end(),
          onWritable: () => stream.resume(),
          onClose: () => this.#count(stream.peer, -1),
        };
      })
      .stream(method("Flood"), (stream) => {
        let left = 0;
        const chunk = new Uint8Array(65_536);
        const more = () => {
          while (left > 0 && !stream.aboveHighWater) {
            stream.sendEncoded(chunk);
            left--;
            this.#flooded++;
          }
          if (left === 0) stream.end();
        };
        return {
          onMessage: (message) => {
            left = Number(textOf(message));
            more();
          },
          onHalfClose() {},
          onWritable: more,
          onClose() {},
        };
      });
  }

  #count(peer: RpcPeer, by: number): void {
    this.#streamsOf.set(peer, (this.#streamsOf.get(peer) ?? 0) + by);
  }
}

function metadataOf({ metadata }: ServerCall<RpcPeer>): Record<string, unknown[]> {
  const found: Record<string, unknown[]> = {};
  for (let index = 0; index + 1 < metadata.length; index += 2) {
    const name = metadata[index] ?? "";
    const value = name.endsWith("-bin")
      ? [...(binaryMetadata(metadata, name) ?? [])]
      : (metadata[index + 1] ?? "");
    found[name] = [...(found[name] ?? []), value];
  }
  return found;
}

export async function grpcServerSuite(tally: Tally, directory: string): Promise<void> {
  const prefix = "python grpcio → RpcServer";
  const python = findPythonWithGrpc();
  if ("missing" in python) return tally.skip(prefix, python.missing);
  const certificates = await makeCertificates();
  const server = new EchoServer(certificates);
  try {
    const facts = join(directory, "grpc_client.json");
    const { certificate, key } = certificates.client;
    const target = `localhost:${server.port}`;
    writeFileSync(facts, JSON.stringify({ target, root: certificates.root, certificate, key }));
    const client = Subprocess.start({
      name: "grpcio client",
      argv: [python.path, join(import.meta.dir, "python", "grpc_client.py"), facts],
      logPath: join(directory, "grpc_client.log"),
    });
    const code = await client.exited;
    const outcomes = client
      .lines()
      .filter((line) => line.startsWith("{"))
      .map((line): { case: string; ok: boolean; detail: string } => JSON.parse(line));
    for (const outcome of outcomes)
      tally.check(`${prefix}: ${outcome.case}`, outcome.ok ? null : outcome.detail);
    if (code !== 0 || outcomes.length === 0) tally.fail(prefix, `exit ${code}\n${client.log()}`);
  } finally {
    server.close();
  }
}
