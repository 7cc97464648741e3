import { describe, expect, test } from "bun:test";
import { type H2Call, H2Client, serveH2 } from "./h2_ends.ts";
import type { FlowLab } from "./lab.ts";
import {
  answering,
  bytes,
  ok,
  type WaypointLab,
  waypointLab,
  webService,
  withoutId,
} from "./waypoint_lab.ts";

/** The mesh with an application of HTTP/2. */
async function h2Lab(
  protocol: string,
  onCall: (call: H2Call) => void,
): Promise<WaypointLab & { readonly client: H2Client }> {
  let lab: FlowLab | null = null;
  const made: WaypointLab = await waypointLab(webService(protocol), (peer) => {
    if (lab !== null) serveH2(made.web.host, peer.socket, onCall);
  });
  ({ lab } = made);
  return { ...made, client: new H2Client(made.cart.host, await made.call()) };
}

function echo({ stream, headers, said }: H2Call): void {
  stream.sendHeaders([":status", "200", "x-path", headers[headers.indexOf(":path") + 1] ?? ""], false);
  const finish = () => stream.sendTrailers(["grpc-status", "0", "x-sum", String(said.byteCount)]);
  if (said.ended) finish();
  else
    said.onText = () => {
      if (said.ended) finish();
    };
  const onTrailers = said.onTrailers.bind(said);
  said.onTrailers = (trailers) => {
    onTrailers(trailers);
    finish();
  };
}

describe("HTTP/2 through a waypoint", () => {
  test("requests side by side, with content and trailers, over one connection to the endpoint", async () => {
    const { lab, client, served } = await h2Lab("GRPC", echo);
    const calls = Array.from({ length: 20 }, (_, index) => {
      const call = client.request(
        [
          ":method",
          "POST",
          ":scheme",
          "http",
          ":authority",
          "web.shop",
          ":path",
          `/${index}`,
          "te",
          "trailers",
        ],
        false,
      );
      call.stream.sendData(bytes("x".repeat(index)), false);
      return call;
    });
    await lab.run(100);
    for (const { stream } of calls) stream.sendTrailers(["x-checksum", "1"]);
    await lab.until(() => calls.every(({ said }) => said.ended), "all answers");
    expect(calls.map(({ said }) => [said.headers.join(" "), said.trailers?.join(" ")])).toEqual(
      calls.map((_, index) => [`:status 200 x-path /${index}`, `grpc-status 0 x-sum ${index}`]),
    );
    expect(served.length).toBe(1);
  });

  test("the head is passed on: cookies as one field, authority, nothing about the connection", async () => {
    const heads: string[] = [];
    const { lab, client } = await h2Lab("HTTP2", ({ stream, headers }) => {
      heads.push(headers.join(" "));
      stream.sendHeaders([":status", "204"], true);
    });
    const { said } = client.get("/a?b", ["cookie", "a=1", "cookie", "b=2", "x", "y"]);
    await lab.until(() => said.ended, "the answer");
    expect(heads.map(withoutId)).toEqual([
      ":method GET :scheme http :authority web.shop :path /a?b x y cookie a=1; b=2",
    ]);
    expect(said.headers).toEqual([":status", "204"]);
  });

  test("to an endpoint of HTTP/1.1 and back: chunks, trailers, interim answers", async () => {
    const { lab, cart, served, call } = await waypointLab(webService("HTTP"));
    const client = new H2Client(cart.host, await call());
    const { stream, said } = client.request(
      [":method", "POST", ":scheme", "http", ":authority", "web.shop", ":path", "/up"],
      false,
    );
    stream.sendData(bytes("hello"), false);
    await lab.run(50);
    stream.sendTrailers(["x-end", "1"]);
    await lab.until(
      () => served[0]?.text.endsWith("\r\n\r\n") === true && served[0].text.includes("x-end"),
      "the request",
    );
    expect(withoutId(served[0]?.text)).toBe(
      "POST /up HTTP/1.1\r\nhost: web.shop\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nx-end: 1\r\n\r\n",
    );
    served[0]?.socket.write(
      bytes(
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 2\r\n\r\n",
      ),
    );
    await lab.until(() => said.ended, "the answer");
    expect([said.headers, said.interim, said.text, said.trailers]).toEqual([
      [":status", "200"],
      [":status 103 link x"],
      "hi",
      ["x-sum", "2"],
    ]);
  });

  test("from a client of HTTP/1.1 to an endpoint of HTTP/2", async () => {
    const { lab, call } = await h2Lab("HTTP2", echo);
    const client = await call();
    client.socket.write(bytes("POST /p HTTP/1.1\r\nHost: web.shop\r\nContent-Length: 3\r\n\r\nabc"));
    await lab.until(() => client.text.endsWith("\r\n\r\n") && client.text.includes("x-sum"), "the answer");
    expect(client.text).toBe(
      "HTTP/1.1 200 OK\r\nx-path: /p\r\ntransfer-encoding: chunked\r\n\r\n0\r\ngrpc-status: 0\r\nx-sum: 3\r\n\r\n",
    );
  });

  test("a client that resets ends its request at the endpoint, and no other", async () => {
    const calls: H2Call[] = [];
    const { lab, client, waypoint } = await h2Lab("HTTP2", (call) => calls.push(call));
    const first = client.get("/1");
    const second = client.get("/2");
    await lab.until(() => calls.length === 2, "both requests");
    first.stream.reset(8);
    await lab.until(() => calls[0]?.said.resetCode === 8, "the reset");
    calls[1]?.stream.sendHeaders([":status", "204"], true);
    await lab.until(() => second.said.ended, "the other answer");
    expect(waypoint.node.tunnel.tunnelCount.outbound).toBe(1);
  });

  test("what cannot be is refused: plain CONNECT, a malformed authority, two lengths, h2c's siblings", async () => {
    const { lab, client } = await h2Lab("HTTP2", echo);
    const target = [":scheme", "http", ":path", "/"];
    for (const [headers, status] of [
      [[":method", "CONNECT", ":authority", "web.shop:80"], "405"],
      [[":method", "GET", ...target, ":authority", "web shop"], undefined],
      [[":method", "GET", ...target, ":authority", "web@shop"], undefined],
      [[":method", "GET", ...target, ":authority", "web/shop"], "400"],
      [[":method", "GET", ...target, ":authority", "a", "host", "b"], undefined],
      [[":method", "GET", ...target, ":authority", "a", "content-length", "0", "content-length", "0"], "400"],
      [[":method", "GET", ...target, ":authority", "a", "transfer-encoding", "chunked"], undefined],
      [[":method", "GET", ...target, ":authority", "a", "content_length", "3"], "400"],
      [[":method", "GET", ":scheme", "http", ":path", "/a#b", ":authority", "a"], "400"],
    ] as const) {
      const { said } = client.request(headers, headers[1] !== "CONNECT");
      await lab.until(() => said.status !== undefined || said.resetCode !== null, headers.join(" "));
      expect([headers.join(" "), said.status]).toEqual([headers.join(" "), status]);
    }
  });

  test("a slow reader holds the endpoint back", async () => {
    let sent = 0;
    const { lab, client } = await h2Lab("HTTP2", ({ stream, said }) => {
      stream.sendHeaders([":status", "200"], false);
      const chunk = new Uint8Array(64 * 1024);
      const more = () => {
        for (let turn = 0; turn < 1_000 && !stream.aboveHighWater && !stream.closed; turn++) {
          stream.sendData(chunk, false);
          sent += chunk.length;
        }
      };
      said.onWritable = more;
      more();
    });
    const { said, stream } = client.get("/big");
    said.isSlow = true;
    await lab.run(2_000);
    const held = sent;
    expect(held).toBeLessThan(16 * 1024 * 1024);
    await lab.run(2_000);
    expect(sent).toBe(held);
    said.isSlow = false;
    stream.consume(said.byteCount);
    await lab.until(() => sent > held + 4_000_000, "more");
  });
});

describe("gRPC", () => {
  test("without an endpoint that answers: trailers only, UNAVAILABLE", async () => {
    const { lab, cart, call } = await waypointLab(webService("GRPC"), (peer) => peer.socket.reset());
    const client = new H2Client(cart.host, await call());
    const { said } = client.request(
      [
        ":method",
        "POST",
        ":scheme",
        "http",
        ":authority",
        "web.shop",
        ":path",
        "/s/m",
        "content-type",
        "application/grpc",
        "te",
        "trailers",
      ],
      true,
    );
    await lab.until(() => said.ended, "the answer");
    expect(said.headers.slice(0, 6)).toEqual([
      ":status",
      "200",
      "content-type",
      "application/grpc",
      "grpc-status",
      "14",
    ]);
  });

  test("an endpoint that resets a stream half-way: the stream ends with UNAVAILABLE, not as if it were whole", async () => {
    const { lab, client } = await h2Lab("GRPC", ({ stream }) => {
      stream.sendHeaders([":status", "200", "content-type", "application/grpc"], false);
      stream.sendData(bytes("half"), false);
      stream.resetAfterData(2);
    });
    const { said } = client.get("/s/m", ["content-type", "application/grpc"]);
    await lab.until(() => said.ended || said.resetCode !== null, "the end");
    expect([said.text, said.trailers?.slice(0, 2)]).toEqual(["half", ["grpc-status", "14"]]);
  });
});

describe("WebSocket", () => {
  const key = "dGhlIHNhbXBsZSBub25jZQ==";
  const accept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
  const upgrade = `GET /chat HTTP/1.1\r\nHost: web.shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: ${key}\r\nSec-WebSocket-Version: 13\r\n\r\n`;

  test("of HTTP/1.1 to HTTP/1.1: bytes both ways after 101, each end's end", async () => {
    const { lab, served, call } = await waypointLab(webService("HTTP"));
    const client = await call();
    client.socket.write(bytes(upgrade));
    await lab.until(() => served[0]?.text.endsWith("\r\n\r\n") === true, "the request");
    expect(withoutId(served[0]?.text)).toBe(
      `GET /chat HTTP/1.1\r\nhost: web.shop\r\nsec-websocket-key: ${key}\r\nsec-websocket-version: 13\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n`,
    );
    served[0]?.socket.write(
      bytes(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accept}\r\n\r\nfirst`,
      ),
    );
    await lab.until(() => client.text.endsWith("first"), "101");
    expect(client.text).toBe(
      `HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: ${accept}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\nfirst`,
    );
    client.socket.write(bytes("GET / HTTP/1.1\r\n\r\n"));
    await lab.until(
      () => served[0]?.text.endsWith("\r\n\r\nGET / HTTP/1.1\r\n\r\n") === true,
      "what the client says",
    );
    served[0]?.socket.end();
    await lab.until(() => client.ends === 1, "the end");
    client.socket.end();
    await lab.until(() => served[0]?.ends === 1 && client.closes === 1, "the other end");
  });

  test("an endpoint that refuses the upgrade answers like any other", async () => {
    const { lab, call } = await waypointLab(
      webService("HTTP"),
      answering(() => "HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno"),
    );
    const client = await call();
    client.socket.write(bytes(upgrade));
    await lab.until(() => client.text.endsWith("no"), "the answer");
    client.socket.write(bytes("GET / HTTP/1.1\r\nHost: web.shop\r\n\r\n"));
    await lab.until(() => client.text.split("403").length === 3, "another answer");
  });

  test("of HTTP/2 to HTTP/1.1: CONNECT becomes an upgrade, with a key of its own (RFC 8441)", async () => {
    const { lab, cart, served, call } = await waypointLab(webService("HTTP"));
    const client = new H2Client(cart.host, await call());
    await lab.until(() => client.link.connection.remoteSettings.enableConnectProtocol, "the setting");
    const { stream, said } = client.request(
      [
        ":method",
        "CONNECT",
        ":protocol",
        "websocket",
        ":scheme",
        "http",
        ":authority",
        "web.shop",
        ":path",
        "/chat",
        "sec-websocket-version",
        "13",
      ],
      false,
    );
    await lab.until(() => served[0]?.text.endsWith("\r\n\r\n") === true, "the request");
    const sentKey = /sec-websocket-key: (\S+)/.exec(served[0]?.text ?? "")?.[1] ?? "";
    expect(atob(sentKey).length).toBe(16);
    const hash = await crypto.subtle.digest(
      "SHA-1",
      new TextEncoder().encode(`${sentKey}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`),
    );
    const accepted = btoa(String.fromCharCode(...new Uint8Array(hash)));
    served[0]?.socket.write(
      bytes(
        `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: ${accepted}\r\n\r\nfirst`,
      ),
    );
    await lab.until(() => said.text === "first", "200");
    expect(said.headers).toEqual([":status", "200"]);
    stream.sendData(bytes("second"), true);
    await lab.until(
      () => served[0]?.text.endsWith("second") === true && served[0].ends === 1,
      "what the client says",
    );
    served[0]?.socket.end();
    await lab.until(() => said.ended, "the end");
  });

  test("of HTTP/1.1 to HTTP/2: an upgrade becomes CONNECT", async () => {
    const heads: string[] = [];
    const { lab, call } = await h2Lab("HTTP2", ({ stream, headers, said }) => {
      heads.push(headers.join(" "));
      stream.sendHeaders([":status", "200"], false);
      said.onText = (text) => {
        if (text === "ping") stream.sendData(bytes("pong"), false);
      };
    });
    const client = await call();
    client.socket.write(bytes(upgrade));
    await lab.until(() => client.text.includes("\r\n\r\n"), "101");
    expect(client.text).toBe(
      `HTTP/1.1 101 Switching Protocols\r\nsec-websocket-accept: ${accept}\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\r\n`,
    );
    client.socket.write(bytes("ping"));
    await lab.until(() => client.text.endsWith("pong"), "the answer");
    expect(heads.map(withoutId)).toEqual([
      ":method CONNECT :protocol websocket :scheme http :authority web.shop :path /chat sec-websocket-version 13",
    ]);
  });
});

test("an unknown port: HTTP is found by its first bytes", async () => {
  const { lab, call } = await waypointLab(
    webService(""),
    answering(() => ok("x")),
  );
  const client = await call();
  client.socket.write(bytes("GET / HTTP/1.1\r\nHost: web.shop\r\n\r\n"));
  await lab.until(() => client.text.endsWith("x"), "the answer");
});
