import { expect, test } from "bun:test";
import { H2Connection } from "./connection.ts";
import type { H2Stream, H2StreamEvents } from "./stream.ts";

const ignore: H2StreamEvents = {
  onHeaders() {},
  onData() {},
  onTrailers() {},
  onReset() {},
  onWritable() {},
  onClose() {},
};

/** A server whose socket is full, so that its driver takes output only when told, and a client that is always read. */
function pair() {
  const streams: H2Stream[] = [];
  let announced = 0;
  const server = new H2Connection(
    { role: "server", now: 0 },
    {
      onRequest: (stream) => {
        stream.events = ignore;
        streams.push(stream);
      },
      onOutputReady: () => {
        announced++;
      },
      onClose() {},
    },
  );
  const client = new H2Connection(
    { role: "client", now: 0 },
    { onRequest() {}, onOutputReady() {}, onClose() {} },
  );
  const toServer = () => {
    while (client.wantsOutput)
      for (const chunk of client.takeOutput(1 << 20)) server.receive(chunk.slice(), 0);
  };
  const toClient = () => {
    while (server.wantsOutput)
      for (const chunk of server.takeOutput(1 << 20)) client.receive(chunk.slice(), 0);
  };
  toServer();
  toClient();
  toServer();
  return { server, client, streams, toServer, toClient, announced: () => announced };
}

const connect = [":method", "CONNECT", ":authority", "10.0.0.1:80"];

test("output that vanished with a reset stream does not silence the announcement of what comes after it", () => {
  const { server, client, streams, toServer, toClient, announced } = pair();
  const bulk = client.request(connect, false, ignore);
  toServer();
  streams[0]?.sendHeaders([":status", "200"], false);
  toClient();
  // The driver takes what its socket holds and is left with more to come.
  streams[0]?.sendData(new Uint8Array(1 << 20), false);
  server.takeOutput(64 * 1024);
  expect(server.wantsOutput).toBe(true);
  bulk?.reset(8);
  toServer();
  expect(server.wantsOutput).toBe(false);
  const before = announced();
  client.request(connect, false, ignore);
  toServer();
  streams[1]?.sendHeaders([":status", "200"], false);
  expect([server.wantsOutput, announced()]).toEqual([true, before + 1]);
});
