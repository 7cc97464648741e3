/** What lasts: streams through a waypoint, and what becomes of those that stand still. */
import { describe, expect, test } from "bun:test";
import { servingLimits } from "../../src/base/limits/serving.ts";
import { type H2Call, H2Client, serveH2 } from "./h2_ends.ts";
import { answering, bytes, ok, type WaypointLab, waypointLab, webService } from "./waypoint_lab.ts";

const get = (path: string) => bytes(`GET ${path} HTTP/1.1\r\nHost: web.shop\r\n\r\n`);
const grpc = [
  ...[":method", "POST", ":scheme", "http", ":authority", "web.shop", ":path", "/s/m"],
  ...["content-type", "application/grpc", "te", "trailers"],
];

async function h2Lab(protocol: string, onCall: (call: H2Call) => void) {
  const made: WaypointLab = await waypointLab(webService(protocol), (peer) => {
    serveH2(made.web.host, peer.socket, onCall);
  });
  return { ...made, client: new H2Client(made.cart.host, await made.call()) };
}

test("server-sent events come one by one, as they are sent", async () => {
  const { lab, served, call } = await waypointLab(webService("HTTP"));
  const client = await call();
  client.socket.write(get("/events"));
  await lab.until(() => served[0]?.text.includes("GET") === true, "the request");
  served[0]?.socket.write(
    bytes("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"),
  );
  for (let index = 0; index < 5; index++) {
    served[0]?.socket.write(bytes(`9\r\ndata: ${index}\n\n\r\n`));
    await lab.until(() => client.text.includes(`data: ${index}\n\n`), `event ${index}`, 1_000);
    // Longer than anything that is not a stream would wait.
    await lab.run(servingLimits.stalledMs + 10_000);
  }
  expect(client.closes).toBe(0);
});

describe("gRPC of all four kinds", () => {
  test("messages of both sides in turn, hours apart; then the status", async () => {
    const calls: H2Call[] = [];
    const { lab, client } = await h2Lab("GRPC", (call) => calls.push(call));
    const { stream, said } = client.request(grpc, false);
    await lab.until(() => calls.length === 1, "the call");
    // A server that waits for something says nothing at all, not even its headers.
    await lab.run(2 * servingLimits.stalledMs);
    const call = calls[0];
    call?.stream.sendHeaders([":status", "200", "content-type", "application/grpc"], false);
    for (let index = 0; index < 4; index++) {
      stream.sendData(bytes(`ask${index}`), false);
      await lab.until(() => call?.said.text.endsWith(`ask${index}`) === true, `message ${index}`, 1_000);
      call?.stream.sendData(bytes(`told${index}`), false);
      await lab.until(() => said.text.endsWith(`told${index}`), `answer ${index}`, 1_000);
      await lab.run(3_600_000 + 60_000);
    }
    stream.sendData(new Uint8Array(0), true);
    await lab.until(() => call?.said.ended === true, "the client's end");
    call?.stream.sendTrailers(["grpc-status", "0"]);
    await lab.until(() => said.trailers !== null, "the status");
    expect([said.trailers, said.resetCode]).toEqual([["grpc-status", "0"], null]);
  });

  test("a deadline that passes: DEADLINE_EXCEEDED to the client, and the endpoint's stream is reset", async () => {
    const calls: H2Call[] = [];
    const { lab, client } = await h2Lab("GRPC", (call) => calls.push(call));
    const { said } = client.request([...grpc, "grpc-timeout", "500m"], true);
    await lab.until(() => said.ended, "the answer");
    expect(said.headers.slice(4, 6)).toEqual(["grpc-status", "4"]);
    await lab.until(() => calls[0]?.said.resetCode !== null, "the reset");
  });

  test("an endpoint that answers without trailers: as it came", async () => {
    const { lab, client } = await h2Lab("GRPC", ({ stream }) => {
      stream.sendHeaders([":status", "200", "content-type", "application/grpc"], false);
      stream.sendData(bytes("x"), true);
    });
    const { said } = client.request(grpc, true);
    await lab.until(() => said.ended, "the end");
    expect([said.text, said.trailers]).toEqual(["x", null]);
  });
});

describe("what stands still is given up", () => {
  test("a client that does not read its answer", async () => {
    const { lab, client } = await h2Lab("HTTP2", ({ stream }) => {
      stream.sendHeaders([":status", "200"], false);
      for (let index = 0; index < 64; index++) stream.sendData(new Uint8Array(256 * 1024), false);
    });
    const { said } = client.request(
      [":method", "GET", ":scheme", "http", ":authority", "web.shop", ":path", "/"],
      true,
    );
    said.isSlow = true;
    await lab.run(servingLimits.stalledMs - 10_000);
    expect(said.resetCode).toBeNull();
    await lab.until(() => said.resetCode !== null, "the reset", 30_000);
  });

  test("a request whose content stops coming", async () => {
    const { lab, served, call } = await waypointLab(webService("HTTP"));
    const client = await call();
    client.socket.write(bytes("POST / HTTP/1.1\r\nHost: web.shop\r\nContent-Length: 10\r\n\r\nhalf"));
    await lab.until(() => served[0]?.text.endsWith("half") === true, "the half");
    await lab.run(servingLimits.stalledMs - 10_000);
    expect(client.closes).toBe(0);
    await lab.until(() => client.closes === 1 && served[0]?.closes === 1, "the end on both sides", 30_000);
  });

  test("a client that has ended its side, and an answer that is silent", async () => {
    const { lab, served, call } = await waypointLab(webService("HTTP"));
    const client = await call();
    client.socket.write(get("/events"));
    await lab.until(() => served[0]?.text.includes("GET") === true, "the request");
    client.socket.end();
    // One that reads on has its answer, as long as it comes.
    const event = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    for (const [index, piece] of [event, "1\r\na\r\n", "1\r\nb\r\n"].entries()) {
      await lab.run(servingLimits.endedClientMs - 500);
      served[0]?.socket.write(bytes(piece));
      await lab.until(() => (client.text.match(/1\r\n[ab]/g)?.length ?? 0) >= index, `piece ${index}`, 1_000);
    }
    expect([served[0]?.closes, client.closes]).toEqual([0, 0]);
    await lab.until(() => served[0]?.closes === 1 && client.closes === 1, "the end on both sides", 7_000);
  });

  test("a WebSocket whose client has ended its side is left alone", async () => {
    const { lab, served, call } = await waypointLab(webService("HTTP"));
    const client = await call();
    const upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
    client.socket.write(
      bytes(
        `GET / HTTP/1.1\r\nHost: web.shop\r\n${upgrade}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n`,
      ),
    );
    await lab.until(() => served[0]?.text.includes("GET") === true, "the request");
    served[0]?.socket.write(
      bytes(
        `HTTP/1.1 101 Switching Protocols\r\n${upgrade}Sec-WebSocket-Accept: ICX+Yqv66kxgM0FcWaLWlFLwTAI=\r\n\r\n`,
      ),
    );
    await lab.until(() => client.text.includes("101"), "the upgrade");
    client.socket.end();
    await lab.run(3 * servingLimits.endedClientMs);
    served[0]?.socket.write(bytes("last words"));
    await lab.until(() => client.text.endsWith("last words"), "what the server says at the end", 1_000);
  });

  test("a connection without a request, after an hour", async () => {
    const { lab, call } = await waypointLab(
      webService("HTTP"),
      answering(() => ok("x")),
    );
    const client = await call();
    client.socket.write(get("/"));
    await lab.until(() => client.text.endsWith("x"), "the answer");
    await lab.run(servingLimits.idleTimeoutMs - 10_000);
    expect(client.ends).toBe(0);
    await lab.until(() => client.ends === 1, "the end", 30_000);
  });

  test("a connection to an endpoint without a request, after a minute", async () => {
    const { lab, served, call } = await waypointLab(
      webService("HTTP"),
      answering(() => ok("x")),
    );
    const client = await call();
    client.socket.write(get("/"));
    await lab.until(() => client.text.endsWith("x"), "the answer");
    await lab.run(servingLimits.upstreamIdleMs - 5_000);
    expect(served[0]?.ends).toBe(0);
    await lab.until(() => served[0]?.ends === 1, "the end", 30_000);
  });

  test("connections that are kept to one endpoint are bounded", async () => {
    const waiting: (() => void)[] = [];
    const { lab, served, call } = await waypointLab(webService("HTTP"), (peer) => {
      peer.onData = () => waiting.push(() => peer.socket.write(bytes(ok("x"))));
    });
    const count = servingLimits.maxIdleUpstreams + 3;
    for (let index = 0; index < count; index++) (await call()).socket.write(get("/"));
    await lab.until(() => waiting.length === count, "all requests");
    for (const answer of waiting) answer();
    await lab.until(() => served.filter(({ ends }) => ends === 1).length === 3, "the end of three");
    await lab.run(1_000);
    expect(served.filter(({ ends }) => ends === 1).length).toBe(3);
  });
});
