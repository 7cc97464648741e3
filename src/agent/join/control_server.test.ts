import { expect, test } from "bun:test";
import { assert } from "../../base/assert.ts";
import { asMeshError, MeshError } from "../../base/errors.ts";
import { IpAddress } from "../../base/ip.ts";
import { silentLogger } from "../../base/log.ts";
import type { TokenSource } from "../../base/settings/node_control.ts";
import { Secret } from "../../base/settings/secret.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import { peculiarProvider } from "../../pki/crypto/peculiar_provider.ts";
import { decodePemLabel } from "../../pki/der/pem.ts";
import { CertificateAuthority } from "../../pki/issue/ca.ts";
import { istioCertificate } from "../../wire/grpc/services.ts";
import { ControlServer, type ControlServerOptions } from "./control_server.ts";

function ipOf(text: string): IpAddress {
  const ip = IpAddress.parse(text);
  assert(ip !== null, text);
  return ip;
}

async function bench() {
  const world = new MemoryWorld(1);
  const host = world.machine("node", { addresses: ["10.0.0.1"] }).start();
  const { clock } = host;
  const provider = peculiarProvider();
  const ca = await CertificateAuthority.create({ clock, provider, trustDomain: "cluster.local" });
  type Root = ControlServerOptions["server"]["root"];
  const open = (root: Root, change: Partial<ControlServerOptions> = {}, address = "10.0.0.9") => {
    const server = {
      address: { host: address, port: 15012 },
      name: null,
      root,
      headers: { "x-team": "blue" },
    };
    const credentials = {
      present: () => ({ credentials: null, bearer: null, spare: null }),
      rootsPem: ca.rootsPem,
    };
    return world.settle(
      ControlServer.open({
        ...{ host, provider, server, credentials, pin: null, clusterId: "edge", logger: silentLogger },
        ...change,
      }),
    );
  };
  const failure = async (work: Promise<unknown>): Promise<string> =>
    await work.then(
      () => "done",
      (thrown) => {
        const { code, message } = asMeshError(thrown, "io", "local");
        return `${code}: ${message}`;
      },
    );
  /** A certificate, as far as the call comes. */
  const called = (server: ControlServer): Promise<unknown> =>
    world.settle(server.unary(istioCertificate.createCertificate, {} as never));
  const write = (path: string, text: string) =>
    world.settle(host.files.writeAtomic(path, new TextEncoder().encode(text), 0o600));
  return { ca, open, failure, called, write, host, world };
}

test("its roots are none, as they are written, or in a file; what is no certificate is found at once", async () => {
  const { ca, open, failure, write } = await bench();
  (await open(null)).close();
  (await open({ kind: "pem", pem: ca.rootsPem })).close();
  expect(await failure(open({ kind: "pem", pem: "no certificate" }))).toStartWith("configuration: ");
  expect(await failure(open({ kind: "file", path: "/roots.pem" }))).toStartWith("io: ");
  await write("/roots.pem", ca.rootsPem);
  (await open({ kind: "file", path: "/roots.pem" })).close();
});

test("it is called by its host and port, in brackets where that has colons", async () => {
  const { open } = await bench();
  expect((await open(null)).name).toBe("10.0.0.9:15012");
  expect((await open(null, {}, "2001:db8::9")).name).toBe("[2001:db8::9]:15012");
});

test("a token that cannot be read fails the call, unless there is a certificate in reserve", async () => {
  const { open, failure, called } = await bench();
  const bearer: TokenSource = { kind: "file", path: "/token" };
  const spare = { certificateChainPem: "", privateKeyPem: "", trustedRootsPem: "" };
  const call = async (present: ReturnType<ControlServerOptions["credentials"]["present"]>) => {
    const server = await open(null, {
      credentials: { present: () => present, rootsPem: "" },
      pin: "00".repeat(32),
    });
    const said = await failure(called(server));
    server.close();
    return said;
  };
  expect(await call({ credentials: null, bearer, spare: null })).toStartWith("io: the token cannot be read");
  expect(await call({ credentials: null, bearer, spare })).not.toContain("token");
  const literal: TokenSource = { kind: "literal", token: new Secret("abc") };
  expect(await call({ credentials: null, bearer: literal, spare: null })).not.toContain("token");
});

test("a certificate in reserve is shown where there is a token that cannot be read, and there alone", async () => {
  const { ca, open, failure, called, host, world } = await bench();
  world
    .machine("control", { addresses: ["10.0.0.9"] })
    .start()
    .net.listen({ address: { ip: ipOf("10.0.0.9"), port: 15012 }, tls: true }, () => {});
  const shown: string[] = [];
  host.net.tlsClient = async (_socket, { credentials }) => {
    shown.push(credentials.certificateChainPem);
    throw new MeshError("tls_handshake", "peer", "far enough");
  };
  const named = (name: string) => ({ certificateChainPem: name, privateKeyPem: "", trustedRootsPem: "" });
  const unreadable: TokenSource = { kind: "file", path: "/token" };
  const readable: TokenSource = { kind: "literal", token: new Secret("abc") };
  for (const present of [
    { credentials: named("own"), bearer: null, spare: null },
    { credentials: named("own"), bearer: unreadable, spare: named("spare") },
    { credentials: null, bearer: unreadable, spare: named("spare") },
    { credentials: null, bearer: readable, spare: named("spare") },
    { credentials: null, bearer: readable, spare: null },
    { credentials: null, bearer: null, spare: named("spare") },
    { credentials: null, bearer: null, spare: null },
  ]) {
    const server = await open(null, { credentials: { present: () => present, rootsPem: ca.rootsPem } });
    expect(await failure(called(server))).toContain("far enough");
    server.close();
  }
  expect(shown).toEqual(["own", "own", "spare", "", "", "", ""]);
});

test("without roots the server is known by its pin, and one with another key is not it", async () => {
  const { ca, open, failure, called, host, world } = await bench();
  world
    .machine("control", { addresses: ["10.0.0.9"] })
    .start()
    .net.listen({ address: { ip: ipOf("10.0.0.9"), port: 15012 }, tls: true }, () => {});
  let seen = 0;
  host.net.tlsClient = async (socket) => {
    seen++;
    return Object.assign(socket, {
      peerChain: decodePemLabel(ca.rootsPem, "CERTIFICATE"),
      alpn: "h2",
    }) as never;
  };
  const credentials = { present: () => ({ credentials: null, bearer: null, spare: null }), rootsPem: null };
  const server = await open(null, { credentials, pin: "00".repeat(32) });
  expect(await failure(called(server))).toMatch(/pin/);
  expect(seen).toBe(1);
  server.close();
});

test("without roots and without a pin there is no call", async () => {
  const { open, failure, called } = await bench();
  const credentials = { present: () => ({ credentials: null, bearer: null, spare: null }), rootsPem: null };
  const server = await open(null, { credentials });
  expect(await failure(called(server))).toContain(
    "the control plane cannot be verified: give --control-root",
  );
  server.close();
});
