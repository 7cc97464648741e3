/** How a waypoint reaches endpoints, as DestinationRules say. */
import { describe, expect, test } from "bun:test";
import { type H2Call, serveH2 } from "./h2_ends.ts";
import { answering, bytes, ok, type WaypointLab, waypointLab, webService } from "./waypoint_lab.ts";

const get = (path: string) => bytes(`GET ${path} HTTP/1.1\r\nHost: web.shop\r\n\r\n`);

function rule(trafficPolicy: string): string {
  return `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: web, namespace: shop}
spec:
  host: web.shop
  trafficPolicy: ${trafficPolicy}
---
`;
}

async function asked(made: WaypointLab, requests: number): Promise<string> {
  const client = await made.call();
  for (let index = 1; index <= requests; index++) {
    client.socket.write(get(`/${index}`));
    await made.lab.until(
      () => client.text.split("HTTP/1.1 ").length === index + 1 && !client.text.endsWith("\r\n\r\n"),
      `answer ${index}`,
    );
  }
  return client.text;
}

describe("a DestinationRule's connection pool", () => {
  test("without one: a connection is kept for the next request", async () => {
    const made = await waypointLab(
      webService("HTTP"),
      answering(() => ok("x")),
    );
    await asked(made, 3);
    expect(made.served.length).toBe(1);
  });

  test("maxRequestsPerConnection: each connection carries so many", async () => {
    const documents = webService("HTTP") + rule("{connectionPool: {http: {maxRequestsPerConnection: 2}}}");
    const made = await waypointLab(
      documents,
      answering(() => ok("x")),
    );
    await asked(made, 4);
    expect(made.served.length).toBe(2);
    await made.lab.until(() => made.served[0]?.ends === 1, "the end of the one that did its share");
  });

  for (const [what, pool, protocol, port] of [
    ["h2UpgradePolicy: UPGRADE: HTTP/2 to a port of HTTP", "{http: {h2UpgradePolicy: UPGRADE}}", 2, "HTTP"],
    ["useClientProtocol: HTTP/1.1 to a port of HTTP/2", "{http: {useClientProtocol: true}}", 1, "HTTP2"],
  ] as const)
    test(what, async () => {
      const calls: H2Call[] = [];
      const made: WaypointLab = await waypointLab(
        webService(port) + rule(`{connectionPool: ${pool}}`),
        (peer) => {
          if (protocol === 1) {
            answering(() => ok("x"))(peer);
            return;
          }
          serveH2(made.web.host, peer.socket, (call) => {
            calls.push(call);
            call.stream.sendHeaders([":status", "200", "content-length", "1"], false);
            call.stream.sendData(bytes("x"), true);
          });
        },
      );
      await asked(made, 1);
      expect(calls.length).toBe(protocol === 2 ? 1 : 0);
    });

  test("maxConnections and http1MaxPendingRequests: one is sent, one waits, the third is answered 503", async () => {
    const limits = "{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}}";
    const answers: (() => void)[] = [];
    const made = await waypointLab(webService("HTTP") + rule(limits), (peer) => {
      peer.onData = () => answers.push(() => peer.socket.write(bytes(ok("x"))));
    });
    const clients = [await made.call(), await made.call(), await made.call()];
    for (const client of clients) {
      client.socket.write(get("/"));
      await made.lab.run(100);
    }
    await made.lab.until(() => clients[2]?.text.includes("HTTP/1.1 503") === true, "the refusal");
    expect([answers.length, clients[2]?.text.includes("x-envoy-overloaded: true")]).toEqual([1, true]);
    answers[0]?.();
    await made.lab.until(() => answers.length === 2, "the one that waited");
    answers[1]?.();
    await made.lab.until(() => clients[1]?.text.endsWith("x") === true, "its answer");
    expect([clients[0]?.text.endsWith("x"), made.served.length]).toEqual([true, 1]);
  });

  test("a request that waits for a connection ends with its client, and gives its place back", async () => {
    const limits = "{connectionPool: {tcp: {maxConnections: 1}, http: {http1MaxPendingRequests: 1}}}";
    const answers: (() => void)[] = [];
    const made = await waypointLab(webService("HTTP") + rule(limits), (peer) => {
      peer.onData = () => answers.push(() => peer.socket.write(bytes(ok("x"))));
    });
    const [first, second, third] = [await made.call(), await made.call(), await made.call()];
    for (const client of [first, second]) {
      client.socket.write(get("/"));
      await made.lab.run(100);
    }
    second.socket.reset();
    await made.lab.run(100);
    third.socket.write(get("/"));
    await made.lab.run(100);
    answers[0]?.();
    await made.lab.until(() => answers.length === 2, "the third");
    answers[1]?.();
    await made.lab.until(() => third.text.endsWith("x"), "its answer");
  });

  for (const [idleTimeout, keptMs, goneMs] of [
    ["2s", 1_500, 3_500],
    ["5m", 290_000, 330_000],
  ] as const)
    test(`http.idleTimeout ${idleTimeout}: a connection without a request is kept for so long`, async () => {
      const documents = webService("HTTP") + rule(`{connectionPool: {http: {idleTimeout: ${idleTimeout}}}}`);
      const made = await waypointLab(
        documents,
        answering(() => ok("x")),
      );
      await asked(made, 1);
      await made.lab.run(keptMs);
      expect(made.served[0]?.ends).toBe(0);
      await made.lab.run(goneMs - keptMs);
      expect(made.served[0]?.ends).toBe(1);
    });

  test("connectTimeout: an endpoint that does not answer is given up: 503", async () => {
    const documents = webService("HTTP") + rule("{connectionPool: {tcp: {connectTimeout: 300ms}}}");
    const made = await waypointLab(documents);
    // The endpoint's host is gone: nothing there answers, not even with a refusal.
    made.lab.world.partition("waypoint", "two");
    const from = made.lab.world.nowMs;
    const client = await made.call();
    client.socket.write(get("/"));
    await made.lab.until(() => client.text.includes("HTTP/1.1 503"), "the answer");
    expect(made.lab.world.nowMs - from).toBeLessThan(3_000);
  });
});

test("TLS that is asked for and cannot be is an error, never a connection without it", async () => {
  const made = await waypointLab(
    webService("HTTP") + rule("{tls: {mode: SIMPLE, caCertificates: /roots.pem}}"),
  );
  const client = await made.call();
  client.socket.write(get("/"));
  await made.lab.until(() => client.text.includes("HTTP/1.1 503"), "the answer");
  expect(made.served.length).toBe(0);
});

describe("connections that are carried unread", () => {
  const limited = (tcp: string) => waypointLab(webService("TCP") + rule(`{connectionPool: {tcp: ${tcp}}}`));

  test("maxConnections: the second is refused until the first has ended", async () => {
    const made = await limited("{maxConnections: 1}");
    const first = await made.call();
    await made.lab.until(() => made.served.length === 1, "the first");
    const second = await made.call();
    await made.lab.until(() => second.closes === 1, "the refusal");
    first.socket.reset();
    await made.lab.until(() => made.served[0]?.closes === 1, "the end of the first");
    await made.lab.run(200);
    await made.call();
    await made.lab.until(() => made.served.length === 2, "the third");
  });

  test("idleTimeout: silence ends it, and what is said puts that off", async () => {
    const made = await limited("{idleTimeout: 10s}");
    const client = await made.call();
    await made.lab.until(() => made.served.length === 1, "the connection");
    await made.lab.run(9_000);
    client.socket.write(bytes("x"));
    await made.lab.run(9_000);
    expect(client.closes).toBe(0);
    await made.lab.until(() => client.closes === 1 && made.served[0]?.closes === 1, "the end", 15_000);
  });

  test("maxConnectionDuration: it ends whatever is said", async () => {
    const made = await limited("{maxConnectionDuration: 5s}");
    const client = await made.call();
    for (let second = 0; second < 4; second++) {
      client.socket.write(bytes("x"));
      await made.lab.run(1_000);
    }
    expect(client.closes).toBe(0);
    await made.lab.until(() => client.closes === 1, "the end", 3_000);
  });
});
