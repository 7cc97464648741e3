/** Over real sockets: a link tells its end once, and by whom. */
import { afterAll, expect, test } from "bun:test";
import { IpAddress } from "../base/ip.ts";
import { createBunHost } from "../host/bun/host.ts";
import type { Socket } from "../host/host.ts";
import type { H2StreamEvents } from "../wire/h2/stream.ts";
import { H2Link, type H2LinkEvents } from "./h2_link.ts";

const host = createBunHost();
const ip = IpAddress.parse("127.0.0.1");
if (ip === null) throw new Error("no loopback");
const accepted: ((socket: Socket) => void)[] = [];
const listener = host.net.listen({ address: { ip, port: 0 } }, (socket) => accepted.shift()?.(socket));
afterAll(() => listener.close());

async function connected(): Promise<{ readonly client: Socket; readonly server: Socket }> {
  const server = new Promise<Socket>((resolve) => accepted.push(resolve));
  const client = await host.net.connect({ to: listener.address, timeoutMs: 60_000 });
  return { client, server: await server };
}

const quiet: H2StreamEvents = {
  onHeaders() {},
  onData() {},
  onTrailers() {},
  onReset() {},
  onWritable() {},
  onClose() {},
};
const connect = [":method", "CONNECT", ":authority", "10.0.0.7:8080"];

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await Bun.sleep(10);
}

test("an end in order: HTTP/2 is over first, then the socket is gone, each told once; the error is HTTP/2's", async () => {
  const { client, server } = await connected();
  const told: string[] = [];
  const link = serve(server, {
    onRequest: (stream) => {
      stream.events = quiet;
      stream.sendHeaders([":status", "401"], true);
    },
    onOver: () => told.push("over"),
    onGone: (error) => told.push(`gone ${error?.code ?? "well"}`),
  });
  const caller = new H2Link(host.clock, client, { role: "client" }, {});
  caller.start();
  caller.connection.request(connect, true, quiet);
  await until(() => caller.openStreams === 0);
  caller.drain();
  await until(() => told.length === 2);
  expect(told).toEqual(["over", "gone well"]);
  link.close();
  link.drain();
  expect(told.length).toBe(2);
});

function serve(socket: Socket, events: H2LinkEvents): H2Link {
  const link = new H2Link(host.clock, socket, { role: "server" }, events);
  link.start();
  return link;
}

test("a peer that breaks off: the streams are reset, HTTP/2 is over, and the reason is told", async () => {
  const { client, server } = await connected();
  const told: string[] = [];
  const link = serve(server, {
    onRequest: (stream) => {
      stream.events = { ...quiet, onReset: () => told.push("reset") };
    },
    onOver: () => told.push("over"),
    onGone: (error) => told.push(`gone ${error?.code ?? "well"}`),
  });
  const caller = new H2Link(host.clock, client, { role: "client" }, {});
  caller.start();
  caller.connection.request(connect, false, quiet);
  await until(() => link.openStreams === 1);
  caller.abort();
  await until(() => told.length === 3);
  expect(told).toEqual(["reset", "over", "gone connection_closed"]);
  expect(link.openStreams).toBe(0);
});
