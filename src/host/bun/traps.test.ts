/**
 * What Bun 1.4.5 really does, where it differs from what one would expect and the host relies on knowing it. A failure
 * here after an upgrade of Bun means: read the file named in the test, the work-around may go or may no longer hold.
 */
import { afterEach, describe, expect, test } from "bun:test";
import { assert } from "../../base/assert.ts";
import { IpAddress } from "../../base/ip.ts";
import { hostLimits } from "../../base/limits/host.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { Forge } from "../../pki/testing/forge.ts";
import type { Socket, TlsOptions } from "../host.ts";
import { describeIdentity, type TestAuthority, testAuthority } from "../testing/credentials.ts";
import { createBunHost } from "./host.ts";
import { LinuxSockets } from "./linux_socket.ts";
import { runProgram } from "./process.ts";

const authority = await testAuthority();
const host = createBunHost();
const loopback = address("127.0.0.1");
const cleanups: (() => void)[] = [];

afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

interface NativeTls {
  readonly serverVerdict: {
    readonly success: boolean;
    readonly code: string | undefined;
    readonly authorized: boolean;
  };
  readonly clientVerdict: { readonly success: boolean; readonly code: string | undefined };
}

describe("TLS handshakes (bun_tls.ts)", () => {
  test("the server calls the handshake of a foreign CA's client a success; authorized says otherwise", async () => {
    const { serverVerdict } = await nativeHandshake(authority.foreign);
    expect(serverVerdict).toEqual({
      success: true,
      code: "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
      authorized: false,
    });
  });

  test("the client refuses every SPIFFE server by its name, and there is no option for it", async () => {
    const { serverVerdict, clientVerdict } = await nativeHandshake(authority.client);
    expect(serverVerdict).toEqual({ success: true, code: undefined, authorized: true });
    expect(clientVerdict).toEqual({ success: false, code: "ERR_TLS_CERT_ALTNAME_INVALID" });
  });

  test("a protocol list that is a plain string is ignored; in wire format it is taken", async () => {
    expect(await negotiated("h2")).toBe(false);
    expect(await negotiated(Uint8Array.of(2, 0x68, 0x32))).toBe("h2");
  });

  test("every bit of the server's flight counts: a tampered handshake is refused, though leaf and protocol may be there", async () => {
    for (const fromEnd of [3, 40, 200, 600, 1_200]) {
      const dialling = tampered((bytes) => {
        const at = Math.max(120, bytes.length - fromEnd);
        bytes[at] = (bytes[at] ?? 0) ^ 1;
      });
      expect(await rejectionOf(dialling)).toMatchObject({ code: "tls_handshake", blame: "peer" });
    }
  });

  test("a TLS 1.2 client and a ChaCha20 client are refused", async () => {
    if ((await runProgram("sh", ["-c", "command -v openssl"], "", 60_000)).exitCode !== 0)
      return console.warn("bun_traps: no openssl command, so foreign TLS clients are NOT tested here");
    expect(await foreignClient(["-tls1_2"])).toBe("tls_handshake");
    expect(await foreignClient(["-ciphersuites", "TLS_CHACHA20_POLY1305_SHA256"])).toBe("tls_parameters");
    expect(await foreignClient(["-ciphersuites", "TLS_AES_256_GCM_SHA384"])).toBe("TLS_AES_256_GCM_SHA384");
  });

  test("TLS 1.3 suites cannot be chosen", () => {
    expect(() =>
      Bun.listen({
        hostname: "127.0.0.1",
        port: 0,
        tls: { ...serverFiles(), ciphers: "TLS_AES_128_GCM_SHA256" },
        socket: { data() {} },
      }),
    ).toThrow();
  });

  test("the hybrid post-quantum group X25519MLKEM768 is offered with a key share, first", async () => {
    const hello = await clientHello();
    expect(keyShareGroups(hello)[0]).toBe(0x11ec);
    expect(keyShareGroups(hello)).toContain(0x001d);
  });

  test("a chain of more certificates than the limit is refused", async () => {
    const forge = new Forge(runtimeProvider(), Date.now());
    const issuers = [authority.root];
    const chainOf = async (length: number) => {
      while (issuers.length < length) {
        const issuer = issuers.at(-1);
        assert(issuer !== undefined, "the root at least");
        issuers.push(await forge.ca({ subject: `CN=issuer ${issuers.length}`, issuer }));
      }
      const leaf = await forge.leaf(issuers[length - 1] ?? authority.root);
      return describeIdentity([leaf, ...issuers.slice(1, length).reverse()], authority.root.pem);
    };
    // Bun appends the root that it knows: leaf, issuers below the root, root.
    const longest = await chainOf(hostLimits.maxPeerCertificates - 1);
    expect(await serverOutcome(longest.credentials)).toBe("accepted");
    const tooLong = await chainOf(hostLimits.maxPeerCertificates);
    expect(await serverOutcome(tooLong.credentials)).toBe("tls_handshake");
  });
});

describe("sockets (bun_socket.ts, bun_connect.ts)", () => {
  test("Bun.connect calls every failure ECONNREFUSED; the host tells them apart", async () => {
    const broadcast = address("255.255.255.255");
    const bun = Bun.connect({ hostname: broadcast.text, port: 9, socket: { data() {}, connectError() {} } });
    expect(await rejectionOf(bun)).toMatchObject({ code: "ECONNREFUSED" });
    const ours = host.net.connect({ to: { ip: broadcast, port: 9 }, timeoutMs: 500 });
    expect(await rejectionOf(ours)).toMatchObject({
      code: expect.stringMatching(/^(connect_unreachable|permission_denied)$/),
    });
  });

  test("a write to a reset socket that is paused gives -1, and close is never called", async () => {
    let closes = 0;
    const accepted = Promise.withResolvers<Bun.Socket>();
    const listener = Bun.listen({
      hostname: "127.0.0.1",
      port: 0,
      socket: { data() {}, open: (socket) => accepted.resolve(socket) },
    });
    cleanups.push(() => listener.stop(true));
    const client = await Bun.connect({
      hostname: "127.0.0.1",
      port: listener.port,
      socket: { data() {}, close: () => void closes++ },
    });
    const server = await accepted.promise;
    client.pause();
    server.terminate();
    Bun.sleepSync(20);
    expect(client.write("x")).toBe(-1);
    await Bun.sleep(50);
    expect(closes).toBe(0);
  });

  test("addresses are forgotten at close, so the host reads them at open", async () => {
    const { client, server } = await pair();
    const port = server.remote.port;
    client.reset();
    server.setHandler({ onData() {}, onDrain() {}, onEnd() {}, onClose() {} });
    await Bun.sleep(30);
    expect(server.remote.port).toBe(port);
  });

  test("pointers stay good while the collector works (linux_socket.ts)", async () => {
    const linux = LinuxSockets.open();
    if (linux === null) return console.warn("bun_traps: not Linux, so FFI is NOT tested here");
    const { client } = await pair();
    const to = client.remote;
    for (let round = 0; round < 5_000; round++) {
      const fd = linux.dial({ to, from: null, mark: null, keepAlive: null, descriptorCeiling: 1 << 20 });
      expect(linux.takeError(fd)).toBe(0);
      linux.close(fd);
      if (round % 500 === 0) Bun.gc(true);
    }
    client.reset();
  });
});

describe("memory", () => {
  test("a thousand TLS connections leave nothing behind", async () => {
    const options = tlsOptions(authority.server.credentials);
    const listener = host.net.listen({ address: { ip: loopback, port: 0 }, tls: true }, (socket) => {
      void host.net.tlsServer(socket, options).then((server) => {
        server.setHandler({
          onData: (bytes) => server.write(bytes),
          onDrain() {},
          onEnd: () => server.end(),
          onClose() {},
        });
      });
    });
    const once = async () => {
      const plain = await host.net.connect({ to: listener.address, timeoutMs: 60_000 });
      const client = await host.net.tlsClient(plain, tlsOptions(authority.client.credentials));
      const { promise, resolve } = Promise.withResolvers<void>();
      client.setHandler({ onData: () => client.end(), onDrain() {}, onEnd() {}, onClose: () => resolve() });
      client.write(new Uint8Array(64));
      await promise;
    };
    const rounds = async (count: number) => {
      for (let round = 0; round < count; round += 20) await Promise.all(Array.from({ length: 20 }, once));
      await Bun.sleep(100);
      Bun.gc(true);
      return host.process.residentBytes();
    };
    await rounds(200);
    let resident = await rounds(200);
    // The allocator takes memory when it likes; only a leak takes it every time.
    const bytesEach: number[] = [];
    do {
      const before = resident;
      resident = await rounds(1_000);
      bytesEach.push((resident - before) / 1_000);
    } while (Math.min(...bytesEach) >= 4 * 1_024 && bytesEach.length < 4);
    console.info(
      `per thousand TLS connections, KiB each: ${bytesEach.map((one) => (one / 1_024).toFixed(2))}`,
    );
    expect(Math.min(...bytesEach)).toBeLessThan(4 * 1_024);
    listener.close();
  }, 300_000);
});

function address(text: string): IpAddress {
  const ip = IpAddress.parse(text);
  assert(ip !== null, text);
  return ip;
}

function tlsOptions(credentials: TlsOptions["credentials"]): TlsOptions {
  return { credentials, alpn: ["h2"], timeoutMs: 60_000 };
}

function serverFiles(): { readonly cert: string; readonly key: string; readonly ca: string } {
  const { certificateChainPem, privateKeyPem, trustedRootsPem } = authority.server.credentials;
  return { cert: certificateChainPem, key: privateKeyPem, ca: trustedRootsPem };
}

async function pair(): Promise<{ readonly client: Socket; readonly server: Socket }> {
  const accepted = Promise.withResolvers<Socket>();
  const listener = host.net.listen({ address: { ip: loopback, port: 0 } }, accepted.resolve);
  cleanups.push(() => listener.close());
  const client = await host.net.connect({ to: listener.address, timeoutMs: 60_000 });
  return { client, server: await accepted.promise };
}

/** Bun's own TLS on both ends, with the runtime's own checks switched on where they can be. */
async function nativeHandshake(client: TestAuthority["client"]): Promise<NativeTls> {
  const server = Promise.withResolvers<NativeTls["serverVerdict"]>();
  const listener = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    tls: { ...serverFiles(), requestCert: true, rejectUnauthorized: true },
    socket: {
      data() {},
      handshake: (socket, success, error) =>
        server.resolve({ success, code: codeOf(error), authorized: socket.authorized }),
    },
  });
  cleanups.push(() => listener.stop(true));
  const dialled = Promise.withResolvers<NativeTls["clientVerdict"]>();
  const { certificateChainPem, privateKeyPem, trustedRootsPem } = client.credentials;
  await Bun.connect({
    hostname: "127.0.0.1",
    port: listener.port,
    tls: { cert: certificateChainPem, key: privateKeyPem, ca: trustedRootsPem, rejectUnauthorized: false },
    socket: {
      data() {},
      handshake: (_, success, error) => dialled.resolve({ success, code: codeOf(error) }),
    },
  });
  return { clientVerdict: await dialled.promise, serverVerdict: await server.promise };
}

function codeOf(error: Error | null): string | undefined {
  return error !== null && "code" in error ? String(error.code) : undefined;
}

async function negotiated(protocols: string | Uint8Array<ArrayBuffer>): Promise<string | false | null> {
  const listener = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    tls: { ...serverFiles(), ALPNProtocols: Uint8Array.of(2, 0x68, 0x32) },
    socket: { data() {} },
  });
  cleanups.push(() => listener.stop(true));
  const done = Promise.withResolvers<string | false | null>();
  await Bun.connect({
    hostname: "127.0.0.1",
    port: listener.port,
    tls: { rejectUnauthorized: false, ALPNProtocols: protocols },
    socket: { data() {}, handshake: (socket) => done.resolve(socket.alpnProtocol) },
  });
  return await done.promise;
}

/** A client's handshake through somebody who changes what the server says. */
async function tampered(change: (bytes: Uint8Array) => void): Promise<Socket> {
  const server = host.net.listen({ address: { ip: loopback, port: 0 }, tls: true }, (socket) => {
    host.net.tlsServer(socket, tlsOptions(authority.server.credentials)).catch(() => {});
  });
  const between = host.net.listen({ address: { ip: loopback, port: 0 } }, async (near) => {
    const far = await host.net.connect({ to: server.address, timeoutMs: 60_000 });
    near.setHandler({
      onData: (bytes) => far.write(bytes),
      onDrain() {},
      onEnd: () => far.end(),
      onClose: () => far.close(),
    });
    far.setHandler({
      onData(bytes) {
        change(bytes);
        near.write(bytes);
      },
      onDrain() {},
      onEnd: () => near.end(),
      onClose: () => near.close(),
    });
  });
  cleanups.push(
    () => server.close(),
    () => between.close(),
  );
  const plain = await host.net.connect({ to: between.address, timeoutMs: 60_000 });
  return await host.net.tlsClient(plain, tlsOptions(authority.client.credentials));
}

/** What our server makes of a client: the code of its refusal, or `accepted`. */
async function serverOutcome(credentials: TlsOptions["credentials"]): Promise<string> {
  const outcome = Promise.withResolvers<string>();
  const listener = host.net.listen({ address: { ip: loopback, port: 0 }, tls: true }, (socket) => {
    host.net.tlsServer(socket, tlsOptions(authority.server.credentials)).then(
      () => outcome.resolve("accepted"),
      (error) => outcome.resolve(error.code),
    );
  });
  cleanups.push(() => listener.close());
  const plain = await host.net.connect({ to: listener.address, timeoutMs: 60_000 });
  host.net.tlsClient(plain, tlsOptions(credentials)).catch(() => {});
  return await outcome.promise;
}

/** @returns the code of the refusal, or the cipher suite. */
async function foreignClient(args: readonly string[]): Promise<string> {
  const outcome = Promise.withResolvers<string>();
  const listener = host.net.listen({ address: { ip: loopback, port: 0 }, tls: true }, (socket) => {
    host.net.tlsServer(socket, tlsOptions(authority.server.credentials)).then(
      (server) => {
        outcome.resolve(server.cipherSuite);
        server.reset();
      },
      (error) => outcome.resolve(error.code),
    );
  });
  cleanups.push(() => listener.close());
  const { certificateChainPem, privateKeyPem } = authority.client.credentials;
  const pem = JSON.stringify(certificateChainPem + privateKeyPem).replaceAll("\\n", "\n");
  const command = `f=$(mktemp); printf '%s' ${pem} > "$f"; openssl s_client -connect 127.0.0.1:${listener.address.port} -alpn h2 -cert "$f" -cert_chain "$f" -key "$f" ${args.join(" ")}; rm "$f"`;
  await runProgram("sh", ["-c", command], "", 60_000);
  return await outcome.promise;
}

/** The first bytes of our client's handshake. */
async function clientHello(): Promise<Uint8Array> {
  const { client, server } = await pair();
  const first = Promise.withResolvers<Uint8Array>();
  server.setHandler({ onData: first.resolve, onDrain() {}, onEnd() {}, onClose() {} });
  host.net.tlsClient(client, tlsOptions(authority.client.credentials)).catch(() => {});
  const hello = await first.promise;
  server.reset();
  return hello;
}

/** The groups of the key_share extension (RFC 8446 §4.2.8), in the client's order. */
function keyShareGroups(record: Uint8Array): number[] {
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  // Record header 5, handshake header 4, version 2, random 32.
  let offset = 5 + 4 + 2 + 32;
  offset += 1 + view.getUint8(offset); // session id
  offset += 2 + view.getUint16(offset); // cipher suites
  offset += 1 + view.getUint8(offset); // compression
  const end = offset + 2 + view.getUint16(offset);
  offset += 2;
  while (offset < end) {
    const type = view.getUint16(offset);
    const length = view.getUint16(offset + 2);
    offset += 4;
    if (type === 51) return shares(view, offset + 2, offset + length);
    offset += length;
  }
  return [];
}

function shares(view: DataView, start: number, end: number): number[] {
  const groups: number[] = [];
  for (let offset = start; offset < end; offset += 4 + view.getUint16(offset + 2))
    groups.push(view.getUint16(offset));
  return groups;
}
