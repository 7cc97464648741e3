/** A server that asks for a certificate and does not demand one, before a client that is not ours. */
import { afterEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assert } from "../../base/assert.ts";
import type { MeshError } from "../../base/errors.ts";
import { IpAddress } from "../../base/ip.ts";
import type { TlsCredentials, TlsSocket } from "../host.ts";
import { testAuthority } from "../testing/credentials.ts";
import { createBunHost } from "./host.ts";

const authority = await testAuthority();
const { net } = createBunHost();
const cleanups: (() => void)[] = [];
const hasOpenssl = Bun.which("openssl") !== null;

afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** One connection of `openssl s_client`. @returns what our server made of it, and what the client has printed. */
async function meet(
  shown: TlsCredentials | null,
  flags: readonly string[] = [],
): Promise<{ readonly server: TlsSocket | MeshError; readonly printed: string }> {
  const ip = IpAddress.parse("127.0.0.1");
  assert(ip !== null, "loopback");
  const { credentials } = authority.server;
  const outcome = Promise.withResolvers<TlsSocket | MeshError>();
  const listener = net.listen({ address: { ip, port: 0 }, tls: true }, (socket) => {
    const certificateChainPem = `${credentials.certificateChainPem}${authority.root.pem}`;
    net
      .tlsServer(socket, {
        credentials: { ...credentials, certificateChainPem },
        alpn: ["h2"],
        timeoutMs: 60_000,
        clientCertificate: "request",
      })
      .then(outcome.resolve, outcome.resolve);
  });
  const directory = mkdtempSync(join(tmpdir(), "fairlead-tls-"));
  cleanups.push(
    () => listener.close(),
    () => rmSync(directory, { recursive: true }),
  );
  const client = Bun.spawn(
    [
      ...[
        "openssl",
        "s_client",
        "-connect",
        `127.0.0.1:${listener.address.port}`,
        "-alpn",
        "h2",
        "-showcerts",
      ],
      ...(shown === null ? [] : shownFlags(directory, shown)),
      ...flags,
    ],
    { stdin: "pipe", stdout: "pipe", stderr: "ignore" },
  );
  const server = await outcome.promise;
  await client.stdin.end();
  if (!(server instanceof Error)) server.close();
  return { server, printed: await new Response(client.stdout).text() };
}

function shownFlags(directory: string, shown: TlsCredentials): string[] {
  const [leaf, issuers, key] = ["leaf", "issuers", "key"].map((name) => join(directory, `${name}.pem`));
  const [first = "", ...others] =
    shown.certificateChainPem.match(/-----BEGIN[^-]+-----[^-]+-----END[^-]+-----/g) ?? [];
  writeFileSync(`${leaf}`, first);
  writeFileSync(`${issuers}`, others.join("\n"));
  writeFileSync(`${key}`, shown.privateKeyPem);
  const chain = others.length === 0 ? [] : ["-cert_chain", `${issuers}`];
  return ["-cert", `${leaf}`, "-key", `${key}`, ...chain];
}

function chainOf(server: TlsSocket | MeshError): readonly Uint8Array[] {
  if (server instanceof Error) throw server;
  return server.peerChain;
}

describe.skipIf(!hasOpenssl)("a certificate that is asked for, by openssl (needs openssl)", () => {
  test("none is an empty chain, and the server's own ends with the root", async () => {
    const { server, printed } = await meet(null);
    expect(chainOf(server)).toEqual([]);
    const sent = [...printed.matchAll(/-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g)];
    const withoutBreaks = (pem: string | undefined) => pem?.replace(/\s/g, "");
    // The leaf is printed once more at the end.
    expect(withoutBreaks(sent[authority.server.chain.length]?.[0])).toBe(withoutBreaks(authority.root.pem));
  });

  for (const kind of ["client", "foreign", "expired", "selfSigned"] as const)
    test(`${kind} is shown whole`, async () => {
      const { chain, credentials } = authority[kind];
      const shown = chainOf((await meet(credentials)).server);
      expect(shown.slice(0, chain.length)).toEqual([...chain]);
    });

  test("TLS 1.2 is refused all the same", async () => {
    const { server } = await meet(null, ["-tls1_2"]);
    expect(server).toMatchObject({ code: "tls_handshake", blame: "peer" });
  });
});
