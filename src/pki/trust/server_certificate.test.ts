import { beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { MeshError } from "../../base/errors.ts";
import { silentLogger } from "../../base/log.ts";
import { outcomeOf } from "../../base/testing/rejection.ts";
import { runtimeProvider } from "../crypto/provider.ts";
import { encodePem } from "../der/pem.ts";
import { FakeClock } from "../testing/fake_clock.ts";
import { clientAuth, Forge, type Forged, type ForgeOptions } from "../testing/forge.ts";
import { forgeList, type ListOptions } from "../testing/forge_list.ts";
import { MemoryFiles } from "../testing/memory_files.ts";
import { keyPin, parseKeyPin } from "./pin.ts";
import {
  type ServerCertificateOptions,
  ServerCertificateVerifier,
  type ServerTrust,
} from "./server_certificate.ts";
import { ServerRoots } from "./server_roots.ts";

const nowMs = Date.parse("2026-11-22T12:00:00Z");
const hour = 3_600_000;
const provider = runtimeProvider();
const forge = new Forge(provider, nowMs);

let root: Forged;
let otherRoot: Forged;

beforeAll(async () => {
  root = await forge.ca();
  otherRoot = await forge.ca({ subject: "CN=other root" });
});

const server = (options: ForgeOptions = {}, issuer: Forged = root): Promise<Forged> =>
  forge.leaf(issuer, { dnsNames: ["control.example"], uris: [], ...options });

const byRoots = (...roots: readonly Forged[]): ServerTrust => ({
  kind: "roots",
  rootsPem: () => roots.map((one) => one.pem).join(""),
});

async function byPin(of: Forged): Promise<ServerTrust> {
  return { kind: "pin", pin: await keyPin(of.parsed, provider) };
}

async function outcome(
  chain: readonly Forged[],
  options: Partial<ServerCertificateOptions> = {},
  clock = new FakeClock(nowMs),
): Promise<string> {
  const verifier = new ServerCertificateVerifier({
    clock,
    provider,
    host: "control.example",
    alternativeHosts: [],
    trust: byRoots(root),
    ...options,
  });
  try {
    const verified = await verifier.verify(chain.map((one) => one.der));
    const anchor = [root, otherRoot].find((one) => one.pem === verified.rootPem);
    return anchor === root ? "root" : anchor === otherRoot ? "other root" : "an unknown root";
  } catch (error) {
    if (!(error instanceof MeshError)) throw error;
    expect(error.blame).not.toBe("peer");
    return error.code;
  }
}

describe("the name of a server (RFC 9525)", () => {
  const names: readonly (readonly [san: ForgeOptions, dialled: string, holds: boolean])[] = [
    [{ dnsNames: ["control.example"] }, "control.example", true],
    [{ dnsNames: ["control.example"] }, "CONTROL.Example.", true],
    [{ dnsNames: ["Control.EXAMPLE"] }, "control.example", true],
    [{ dnsNames: ["a.example", "control.example"] }, "control.example", true],
    [{ dnsNames: ["control.example."] }, "control.example", false],
    [{ dnsNames: ["control.example.evil.example"] }, "control.example", false],
    [{ dnsNames: ["xcontrol.example"] }, "control.example", false],
    [{ dnsNames: ["*.example.org"] }, "control.example.org", true],
    [{ dnsNames: ["*.example.org"] }, "a.control.example.org", false],
    [{ dnsNames: ["*.example.org"] }, "example.org", false],
    [{ dnsNames: ["*.example.org"] }, ".example.org", false],
    [{ dnsNames: ["*.example"] }, "control.example", false],
    [{ dnsNames: ["*"] }, "control", false],
    [{ dnsNames: ["c*.example.org"] }, "control.example.org", false],
    [{ dnsNames: ["*l.example.org"] }, "control.example.org", false],
    [{ dnsNames: ["control.*.org"] }, "control.example.org", false],
    [{ dnsNames: ["*.*.org"] }, "control.example.org", false],
    [{ dnsNames: ["control.example\0.evil.example"] }, "control.example", false],
    [
      { dnsNames: [], subject: "CN=control.example", uris: ["spiffe://a/ns/b/sa/c"] },
      "control.example",
      false,
    ],
    [{ dnsNames: [], uris: ["https://control.example"] }, "control.example", false],
    [{ dnsNames: [], ipAddresses: ["10.0.0.1"] }, "10.0.0.1", true],
    [{ dnsNames: [], ipAddresses: ["10.0.0.2"] }, "10.0.0.1", false],
    [{ dnsNames: [], ipAddresses: ["2001:db8::1"] }, "2001:db8:0::1", true],
    [{ dnsNames: ["10.0.0.1"] }, "10.0.0.1", false],
    [{ dnsNames: ["10.0.0.01"] }, "10.0.0.01", false],
    [{ dnsNames: ["*.0.0.1"] }, "10.0.0.1", false],
    [{ dnsNames: [""] }, "", false],
  ];
  for (const [san, dialled, holds] of names)
    test(`${JSON.stringify(san)} ${holds ? "is" : "is not"} ${JSON.stringify(dialled)}`, async () => {
      expect(await outcome([await server(san)], { host: dialled })).toBe(
        holds ? "root" : "certificate_unexpected",
      );
    });

  test("may be the alternative one", async () => {
    const chain = [await server({ dnsNames: ["istiod.istio-system.svc"] })];
    expect(await outcome(chain, { host: "10.0.0.1", alternativeHosts: ["istiod.istio-system.svc"] })).toBe(
      "root",
    );
    expect(await outcome(chain, { host: "10.0.0.1", alternativeHosts: ["other"] })).toBe(
      "certificate_unexpected",
    );
  });
});

describe("the chain of a server", () => {
  const bad: readonly (readonly [string, ForgeOptions, string])[] = [
    [
      "expired",
      { notBefore: new Date(nowMs - 2 * hour), notAfter: new Date(nowMs - hour) },
      "certificate_expired",
    ],
    ["not yet valid", { notBefore: new Date(nowMs + hour) }, "certificate_not_yet_valid"],
    ["for clients alone", { extendedKeyUsage: [clientAuth] }, "certificate_usage"],
    ["without usages", { extendedKeyUsage: null }, "certificate_usage"],
    ["a CA", { basicConstraints: { ca: true } }, "certificate_constraints"],
    ["without a name", { dnsNames: [], subject: "CN=control.example" }, "certificate_unexpected"],
  ];
  for (const [name, options, code] of bad)
    test(`is refused when the certificate is ${name}`, async () => {
      expect(await outcome([await server(options), root])).toBe(code);
      expect(await outcome([await server(options), root], { trust: await byPin(root) })).toBe(code);
    });

  test("leads to one of the roots, through intermediates", async () => {
    const intermediate = await forge.ca({ subject: "CN=intermediate", issuer: root });
    const leaf = await server({}, intermediate);
    expect(await outcome([leaf, intermediate])).toBe("root");
    expect(await outcome([leaf, intermediate], { trust: byRoots(otherRoot, root) })).toBe("root");
    expect(await outcome([leaf])).toBe("certificate_untrusted");
    expect(await outcome([leaf, intermediate], { trust: byRoots(otherRoot) })).toBe("certificate_untrusted");
    expect(await outcome([])).toBe("certificate_missing");
    expect(await outcome([leaf, intermediate], { trust: { kind: "roots", rootsPem: () => "" } })).toBe(
      "configuration",
    );
  });

  test("a clock that is an hour behind is named in the refusal", async () => {
    const verifier = new ServerCertificateVerifier({
      clock: new FakeClock(nowMs - hour),
      provider,
      host: "control.example",
      alternativeHosts: [],
      trust: byRoots(root),
    });
    const leaf = await server();
    expect(await outcomeOf(verifier.verify([leaf.der]))).toThrow(/clock says 2026-11-22T11:00:00.000Z/);
  });
});

describe("a pin", () => {
  test("makes the presented root the anchor, and no other", async () => {
    const trust = await byPin(root);
    expect(await outcome([await server(), root], { trust })).toBe("root");
    expect(await outcome([await server({}, otherRoot), otherRoot], { trust })).toBe("certificate_untrusted");
    // A chain of another root with the pinned one thrown in leads nowhere.
    expect(await outcome([await server({}, otherRoot), otherRoot, root], { trust })).toBe(
      "certificate_untrusted",
    );
    expect(await outcome([await server()], { trust })).toBe("certificate_untrusted");
  });

  test("does not take a certificate that only names the pinned key", async () => {
    const trust = await byPin(root);
    const thief = await forge.keys();
    const stolen = await forge.ca({
      keys: { publicKey: root.keys.publicKey, privateKey: thief.privateKey },
      signWith: thief,
    });
    const leaf = await server({ issuer: stolen, signWith: thief });
    expect(await outcome([leaf, stolen], { trust })).toBe("certificate_untrusted");
    // Nor one of the pinned key that somebody else has signed.
    const cross = await forge.ca({ subject: "CN=test root", keys: root.keys, issuer: otherRoot });
    expect(await outcome([await server(), cross], { trust })).toBe("certificate_untrusted");
  });

  test("of the leaf or of an intermediate is no anchor", async () => {
    const intermediate = await forge.ca({ subject: "CN=intermediate", issuer: root });
    const leaf = await server({}, intermediate);
    expect(await outcome([leaf, intermediate, root], { trust: await byPin(leaf) })).toBe(
      "certificate_untrusted",
    );
    expect(await outcome([leaf, intermediate, root], { trust: await byPin(intermediate) })).toBe(
      "certificate_untrusted",
    );
  });

  test("is what openssl computes, and is parsed strictly", async () => {
    const { text } = await keyPin(root.parsed, provider);
    const spki = new Uint8Array(await crypto.subtle.exportKey("spki", root.keys.publicKey));
    expect(text).toBe(`sha256:${createHash("sha256").update(spki).digest("hex")}`);
    expect(parseKeyPin(text).text).toBe(text);
    for (const wrong of [
      "",
      "sha256:",
      text.slice(0, -1),
      `${text}0`,
      text.toUpperCase(),
      text.replace("sha256", "sha1"),
    ])
      expect(() => parseKeyPin(wrong)).toThrow(MeshError);
  });
});

describe("names in place of the host's", () => {
  test("a URI is compared as it is written, and the host counts no more", async () => {
    const uri = "spiffe://cluster.local/ns/shop/sa/web";
    const chain = [await server({ uris: [uri] })];
    expect(await outcome(chain, { names: [uri] })).toBe("root");
    expect(await outcome(chain, { names: ["other.example", "control.example"] })).toBe("root");
    for (const name of [`${uri}x`, uri.toUpperCase(), "other.example"])
      expect(await outcome(chain, { names: [name] })).toBe("certificate_unexpected");
  });
});

describe("revocation lists of a destination", () => {
  const by = async (serials: readonly string[], issuer: Forged, options: ListOptions = {}) => ({
    name: "crl.pem",
    bytes: await forgeList(nowMs, provider, issuer, serials, options),
  });

  test("who is on one is refused, and so is whom no fresh and genuine one covers", async () => {
    const leaf = await server({ serialNumber: "77" });
    const good = await by([], root);
    expect(await outcome([leaf], { revocationLists: good })).toBe("root");
    expect(await outcome([leaf], { revocationLists: await by(["77"], root) })).toBe("certificate_revoked");
    for (const revocationLists of [
      await by([], otherRoot),
      await by([], root, { nextUpdateMs: nowMs - 1 }),
      await by([], root, { signWith: otherRoot.keys }),
      { name: "crl.pem", bytes: new TextEncoder().encode("damaged") },
    ])
      expect(await outcome([leaf], { revocationLists })).toBe("certificate_revocation_unknown");
  });

  test("each certificate of the chain is looked at", async () => {
    const between = await forge.ca({ subject: "CN=between", issuer: root, serialNumber: "88" });
    const leaf = await server({}, between);
    const lists = async (rootSerials: readonly string[]) => {
      const parts = [await by(rootSerials, root), await by([], between)];
      const pem = parts.map(({ bytes }) => encodePem("X509 CRL", bytes)).join("");
      return { name: "crl.pem", bytes: new TextEncoder().encode(pem) };
    };
    expect(await outcome([leaf, between], { revocationLists: await lists([]) })).toBe("root");
    expect(await outcome([leaf, between], { revocationLists: await lists(["88"]) })).toBe(
      "certificate_revoked",
    );
  });
});

describe("a file of roots", () => {
  test("is followed, and the last good one stays", async () => {
    const clock = new FakeClock(nowMs);
    const files = new MemoryFiles();
    files.put("/roots.pem", root.pem);
    const roots = await ServerRoots.follow(files, "/roots.pem", silentLogger);
    const trust: ServerTrust = { kind: "roots", rootsPem: () => roots.pem };
    const chain = [await server({}, otherRoot)];
    expect(await outcome(chain, { trust })).toBe("certificate_untrusted");
    files.put("/roots.pem", root.pem + otherRoot.pem);
    await clock.advance(0);
    expect(await outcome(chain, { trust })).toBe("other root");
    files.put("/roots.pem", "damaged");
    await clock.advance(0);
    expect(await outcome(chain, { trust })).toBe("other root");
    files.drop("/roots.pem");
    await clock.advance(0);
    expect(await outcome(chain, { trust })).toBe("other root");
    roots.close();
    files.put("/roots.pem", root.pem);
    await clock.advance(0);
    expect(await outcome(chain, { trust })).toBe("other root");
  });

  test("that is missing or damaged at the start is an error", async () => {
    const files = new MemoryFiles();
    expect(await outcomeOf(ServerRoots.follow(files, "/roots.pem", silentLogger))).toThrow(MeshError);
    files.put("/roots.pem", "damaged");
    expect(await outcomeOf(ServerRoots.follow(files, "/roots.pem", silentLogger))).toThrow(MeshError);
  });
});
