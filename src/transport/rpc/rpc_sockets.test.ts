/** Server and channel over Bun's own sockets. */
import { afterAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { MeshError } from "../../base/errors.ts";
import { IpAddress } from "../../base/ip.ts";
import { silentLogger } from "../../base/log.ts";
import { createBunHost } from "../../host/bun/host.ts";
import { testAuthority } from "../../host/testing/credentials.ts";
import { GrpcClient } from "../../wire/grpc/client.ts";
import { GrpcService } from "../../wire/grpc/server.ts";
import { Answers, bytesOf, echoMethod, textOf } from "../../wire/grpc/testing/calls.ts";
import { H2Connection } from "../../wire/h2/connection.ts";
import { Drive } from "../drive.ts";
import { RpcChannel } from "./channel.ts";
import { type RpcPeer, RpcServer } from "./server.ts";

const host = createBunHost();
const authority = await testAuthority();
const streamMethod = { ...echoMethod, path: "/test.Echo/Stream" };
const peers: RpcPeer[] = [];
const server = new RpcServer({
  host,
  logger: silentLogger,
  service: new GrpcService<RpcPeer>()
    .unary(echoMethod, async (message, call) => {
      peers.push(call.peer);
      return message.slice();
    })
    .stream(streamMethod, (stream) => ({
      onMessage: (message) => void stream.send(message.slice()),
      onHalfClose: () => stream.end(),
      onWritable() {},
      onClose() {},
    })),
  credentials: () => authority.server.credentials,
});
const ip = IpAddress.parse("127.0.0.1");
if (ip === null) throw new Error("127.0.0.1");
const { port } = server.listen({ ip, port: 0 }).address;
const channels: RpcChannel[] = [];

function channel(credentials = authority.anonymous): RpcChannel {
  const made = new RpcChannel({
    host,
    logger: silentLogger,
    target: { host: "localhost", port },
    tls: () => ({ credentials, serverName: "localhost", verify: async () => {} }),
  });
  channels.push(made);
  return made;
}

afterAll(() => {
  for (const each of channels) each.close();
  server.close();
});

test("calls with and without a client certificate, and a large message both ways", async () => {
  expect(textOf(await channel().unary(echoMethod, bytesOf("hello")))).toBe("hello");
  expect(peers.at(-1)?.chain).toEqual([]);
  const known = channel(authority.client.credentials);
  const large = new Uint8Array(3 * 1024 * 1024).fill(7);
  expect(Buffer.compare(await known.unary(echoMethod, large), large)).toBe(0);
  // Bun ends a chain with the trust anchor where it knows one.
  const { chain } = authority.client;
  expect(peers.at(-1)?.chain.slice(0, chain.length)).toEqual([...chain]);
});

test("a thousand calls at once on one connection", async () => {
  const one = channel();
  await one.unary(echoMethod, bytesOf("x"));
  const before = server.connections;
  const all = Array.from({ length: 1_000 }, async (_, index) => {
    const answers = new Answers();
    const stream = await one.stream(streamMethod, answers);
    stream.send(bytesOf(`call ${index}`));
    stream.end();
    while (answers.end === null) await new Promise((resolve) => setTimeout(resolve, 5));
    return [answers.end.error, ...answers.messages.map((each) => textOf(each))];
  });
  expect(await Promise.all(all)).toEqual(all.map((_, index) => [null, `call ${index}`]));
  expect(server.connections).toBe(before);
});

test("a Unix socket tells who calls", async () => {
  const directory = await mkdtemp(join(tmpdir(), "fairlead-rpc-"));
  try {
    const path = join(directory, "api.sock");
    const listener = server.listenUnix(path, 0o600);
    const socket = await host.net.connectUnix(path, 60_000);
    let gone: MeshError | null | undefined;
    let drive: Drive | null = null;
    const connection = new H2Connection(
      { role: "client", now: host.clock.now() },
      { onRequest() {}, onOutputReady: () => drive?.outputReady(), onClose() {} },
    );
    drive = new Drive(host.clock, socket, connection, (error) => {
      gone = error;
    });
    drive.start();
    const client = new GrpcClient(connection, {
      authority: "localhost",
      scheme: "http",
      clock: host.clock,
      userAgent: "test",
    });
    expect(textOf(await client.unary(echoMethod, bytesOf("who am I"), { timeoutMs: 60_000 }))).toBe(
      "who am I",
    );
    expect(peers.at(-1)?.credentials).toMatchObject({ uid: process.getuid?.() ?? 0, pid: process.pid });
    listener.close();
    connection.drain();
    while (gone === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(gone).toBeNull();
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
