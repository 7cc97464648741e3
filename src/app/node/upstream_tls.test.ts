import { describe, expect, test } from "bun:test";
import { MeshError } from "../../base/errors.ts";
import { parseSocketAddress, type SocketAddress } from "../../base/ip.ts";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { MemoryWorld } from "../../host/memory/world.ts";
import { workload } from "../../mesh/testing/fixture.ts";
import { defaultDestinationPolicy, type UpstreamTls } from "../../mesh/traffic/destination_policy.ts";
import { peculiarProvider } from "../../pki/crypto/peculiar_provider.ts";
import { runtimeProvider } from "../../pki/crypto/provider.ts";
import { encodePem } from "../../pki/der/pem.ts";
import { Forge } from "../../pki/testing/forge.ts";
import { MemoryFiles } from "../../pki/testing/memory_files.ts";
import type { Endpoint } from "../../waypoint/exchange.ts";
import { NamedFiles } from "../../waypoint/named_files.ts";
import { UpstreamTlsDial } from "./upstream_tls.ts";

const simple: UpstreamTls = {
  namespace: "shop",
  mode: "simple",
  sni: "",
  caCertificates: "roots.pem",
  caCrl: null,
  clientCertificate: null,
  privateKey: null,
  subjectAltNames: [],
  insecureSkipVerify: false,
  location: { file: "rule.yaml", line: 1, column: 1 },
};
const wanted = { http: 1, authority: "api.example:443" } as const;

function at(text: string): SocketAddress {
  const parsed = parseSocketAddress(text);
  if (parsed === null) throw new Error(text);
  return parsed;
}

const client = { source: at("10.0.0.1:258"), destination: at("10.0.0.2:443") };

function dialOf() {
  const { clock, net } = new MemoryWorld(1).machine("one", { addresses: ["10.0.0.1"] }).start();
  const files = new MemoryFiles();
  files.put("/files/shop/roots.pem", "roots");
  return new UpstreamTlsDial({ clock, net, files }, new NamedFiles(files, "/files"), peculiarProvider());
}

function endpointOf(policy: Partial<typeof defaultDestinationPolicy> | null): Endpoint {
  const made = { workload: workload("web"), port: 443, service: null, servicePort: 443 };
  return policy === null ? made : { ...made, policy: { ...defaultDestinationPolicy, ...policy } };
}

async function headerText(version: 1 | 2, of: Parameters<UpstreamTlsDial["of"]>[1]): Promise<string> {
  const opening = await dialOf().of(endpointOf({ proxyProtocol: version }), of, wanted);
  expect(opening?.secure).toBeNull();
  return String.fromCharCode(...(opening?.header ?? []));
}

describe("TLS to a server of the operator's own settings", () => {
  test("is verified by its name and the roots in a file, and by nothing less", async () => {
    const world = new MemoryWorld(1);
    const server = world.machine("two", { addresses: ["10.0.0.2"] }).start();
    const { clock, net } = world.machine("one", { addresses: ["10.0.0.1"] }).start();
    const provider = peculiarProvider();
    const forge = new Forge(runtimeProvider(), clock.wallMs());
    const [ours, another] = [await forge.ca(), await forge.ca()];
    const leaf = await forge.leaf(ours, { uris: [], dnsNames: ["collector.example"] });
    const exported = new Uint8Array(await crypto.subtle.exportKey("pkcs8", leaf.keys.privateKey));
    const credentials = {
      certificateChainPem: leaf.pem,
      privateKeyPem: encodePem("PRIVATE KEY", exported),
      trustedRootsPem: ours.pem,
    };
    server.net.listen({ address: at("10.0.0.2:4317"), tls: true }, (socket) => {
      const options = { credentials, alpn: ["h2"], timeoutMs: 5_000, clientCertificate: "request" } as const;
      server.net.tlsServer(socket, options).catch(() => {});
    });
    const files = new MemoryFiles();
    files.put("/ours.pem", ours.pem);
    files.put("/another.pem", another.pem);
    const dial = new UpstreamTlsDial({ clock, net, files }, new NamedFiles(files, null), provider);
    const secured = async (name: string, rootPath: string | null) => {
      const socket = await world.settle(net.connect({ to: at("10.0.0.2:4317"), timeoutMs: 5_000 }));
      return await world.settle(
        dial.secureByRoots(socket, name, rootPath).then(
          () => "secured",
          (error: unknown) => (error instanceof MeshError ? error.code : error),
        ),
      );
    };
    expect(await secured("collector.example", "/ours.pem")).toBe("secured");
    expect(await secured("other.example", "/ours.pem")).toBe("certificate_unexpected");
    expect(await secured("collector.example", "/another.pem")).toBe("certificate_signature");
    expect(await secured("collector.example", "/none.pem")).toBe("io");
    // This host has none.
    expect(await secured("collector.example", null)).toBe("configuration");
  });
});

describe("what a destination wants of each connection", async () => {
  test("is nothing where documents ask for nothing", async () => {
    expect(await dialOf().of(endpointOf(null), client, wanted)).toBeNull();
    expect(await dialOf().of(endpointOf({}), client, wanted)).toBeNull();
  });

  test("is TLS, or a PROXY header that tells of the client, or both", async () => {
    expect(await dialOf().of(endpointOf({ tls: simple }), client, wanted)).toMatchObject({ header: null });
    expect(await headerText(1, client)).toBe("PROXY TCP4 10.0.0.1 10.0.0.2 258 443\r\n");
    expect(await headerText(2, client)).toStartWith("\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x0a\0\0\x01");
    const both = await dialOf().of(endpointOf({ tls: simple, proxyProtocol: 2 }), client, wanted);
    expect(both?.secure).toBeFunction();
    expect(both?.header).not.toBeNull();
  });

  test("is an error before anything is dialled, where a file of it cannot be had", async () => {
    for (const named of [
      { caCertificates: "none.pem" },
      { caCrl: "none.pem" },
      { caCertificates: "/etc/passwd" },
    ])
      expect(
        await rejectionOf(dialOf().of(endpointOf({ tls: { ...simple, ...named } }), client, wanted)),
      ).toBeInstanceOf(MeshError);
  });

  test("tells no addresses where the client called a name", async () => {
    const named = { ...client, destination: { ip: null, port: 443 } };
    expect(await headerText(1, named)).toBe("PROXY UNKNOWN\r\n");
    expect(await headerText(2, named)).toEndWith("QUIT\n\x20\0\0\0");
  });
});
