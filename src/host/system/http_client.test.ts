/** The HTTP client against real servers: whose certificate, which address, how long, how much. */
import { afterAll, afterEach, describe, expect, test } from "bun:test";
import { createServer as createTcpServer, type Server, type Socket } from "node:net";
import { createServer as createTlsServer, type TLSSocket } from "node:tls";
import { IpAddress } from "../../base/ip.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { encodePem } from "../../pki/der/pem.ts";
import { Forge, type Forged, type ForgeOptions } from "../../pki/testing/forge.ts";
import type { HttpRequest, HttpResponse } from "../host.ts";
import { SystemClock } from "./clock.ts";
import { SocketHttpClient } from "./http_client.ts";

const forge = new Forge(runtimeProvider(), Date.now());
const root = await forge.ca();
const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});
afterAll(() => {
  delete process.env.HTTPS_PROXY;
});

interface Seen {
  readonly connections: number;
  readonly requests: readonly string[];
  readonly serverNames: readonly unknown[];
}

/** Answers every request with `answer`; null for never. */
async function serve(
  leaf: Forged | null,
  answer: string | null | ((socket: Socket) => void),
): Promise<{ readonly port: number; readonly seen: Seen }> {
  const seen = { connections: 0, requests: [] as string[], serverNames: [] as unknown[] };
  const onSocket = (socket: Socket) => {
    seen.connections++;
    if (leaf !== null) seen.serverNames.push((socket as TLSSocket & { servername: unknown }).servername);
    socket.on("error", () => {});
    socket.on("data", (bytes) => {
      seen.requests.push(bytes.toString());
      if (typeof answer === "function") answer(socket);
      else if (answer !== null) socket.end(answer);
    });
    cleanups.push(() => socket.destroy());
  };
  const server: Server =
    leaf === null
      ? createTcpServer(onSocket)
      : createTlsServer({ cert: leaf.pem, key: await keyPem(leaf), ALPNProtocols: ["http/1.1"] }, onSocket);
  server.on("tlsClientError", () => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(() => server.close());
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("a port");
  return { port: address.port, seen };
}

async function keyPem(leaf: Forged): Promise<string> {
  return encodePem(
    "PRIVATE KEY",
    new Uint8Array(await crypto.subtle.exportKey("pkcs8", leaf.keys.privateKey)),
  );
}

function leafOf(options: ForgeOptions): Promise<Forged> {
  return forge.leaf(root, { uris: [], ...options });
}

/** @param names what each name resolves to; several lists are given one after the other. */
function send(
  url: string,
  more: Partial<HttpRequest> = {},
  names: Readonly<Record<string, readonly string[]>> = { "good.test": ["127.0.0.1"] },
): Promise<HttpResponse> {
  const client = new SocketHttpClient(new SystemClock(), async (hostname) => {
    const texts = names[hostname] ?? [hostname];
    return texts.map((text) => IpAddress.parse(text)).filter((ip) => ip !== null);
  });
  return client.send({
    method: "GET",
    url,
    timeoutMs: 60_000,
    maxResponseBytes: 1_000,
    reach: "any",
    trustedRootsPem: root.pem,
    ...more,
  });
}

describe("whose certificate", () => {
  test("the URL's host's: its name goes into SNI, Host and the check, the address only into the connect", async () => {
    const { port, seen } = await serve(await leafOf({ dnsNames: ["good.test"] }), ok);
    const response = await send(`https://good.test:${port}/x?y`);
    expect([response.status, new TextDecoder().decode(response.body)]).toEqual([200, "ok"]);
    expect(seen.serverNames).toEqual(["good.test"]);
    expect(seen.requests[0]).toStartWith(`GET /x?y HTTP/1.1\r\nHost: good.test:${port}\r\n`);
  });

  test("an address's, by its IP name", async () => {
    const { port } = await serve(await leafOf({ ipAddresses: ["127.0.0.1"] }), ok);
    expect((await send(`https://127.0.0.1:${port}/`)).status).toBe(200);
  });

  for (const [what, options, roots] of [
    ["another name's", { dnsNames: ["evil.test"] }, "ours"],
    ["the address's instead of the name's", { ipAddresses: ["127.0.0.1"] }, "ours"],
    ["one with the name only in its subject", { subject: "CN=good.test", uris: ["spiffe://a/b"] }, "ours"],
    ["an expired one", { dnsNames: ["good.test"], notBefore: new Date(0), notAfter: new Date(1) }, "ours"],
    ["one of a CA that the system does not know", { dnsNames: ["good.test"] }, "system"],
    ["one of a CA that is not the one that was named", { dnsNames: ["good.test"] }, "other"],
  ] as const)
    test(`${what} is tls_handshake, blame upstream, and nothing was said`, async () => {
      const { port, seen } = await serve(await leafOf(options), ok);
      const trusted = { ours: root.pem, other: (await forge.ca()).pem, system: null }[roots];
      const { trustedRootsPem: _, ...request } = {
        trustedRootsPem: "",
        url: `https://good.test:${port}/secret`,
      };
      const sent = new SocketHttpClient(new SystemClock(), async () => [parse("127.0.0.1")]).send({
        method: "GET",
        timeoutMs: 60_000,
        maxResponseBytes: 10,
        reach: "any",
        ...request,
        ...(trusted === null ? {} : { trustedRootsPem: trusted }),
      });
      expect(await rejectionOf(sent)).toMatchObject({ code: "tls_handshake", blame: "upstream" });
      expect(seen.requests).toEqual([]);
    });

  test("no environment variable says otherwise, nor sends the request elsewhere", async () => {
    const { port, seen } = await serve(await leafOf({ dnsNames: ["evil.test"] }), ok);
    const proxy = await serve(null, ok);
    process.env.HTTPS_PROXY = `http://127.0.0.1:${proxy.port}`;
    process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
    try {
      expect(await rejectionOf(send(`https://good.test:${port}/`))).toMatchObject({ code: "tls_handshake" });
    } finally {
      delete process.env.HTTPS_PROXY;
      delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    }
    expect([seen.requests.length, proxy.seen.connections]).toEqual([0, 0]);
  });

  test("a server that speaks no TLS is tls_handshake", async () => {
    const { port } = await serve(null, ok);
    expect(await rejectionOf(send(`https://good.test:${port}/`))).toMatchObject({
      code: "tls_handshake",
      blame: "upstream",
    });
  });
});

function parse(text: string): IpAddress {
  const ip = IpAddress.parse(text);
  if (ip === null) throw new Error(text);
  return ip;
}

describe("which address", () => {
  test("public reach: nothing that resolves to this machine or the metadata service is dialled", async () => {
    const { port, seen } = await serve(null, ok);
    for (const host of [
      "good.test",
      "127.0.0.1",
      "[::1]",
      "[::ffff:127.0.0.1]",
      "0x7f000001",
      "0.0.0.0",
      "169.254.169.254",
    ])
      expect(await rejectionOf(send(`http://${host}:${port}/`, { reach: "public" }))).toMatchObject({
        code: "address_forbidden",
        blame: "upstream",
      });
    expect(seen.connections).toBe(0);
  });

  test("a name that changes its mind after the check is asked once only", async () => {
    const { port, seen } = await serve(null, ok);
    let asked = 0;
    const client = new SocketHttpClient(new SystemClock(), async () => {
      asked++;
      return [parse(asked === 1 ? "192.0.2.1" : "127.0.0.1")];
    });
    const request = {
      method: "GET",
      url: `http://rebind.test:${port}/`,
      timeoutMs: 300,
      maxResponseBytes: 10,
      reach: "any",
    } as const;
    await client.send(request).catch(() => {});
    expect([asked, seen.connections]).toEqual([1, 0]);
  });

  test("the next address when the first has no listener; the request is said once", async () => {
    const { port, seen } = await serve(null, ok);
    const names = { "good.test": ["127.0.0.2", "127.0.0.1"] };
    expect((await send(`http://good.test:${port}/`, {}, names)).status).toBe(200);
    expect(seen.requests).toHaveLength(1);
  });

  test("no second try once a connection stood", async () => {
    const { port, seen } = await serve(null, (socket) => socket.destroy());
    const names = { "good.test": ["127.0.0.1", "127.0.0.1"] };
    expect(await rejectionOf(send(`http://good.test:${port}/`, { method: "POST" }, names))).toMatchObject({
      code: "connection_closed",
      blame: "upstream",
    });
    expect(seen.connections).toBe(1);
  });

  test("a port without a listener is connect_refused", async () => {
    const { port } = await serve(null, ok);
    const names = { "good.test": ["127.0.0.3"] };
    expect(await rejectionOf(send(`http://good.test:${port}/`, {}, names))).toMatchObject({
      code: "connect_refused",
      blame: "upstream",
    });
  });

  test("a redirect is an answer, and is not followed", async () => {
    const target = await serve(null, ok);
    const redirect = `HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:${target.port}/\r\nContent-Length: 0\r\n\r\n`;
    const { port } = await serve(null, redirect);
    const response = await send(`http://good.test:${port}/`);
    expect([response.status, response.headers.location]).toEqual([302, `http://127.0.0.1:${target.port}/`]);
    expect(target.seen.connections).toBe(0);
  });
});

describe("how long and how much", () => {
  test.each([
    ["says nothing", null],
    [
      "stops in the middle",
      (socket: Socket) => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"),
    ],
    [
      "gives a byte now and then",
      (socket: Socket) => {
        socket.write("HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n");
        const timer = setInterval(() => socket.write("x"), 20);
        cleanups.push(() => clearInterval(timer));
      },
    ],
  ] as const)("a server that %s is connect_timeout", async (_, answer) => {
    const { port } = await serve(
      null,
      typeof answer === "function" ? (socket) => void answer(socket) : answer,
    );
    const startedMs = performance.now();
    expect(await rejectionOf(send(`http://good.test:${port}/`, { timeoutMs: 150 }))).toMatchObject({
      code: "connect_timeout",
      blame: "upstream",
    });
    expect(performance.now() - startedMs).toBeGreaterThanOrEqual(149);
  });

  test("a name that never resolves counts too", async () => {
    const client = new SocketHttpClient(new SystemClock(), () => new Promise(() => {}));
    const sent = client.send({
      method: "GET",
      url: "http://slow.test/",
      timeoutMs: 50,
      maxResponseBytes: 1,
      reach: "any",
    });
    expect(await rejectionOf(sent)).toMatchObject({ code: "connect_timeout" });
  });

  test("an endless body is cut off at the bound, and the server is hung up on", async () => {
    let sent = 0;
    const closed = Promise.withResolvers<void>();
    const { port } = await serve(null, (socket) => {
      socket.on("close", () => closed.resolve());
      socket.write("HTTP/1.1 200 OK\r\n\r\n");
      const pump = () => {
        while (!socket.destroyed && socket.write(Buffer.alloc(16_384))) sent += 16_384;
      };
      socket.on("drain", pump);
      pump();
    });
    expect(await rejectionOf(send(`http://good.test:${port}/`))).toMatchObject({
      code: "limit_reached",
      blame: "upstream",
    });
    await closed.promise;
    expect(sent).toBeLessThan(64 * 1024 * 1024);
  });

  test("half a megabyte over TLS comes whole", async () => {
    const body = "x".repeat(512 * 1024);
    const { port } = await serve(
      await leafOf({ dnsNames: ["good.test"] }),
      `HTTP/1.1 200 OK\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    );
    const response = await send(`https://good.test:${port}/`, { maxResponseBytes: body.length });
    expect(new TextDecoder().decode(response.body)).toBe(body);
  });

  test("a body is sent with its length", async () => {
    const { port, seen } = await serve(null, ok);
    await send(`http://good.test:${port}/`, { method: "LIST", body: new TextEncoder().encode("{}") });
    expect(seen.requests.join("")).toMatch(/^LIST \/ HTTP[\s\S]*Content-Length: 2\r\n\r\n\{\}$/);
  });
});
