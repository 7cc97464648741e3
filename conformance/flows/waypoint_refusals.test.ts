import { describe, expect, test } from "bun:test";
import { MeshError } from "../../src/base/errors.ts";
import { H2Client } from "./h2_ends.ts";
import { shopId, workloadEntry } from "./lab.ts";
import { HbonePeer, svidOf } from "./peer.ts";
import { answering, bytes, ok, type WaypointLab, waypointLab, webService } from "./waypoint_lab.ts";

const get = (path: string, extra = "") => bytes(`GET ${path} HTTP/1.1\r\nHost: web.shop\r\n${extra}\r\n`);

describe("an authority that is not bound to this waypoint", () => {
  const others = `${workloadEntry("db", "10.0.0.4")}apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: db, namespace: shop}
spec:
  hosts: [db.shop]
  addresses: [10.88.0.4]
  ports: [{number: 5432, name: tcp, protocol: TCP, targetPort: 15432}]
  resolution: STATIC
  location: MESH_INTERNAL
  workloadSelector: {labels: {app: db}}
---
`;
  for (const [authority, status] of [
    ["10.88.0.4:5432", "400"],
    ["db.shop:5432", "400"],
    ["10.0.0.4:15432", "400"],
    ["10.0.0.1:8080", "400"],
    ["192.0.2.1:80", "400"],
    ["nobody.shop:80", "503"],
    ["127.0.0.1:80", "400"],
    ["169.254.169.254:80", "400"],
    ["10.88.0.3:81", "503"],
    ["10.88.0.3:0", "503"],
    ["10.88.0.3", "400"],
    ["10.88.0.3:80", "200"],
    ["web.shop:80", "200"],
    ["WEB.shop:80", "200"],
  ] as const)
    test(`${authority}: ${status}`, async () => {
      const { lab, cart } = await waypointLab(webService("HTTP", others));
      const svid = await svidOf(lab, cart.host, shopId("cart"));
      const peer = await HbonePeer.dial(lab, cart.host, "10.0.0.9:15008", svid);
      const { log } = peer.connect(authority);
      await lab.until(() => log.status !== null, "the answer");
      expect(log.status).toBe(status);
    });
});

describe("bytes that are no request", () => {
  for (const [what, input, status] of [
    ["garbage", "\x01\x02\x03\r\n\r\n", 400],
    ["two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400],
    [
      "a length and chunks",
      "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      400,
    ],
    [
      "an upgrade to h2c",
      "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
      400,
    ],
    ["CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405],
    ["a head of a megabyte", `GET / HTTP/1.1\r\nHost: a\r\nX: ${"y".repeat(1_000_000)}\r\n\r\n`, 431],
    ["TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400],
  ] as const)
    test(`${what}: ${status}, and nothing reaches the application`, async () => {
      const { lab, served, call } = await waypointLab(webService("HTTP"));
      const client = await call();
      for (let at = 0; at < input.length; at += 65_536)
        client.socket.write(bytes(input.slice(at, at + 65_536)));
      await lab.until(() => client.ends === 1 || client.closes === 1, "the end");
      expect(client.text.slice(0, 12)).toBe(`HTTP/1.1 ${status}`);
      expect(served.length).toBe(0);
    });

  test("a request behind a malformed one is not read", async () => {
    const { lab, served, call } = await waypointLab(webService("HTTP"));
    const client = await call();
    client.socket.write(
      bytes(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n\r\n",
      ),
    );
    await lab.until(() => client.ends === 1, "the end");
    expect([client.text.split("HTTP/1.1 ").length - 1, served.length]).toEqual([1, 0]);
  });

  test("a head that does not come to its end is given up in bounded time", async () => {
    const { lab, call } = await waypointLab(webService("HTTP"));
    const client = await call();
    client.socket.write(bytes("GET / HTTP/1.1\r\nHost: a\r\n"));
    await lab.until(() => client.ends === 1, "the end", 20_000);
    expect(client.text.slice(0, 12)).toBe("HTTP/1.1 408");
  });
});

describe("an endpoint that fails", () => {
  async function answerTo(onAccept: Parameters<typeof waypointLab>[1], request = get("/")) {
    const made = await waypointLab(webService("HTTP"), onAccept);
    const client = await made.call();
    client.socket.write(request);
    await made.lab.until(() => client.text.includes("\r\n\r\n") || client.closes === 1, "the answer", 60_000);
    return { ...made, client };
  }

  test("that is not there: 503", async () => {
    const made = await waypointLab(webService("HTTP").replace("targetPort: 8080", "targetPort: 8081"));
    const client = await made.call();
    client.socket.write(get("/"));
    await made.lab.until(() => client.text.includes("\r\n\r\n"), "the answer");
    expect(client.text.slice(0, 12)).toBe("HTTP/1.1 503");
  });

  test("that closes without an answer: 503", async () => {
    const { client } = await answerTo((peer) => peer.socket.close());
    expect(client.text.slice(0, 12)).toBe("HTTP/1.1 503");
  });

  for (const [what, answer] of [
    ["that speaks another protocol", "SSH-2.0-x\r\n"],
    ["whose answer has two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"],
    [
      "whose answer has a length and chunks",
      "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
    ["whose answer has a bare line feed", "HTTP/1.1 200 OK\nContent-Length: 0\n\n"],
    [
      "that upgrades without having been asked",
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
    ],
  ] as const)
    test(`${what}: 502`, async () => {
      const { client } = await answerTo(answering(() => answer));
      expect(client.text.slice(0, 12)).toBe("HTTP/1.1 502");
    });

  test("that breaks off half-way: the client sees a break, not an end", async () => {
    const { client, lab } = await answerTo((peer) => {
      peer.onData = () => {
        peer.socket.write(bytes("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"));
        peer.socket.end();
      };
    });
    await lab.until(() => client.closes === 1, "the close");
    expect([client.text.endsWith("half"), client.error?.code]).toEqual([true, "connection_reset"]);
  });

  test("that closes an idle connection: the next request goes over another", async () => {
    const { lab, client, served } = await answerTo(answering(() => ok("a")));
    served[0]?.socket.close();
    client.socket.write(get("/again"));
    await lab.until(() => client.text.split("200 OK").length === 3, "the second answer");
    expect(served.length).toBe(2);
  });

  test("that says more than its answer: the answer is whole, and no other request gets the rest", async () => {
    const { lab, client, served } = await answerTo(
      answering(() => `${ok("a")}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil`),
    );
    client.socket.write(get("/again"));
    await lab.until(() => client.text.split("200 OK").length === 3, "the second answer");
    expect([client.text.includes("evil"), served.length]).toEqual([false, 2]);
  });

  test("that is silent is waited for; a client that leaves meanwhile ends the wait", async () => {
    const { lab, served, call } = await waypointLab(webService("HTTP"));
    const client = await call();
    client.socket.write(get("/"));
    await lab.until(() => served[0]?.text.includes("GET") === true, "the request");
    client.socket.reset();
    await lab.until(() => served[0]?.closes === 1, "the end at the endpoint");
  });
});

describe("a request's content", () => {
  test("is passed on as it comes, with 100 Continue from the endpoint", async () => {
    const { lab, served, call } = await waypointLab(webService("HTTP"));
    const client = await call();
    client.socket.write(
      bytes("PUT /f HTTP/1.1\r\nHost: web.shop\r\nContent-Length: 6\r\nExpect: 100-continue\r\n\r\n"),
    );
    await lab.until(() => served[0]?.text.includes("expect: 100-continue") === true, "the head");
    served[0]?.socket.write(bytes("HTTP/1.1 100 Continue\r\n\r\n"));
    await lab.until(() => client.text === "HTTP/1.1 100 Continue\r\n\r\n", "100");
    client.socket.write(bytes("abc"));
    await lab.until(() => served[0]?.text.endsWith("abc") === true, "the first half");
    client.socket.write(bytes("def"));
    await lab.until(() => served[0]?.text.endsWith("abcdef") === true, "all of it");
    served[0]?.socket.write(bytes(ok("")));
    await lab.until(() => client.text.includes("200 OK"), "the answer");
  });

  test("that breaks off ends the request at the endpoint, which does not take it for whole", async () => {
    const { lab, served, call } = await waypointLab(webService("HTTP"));
    const client = await call();
    client.socket.write(bytes("POST / HTTP/1.1\r\nHost: web.shop\r\nContent-Length: 100\r\n\r\nhalf"));
    await lab.until(() => served[0]?.text.endsWith("half") === true, "the half");
    client.socket.end();
    await lab.until(() => served[0]?.closes === 1, "the end at the endpoint");
    expect(served[0]?.ends).toBe(0);
  });

  test("that is larger than a reader takes waits at its sender", async () => {
    const { lab, served, call } = await waypointLab(webService("HTTP"), (peer) => peer.socket.pause());
    const client = await call();
    client.socket.write(bytes("POST / HTTP/1.1\r\nHost: web.shop\r\nContent-Length: 100000000\r\n\r\n"));
    const chunk = new Uint8Array(256 * 1024);
    let sent = 0;
    for (let tries = 0; tries < 300; tries++) {
      sent += client.socket.write(chunk);
      await lab.run(2);
    }
    expect(sent).toBeLessThan(32 * 1024 * 1024);
    const held = sent;
    served[0]?.socket.resume();
    await lab.run(500);
    for (let tries = 0; tries < 20; tries++) {
      sent += client.socket.write(chunk);
      await lab.run(2);
    }
    expect(sent).toBeGreaterThan(held);
  });

  test("answered early: the answer comes, and the connection ends", async () => {
    const { lab, call } = await waypointLab(
      webService("HTTP"),
      answering(() => "HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno"),
    );
    const client = await call();
    client.socket.write(bytes("POST / HTTP/1.1\r\nHost: web.shop\r\nContent-Length: 1000\r\n\r\nx"));
    await lab.until(() => client.ends === 1, "the end");
    expect(client.text).toBe(
      "HTTP/1.1 413 Content Too Large\r\ncontent-length: 2\r\nconnection: close\r\n\r\nno",
    );
  });
});

describe("what is not HTTP", () => {
  const tcp = (protocol: string) =>
    waypointLab(webService(protocol), (peer) => peer.socket.write(bytes("220 hello")));

  for (const protocol of ["TCP", ""])
    test(`a server that speaks first, on a port of ${protocol === "" ? "no protocol" : protocol}`, async () => {
      const { lab, served, call, web, waypoint } = await tcp(protocol);
      const client = await call();
      await lab.until(() => client.text === "220 hello", "the greeting");
      client.socket.write(bytes("EHLO\r\n"));
      await lab.until(() => served[0]?.text === "EHLO\r\n", "the answer");
      client.socket.end();
      await lab.until(() => served[0]?.ends === 1, "the end");
      served[0]?.socket.end();
      await lab.until(() => client.ends === 1, "the other end");
      await lab.run(100);
      expect(web.access()[0]?.["src.identity"]).toBe("spiffe://cluster.local/ns/shop/sa/waypoint");
      expect([waypoint.access()[0]?.bytes_recv, waypoint.access()[0]?.bytes_sent]).toEqual([6, 9]);
    });
});

describe("drain", () => {
  async function open(): Promise<WaypointLab> {
    return await waypointLab(webService("HTTP"), (peer) => {
      peer.onData = (piece) => {
        if (new TextDecoder().decode(piece).includes("/slow")) setSlow(peer);
        else peer.socket.write(bytes(ok("fast")));
      };
    });
  }
  let answerSlow = null as (() => void) | null;
  const reset = () => {
    answerSlow = null;
  };
  function setSlow(peer: { socket: { write(piece: Uint8Array): number } }) {
    answerSlow = () => peer.socket.write(bytes(ok("slow")));
  }

  test("an idle connection ends, a request under way is answered with Connection: close", async () => {
    const { lab, waypoint, call } = await open();
    const idle = await call();
    idle.socket.write(get("/fast"));
    await lab.until(() => idle.text.endsWith("fast"), "an answer");
    const busy = await call();
    busy.socket.write(get("/slow"));
    await lab.until(() => answerSlow !== null, "the request");
    const drained = waypoint.node.drain();
    await lab.until(() => idle.ends === 1, "the idle one's end");
    answerSlow?.();
    await lab.until(() => busy.ends === 1, "the busy one's end");
    expect(busy.text).toBe("HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nslow");
    idle.socket.end();
    busy.socket.end();
    await lab.world.settle(drained);
    expect(waypoint.host.openDescriptors).toBe(0);
  });

  test("HTTP/2: GOAWAY, the stream under way ends well", async () => {
    const { lab, waypoint, call, cart } = await open();
    reset();
    const client = new H2Client(cart.host, await call());
    const { said } = client.get("/slow");
    await lab.until(() => answerSlow !== null, "the request");
    const drained = waypoint.node.drain();
    await lab.until(() => client.goAways > 0, "GOAWAY");
    answerSlow?.();
    await lab.until(() => said.ended, "the answer");
    expect([said.status, said.text]).toEqual(["200", "slow"]);
    await lab.world.settle(drained);
  });
});

test("trust in the client ends: its request ends with it", async () => {
  const { lab, served, call, waypoint } = await waypointLab(webService("HTTP"));
  const client = await call();
  client.socket.write(get("/"));
  await lab.until(() => served[0]?.text.includes("GET") === true, "the request");
  for (const connection of waypoint.node.context.connections)
    connection.abort(new MeshError("trust_changed", "policy", "revoked"));
  await lab.until(() => client.closes === 1 && served[0]?.closes === 1, "the end on both sides");
});

test("TLS goes on unread, and the hello is whole at the endpoint", async () => {
  const { lab, served, call } = await waypointLab(webService("TLS"));
  const client = await call();
  const hello = bytes(`\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00`);
  client.socket.write(hello.subarray(0, 4));
  await lab.run(50);
  client.socket.write(hello.subarray(4));
  await lab.until(() => served[0]?.byteCount === hello.length, "the hello");
  served[0]?.socket.write(bytes("\x15\x03"));
  await lab.until(() => client.byteCount === 2, "the answer");
});
