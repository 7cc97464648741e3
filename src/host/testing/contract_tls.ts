/**
 * TLS: chains are shown as they are and never judged; what was not negotiated as wanted fails; nothing is read or
 * written before the caller says so.
 */
import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import type { TlsCredentials, TlsOptions } from "../host.ts";
import type { HostFixture } from "./contract.ts";
import { type TestIdentity, testAuthority } from "./credentials.ts";
import { bytesOf, connectPair, connectTls, pattern, Recorder, writeAll } from "./recorder.ts";

export function contractTls(fixture: () => HostFixture): void {
  const options = (credentials: TlsCredentials, alpn: readonly string[] = ["h2"]): TlsOptions => ({
    credentials,
    alpn,
    timeoutMs: 60_000,
  });
  const good = async () => {
    const { client, server } = await testAuthority();
    return await connectTls(fixture(), options(client.credentials), options(server.credentials));
  };

  test("both sides see the other's chain, leaf first, and what was negotiated", async () => {
    const authority = await testAuthority();
    const { client, server } = await good();
    expectChain(server.peerChain, authority.client, authority.root.der);
    expectChain(client.peerChain, authority.server, authority.root.der);
    for (const socket of [client, server]) {
      expect(socket.alpn).toBe("h2");
      expect(socket.tlsVersion).toBe("TLSv1.3");
      expect(socket.cipherSuite).toMatch(/^TLS_AES_(128_GCM_SHA256|256_GCM_SHA384)$/);
    }
    expect(client.remote.port).toBe(server.local.port);
    client.reset();
    server.reset();
  });

  test("megabytes pass both ways, and each side ends by itself", async () => {
    const pair = await good();
    const [client, server] = [new Recorder(pair.client), new Recorder(pair.server)];
    const sent = pattern(8 * 1024 * 1024);
    await writeAll(fixture(), client, sent);
    client.socket.end();
    await fixture().until(() => server.ends === 1, "the client's end");
    expect(Buffer.compare(server.bytes, sent)).toBe(0);
    await writeAll(fixture(), server, sent);
    expect(client.closes).toBe(0);
    server.socket.end();
    await fixture().until(() => client.closes === 1 && server.closes === 1, "both closes");
    expect(Buffer.compare(client.bytes, sent)).toBe(0);
    expect([client.error, server.error]).toEqual([null, null]);
    expect(client.order).toEqual(["data", "end", "close"]);
  });

  test("what the client says at once waits for the server's handler", async () => {
    const pair = await good();
    const client = new Recorder(pair.client);
    client.socket.write(bytesOf("eager"));
    client.socket.end();
    await fixture().pass(50);
    const server = new Recorder(pair.server);
    expect(server.order).toEqual([]);
    await fixture().until(() => server.ends === 1, "the end");
    expect(server.text).toBe("eager");
    server.socket.close();
    await fixture().until(() => client.closes === 1, "the close");
    expect(client.error).toBeNull();
  });

  test("a paused reader holds the writer back", async () => {
    const pair = await good();
    const [client, server] = [new Recorder(pair.client), new Recorder(pair.server)];
    server.socket.pause();
    const sent = pattern(24 * 1024 * 1024);
    let offset = 0;
    for (let round = 0; round < 20; round++) {
      offset += client.socket.write(sent.subarray(offset));
      await fixture().pass(10);
    }
    expect(offset).toBeLessThan(sent.length);
    expect(server.byteCount).toBe(0);
    server.socket.resume();
    await writeAll(fixture(), client, sent.subarray(offset));
    await fixture().until(() => server.byteCount === sent.length, "all bytes");
    expect(Buffer.compare(server.bytes, sent)).toBe(0);
    client.socket.reset();
    server.socket.reset();
  });

  test("a reset under TLS is an error at the peer", async () => {
    const pair = await good();
    const [client, server] = [new Recorder(pair.client), new Recorder(pair.server)];
    client.socket.write(bytesOf("x"));
    await fixture().until(() => server.byteCount === 1, "the bytes");
    client.socket.reset();
    await fixture().until(() => server.closes === 1, "the reset");
    expect(server.error?.code).toBe("connection_reset");
  });

  test("a close sends what was written before it", async () => {
    const pair = await good();
    const [client, server] = [new Recorder(pair.client), new Recorder(pair.server)];
    const sent = pattern(256 * 1024);
    expect(client.socket.write(sent)).toBe(sent.length);
    client.socket.close();
    await fixture().until(() => server.ends === 1 && client.closes === 1, "the end");
    expect(Buffer.compare(server.bytes, sent)).toBe(0);
    server.socket.end();
    await fixture().until(() => server.closes === 1, "the close");
    expect([client.error, server.error]).toEqual([null, null]);
  });

  for (const kind of ["foreign", "expired", "selfSigned"] as const) {
    test(`a client certificate that is ${kind} is shown, not judged`, async () => {
      const authority = await testAuthority();
      const pair = await connectTls(
        fixture(),
        options(authority[kind].credentials),
        options(authority.server.credentials),
      );
      expectChain(pair.server.peerChain, authority[kind], authority.root.der);
      pair.client.reset();
      pair.server.reset();
    });

    test(`a server certificate that is ${kind} is shown, not judged`, async () => {
      const authority = await testAuthority();
      const pair = await connectTls(
        fixture(),
        options(authority.client.credentials),
        options(authority[kind].credentials),
      );
      expectChain(pair.client.peerChain, authority[kind], authority.root.der);
      pair.client.reset();
      pair.server.reset();
    });
  }

  test("a client without a certificate is certificate_missing, blame peer", async () => {
    const { anonymous, server } = await testAuthority();
    const { net } = fixture().host;
    const pair = await connectPair(fixture(), true);
    const accepting = net.tlsServer(pair.server, options(server.credentials));
    // In TLS 1.3 the client is done before the server looks at what it showed; either outcome is the client's to see.
    const dialling = net.tlsClient(pair.client, options(anonymous)).catch(() => null);
    expect(await rejectionOf(fixture().settled(accepting))).toMatchObject({
      code: "certificate_missing",
      blame: "peer",
    });
    (await fixture().settled(dialling))?.reset();
    pair.close();
  });

  describe("a certificate that is asked for and not demanded", () => {
    const asking = async (): Promise<TlsOptions> => ({
      ...options((await testAuthority()).server.credentials),
      clientCertificate: "request",
    });

    test("a client that shows none is served, and its chain is empty", async () => {
      const { anonymous } = await testAuthority();
      const pair = await connectTls(fixture(), options(anonymous), await asking());
      expect(pair.server.peerChain).toEqual([]);
      const [client, server] = [new Recorder(pair.client), new Recorder(pair.server)];
      client.socket.write(bytesOf("nobody"));
      await fixture().until(() => server.byteCount === 6, "the bytes");
      server.socket.write(bytesOf("welcome"));
      await fixture().until(() => client.byteCount === 7, "the answer");
      client.socket.reset();
      server.socket.reset();
    });

    for (const kind of ["client", "foreign", "expired", "selfSigned"] as const)
      test(`a chain that is shown is shown whole and not judged: ${kind}`, async () => {
        const authority = await testAuthority();
        const pair = await connectTls(fixture(), options(authority[kind].credentials), await asking());
        expectChain(pair.server.peerChain, authority[kind], authority.root.der);
        pair.client.reset();
        pair.server.reset();
      });

    for (const [what, chain] of [
      ["says something else", "GET / HTTP/1.1\r\n\r\n"],
      ["says garbage", "\x16\x03\x01\x00\x05\x01\x00\x00\x01\xff"],
    ] as const)
      test(`a client that ${what} is tls_handshake, blame peer, and not a client without certificate`, async () => {
        const pair = await connectPair(fixture(), true);
        const accepting = fixture().host.net.tlsServer(pair.server, await asking());
        pair.client.write(bytesOf(chain));
        expect(await rejectionOf(fixture().settled(accepting))).toMatchObject({
          code: "tls_handshake",
          blame: "peer",
        });
        pair.client.reset();
        pair.close();
      });

    test("a longer chain than allowed fails, rather than to count as none", async () => {
      const authority = await testAuthority();
      // Each the issuer of the one before: what is in no chain, some hosts do not show.
      const pair = await connectPair(fixture(), true);
      const accepting = fixture().host.net.tlsServer(pair.server, await asking());
      const dialling = fixture()
        .host.net.tlsClient(pair.client, options(authority.longChain.credentials))
        .catch(() => null);
      expect(await rejectionOf(fixture().settled(accepting))).toMatchObject({
        code: "tls_handshake",
        blame: "peer",
      });
      (await fixture().settled(dialling))?.reset();
      pair.close();
    });
  });

  test("a client that has no roots yet is shown a chain to its end, the root", async () => {
    const authority = await testAuthority();
    const { credentials, chain } = authority.server;
    const certificateChainPem = `${credentials.certificateChainPem}${authority.root.pem}`;
    const pair = await connectTls(
      fixture(),
      { ...options({ ...authority.anonymous, trustedRootsPem: "" }), serverName: "control.example" },
      { ...options({ ...credentials, certificateChainPem }), clientCertificate: "request" },
    );
    expect(pair.client.peerChain).toEqual([...chain, authority.root.der]);
    expect(pair.server.peerChain).toEqual([]);
    pair.client.reset();
    pair.server.reset();
  });

  test("the first protocol that both know is taken", async () => {
    const { client, server } = await testAuthority();
    const pair = await connectTls(
      fixture(),
      options(client.credentials, ["nobody/1", "h2"]),
      options(server.credentials, ["h2", "http/1.1"]),
    );
    expect([pair.client.alpn, pair.server.alpn]).toEqual(["h2", "h2"]);
    pair.client.reset();
    pair.server.reset();
  });

  test("no protocol in common fails on both sides", async () => {
    const { client, server } = await testAuthority();
    const { net } = fixture().host;
    const pair = await connectPair(fixture(), true);
    const results = await fixture().settled(
      Promise.allSettled([
        net.tlsServer(pair.server, options(server.credentials, ["h2"])),
        net.tlsClient(pair.client, options(client.credentials, ["http/1.1"])),
      ]),
    );
    for (const result of results) {
      expect(result.status).toBe("rejected");
      if (result.status === "rejected")
        expect(["tls_handshake", "tls_parameters"]).toContain(result.reason.code);
    }
    pair.close();
  });

  for (const [what, act] of [
    [
      "says something else",
      (socket: { write(bytes: Uint8Array): number }) => socket.write(bytesOf("GET / HTTP/1.1\r\n\r\n")),
    ],
    ["goes away", (socket: { reset(): void }) => socket.reset()],
    ["ends", (socket: { end(): void }) => socket.end()],
  ] as const) {
    test(`a client that ${what} during the handshake is tls_handshake, blame peer`, async () => {
      const { server } = await testAuthority();
      const pair = await connectPair(fixture(), true);
      const accepting = fixture().host.net.tlsServer(pair.server, options(server.credentials));
      act(pair.client);
      expect(await rejectionOf(fixture().settled(accepting))).toMatchObject({
        code: "tls_handshake",
        blame: "peer",
      });
      pair.client.reset();
      pair.close();
    });
  }

  for (const role of ["tlsServer", "tlsClient"] as const) {
    test(`${role}: a peer that says nothing is tls_handshake after the time-out`, async () => {
      const authority = await testAuthority();
      const pair = await connectPair(fixture(), true);
      const [socket, peer] = role === "tlsServer" ? [pair.server, pair.client] : [pair.client, pair.server];
      const startedMs = fixture().host.clock.now();
      const upgrading = fixture().host.net[role](socket, {
        ...options(authority.server.credentials),
        timeoutMs: 150,
      });
      expect(await rejectionOf(fixture().settled(upgrading))).toMatchObject({
        code: "tls_handshake",
        blame: "peer",
      });
      expect(fixture().host.clock.now() - startedMs).toBeGreaterThanOrEqual(149);
      peer.reset();
      pair.close();
    });
  }

  test("a handshake that is given up fails with the reason, and the peer sees the end", async () => {
    const { server } = await testAuthority();
    const pair = await connectPair(fixture(), true);
    const far = new Recorder(pair.client);
    const giveUp = new AbortController();
    const accepting = fixture().host.net.tlsServer(pair.server, {
      ...options(server.credentials),
      signal: giveUp.signal,
    });
    const reason = new MeshError("limit_reached", "peer", "to make room");
    giveUp.abort(reason);
    expect(await rejectionOf(fixture().settled(accepting))).toBe(reason);
    await fixture().pass(30);
    expect(far.ends + far.closes).toBeGreaterThan(0);
    pair.client.reset();
    pair.close();
  });

  test("a connection that is gone already fails its upgrade", async () => {
    const { server } = await testAuthority();
    const pair = await connectPair(fixture(), true);
    pair.client.reset();
    await fixture().pass(30);
    expect(
      await rejectionOf(
        fixture().settled(fixture().host.net.tlsServer(pair.server, options(server.credentials))),
      ),
    ).toMatchObject({ code: "tls_handshake", blame: "peer" });
    pair.close();
  });

  test("a socket that waited before it was upgraded lost nothing", async () => {
    const authority = await testAuthority();
    const { net } = fixture().host;
    const pair = await connectPair(fixture(), true);
    const dialling = net.tlsClient(pair.client, options(authority.client.credentials));
    await fixture().pass(50);
    const accepting = net.tlsServer(pair.server, options(authority.server.credentials));
    const [client, server] = await fixture().settled(Promise.all([dialling, accepting]));
    expect(server.peerChain.length).toBeGreaterThanOrEqual(3);
    client.reset();
    server.reset();
    pair.close();
  });
}

/** A host may append the trust anchor that it knows; what was shown stands before it. */
function expectChain(chain: readonly Uint8Array[], identity: TestIdentity, root: Uint8Array): void {
  const shown = chain.slice(0, identity.chain.length);
  expect(shown).toEqual([...identity.chain]);
  for (const extra of chain.slice(identity.chain.length)) expect(extra).toEqual(root);
}
