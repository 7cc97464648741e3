import { describe, expect, test } from "bun:test";
import { createPrivateKey } from "node:crypto";
import { asMeshError } from "../../base/errors.ts";
import { pkiLimits } from "../../base/limits/pki.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import type { CryptoProvider } from "../crypto/provider.ts";
import { decodePemLabel, encodePem } from "../der/pem.ts";
import { FakeClock } from "../testing/fake_clock.ts";
import { Forge, type Forged } from "../testing/forge.ts";
import { MemoryFiles } from "../testing/memory_files.ts";
import { providers } from "../testing/providers.ts";
import { TrustVerifier } from "../trust/verifier.ts";
import { type Certificate, parseCertificate } from "../x509/certificate.ts";
import { createCertificateRequest } from "../x509/csr.ts";
import { keyUsageBit } from "../x509/extensions.ts";
import {
  KeyUsageFlags,
  Name,
  Pkcs10CertificateRequest,
  Pkcs10CertificateRequestGenerator,
  SubjectAlternativeNameExtension,
} from "../x509/peculiar.ts";
import { type AuthorityPem, CertificateAuthority } from "./ca.ts";
import { authorityFile, istioFiles, openAuthority } from "./ca_files.ts";

const nowMs = Date.parse("2026-11-22T12:00:00.500Z");
const hour = 3_600_000;
const cart = new SpiffeId("cluster.local", "shop", "cart");

async function failure(work: Promise<unknown>): Promise<string> {
  return await work.then(
    () => "done",
    (error) => {
      const { code, blame, message } = asMeshError(error, "io", "local");
      return `${code} ${blame}: ${message}`;
    },
  );
}

async function keyPem(keys: CryptoKeyPair, provider: CryptoProvider): Promise<string> {
  return encodePem(
    "PRIVATE KEY",
    new Uint8Array(await provider.crypto.subtle.exportKey("pkcs8", keys.privateKey)),
  );
}

async function pemOf(
  provider: CryptoProvider,
  ca: Forged,
  root: Forged,
  chain: readonly Forged[] = [],
): Promise<AuthorityPem> {
  const privateKeyPem = await keyPem(ca.keys, provider);
  return {
    certificatePem: ca.pem,
    privateKeyPem,
    chainPem: chain.map((one) => one.pem).join(""),
    rootsPem: root.pem,
  };
}

for (const provider of providers) {
  describe(`the CA on ${provider.name}`, () => {
    const clock = new FakeClock(nowMs);
    const options = { clock, provider, trustDomain: "cluster.local" };
    const forge = new Forge(provider, nowMs);

    async function issue(
      ca: CertificateAuthority,
      lifetimeMs = hour,
      id = cart,
    ): Promise<readonly Certificate[]> {
      const { csrPem } = await createCertificateRequest(provider, id);
      const { chainPem } = await ca.sign({ csrPem, id, lifetimeMs });
      return chainPem.flatMap((pem) => decodePemLabel(pem, "CERTIFICATE").map(parseCertificate));
    }

    test("issues in istiod's profile", async () => {
      const ca = await CertificateAuthority.create(options);
      const [leaf, ...rest] = await issue(ca);
      expect(rest).toEqual([]);
      expect(leaf?.hasSubject).toBe(false);
      expect(leaf?.issuer).toBe(ca.certificate.subject);
      expect(leaf?.notBeforeMs).toBe(Date.parse("2026-11-22T11:58:00Z"));
      expect(leaf?.notAfterMs).toBe(Date.parse("2026-11-22T13:00:00Z"));
      expect(leaf?.serialNumber).toMatch(/^[4-7][0-9a-f]{31}$/);
      expect(leaf?.extensions).toEqual({
        basicConstraints: { isCa: false, pathLength: null },
        keyUsage: (1 << keyUsageBit.digitalSignature) | (1 << 2),
        extendedKeyUsage: ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"],
        subjectAltNames: [{ kind: "uri", value: cart.uri }],
        nameConstraints: null,
        authorityKeyId: ca.certificate.extensions.subjectKeyId,
        subjectKeyId: expect.stringMatching(/^[0-9a-f]{40}$/),
        unknownCritical: [],
      });
      expect(ca.certificate.notAfterMs - ca.certificate.notBeforeMs).toBe(
        pkiLimits.rootLifetimeMs + pkiLimits.authorityBackdateMs,
      );
    });

    test("serial numbers do not repeat, and no other authority has the root's key", async () => {
      const ca = await CertificateAuthority.create(options);
      const serials = new Set<string>();
      for (let round = 0; round < 20; round++) serials.add((await issue(ca))[0]?.serialNumber ?? "");
      expect(serials.size).toBe(20);
      const other = await CertificateAuthority.create(options);
      expect(other.certificate.authorityKey).not.toBe(ca.certificate.authorityKey);
    });

    test("the identity is the one it was told, never the request's", async () => {
      const ca = await CertificateAuthority.create(options);
      const { csrPem } = await createCertificateRequest(
        provider,
        new SpiffeId("cluster.local", "shop", "admin"),
      );
      const { chainPem } = await ca.sign({ csrPem, id: cart, lifetimeMs: hour });
      const [leaf] = decodePemLabel(chainPem[0] ?? "", "CERTIFICATE").map(parseCertificate);
      expect(leaf?.extensions.subjectAltNames).toEqual([{ kind: "uri", value: cart.uri }]);
    });

    test("lifetime is cut to the CA's limit and to its own certificate's end", async () => {
      const ca = await CertificateAuthority.create(options);
      const [long] = await issue(ca, 1000 * 365 * 24 * hour);
      expect(long?.notAfterMs).toBe(Math.floor((nowMs + pkiLimits.maxSvidLifetimeMs) / 1000) * 1000);
      const root = await forge.ca({ notAfter: new Date(nowMs + hour), notBefore: new Date(nowMs - 1500) });
      const short = await CertificateAuthority.load({ ...options, pem: await pemOf(provider, root, root) });
      const [cut] = await issue(short, 24 * hour);
      expect(cut?.notAfterMs).toBe(root.parsed.notAfterMs);
      expect(cut?.notBeforeMs).toBe(root.parsed.notBeforeMs);
      clock.jumpWall(2 * hour);
      expect(await failure(issue(short))).toStartWith("certificate_expired local");
      clock.jumpWall(-2 * hour);
    });

    test("its own certificate is valid from its first instant on, and not at its end", async () => {
      const root = await forge.ca({ notBefore: new Date(nowMs - 1500), notAfter: new Date(nowMs + hour) });
      const ca = await CertificateAuthority.load({ ...options, pem: await pemOf(provider, root, root) });
      const { notBeforeMs, notAfterMs } = root.parsed;
      for (const [atMs, found] of [
        [notBeforeMs - 1, "certificate_expired local"],
        [notBeforeMs, "issued"],
        [notAfterMs - 1, "issued"],
        [notAfterMs, "certificate_expired local"],
      ] as const) {
        clock.jumpWall(atMs - nowMs);
        const said = await failure(issue(ca)).finally(() => clock.jumpWall(nowMs - atMs));
        expect([atMs, said === "done" ? "issued" : said]).toEqual([atMs, expect.stringContaining(found)]);
      }
    });

    test("a request is refused unless its sender has the key, and the key is good", async () => {
      const ca = await CertificateAuthority.create(options);
      const { csrPem } = await createCertificateRequest(provider, cart);
      const ask = (pem: string): Promise<string> =>
        failure(ca.sign({ csrPem: pem, id: cart, lifetimeMs: hour }));
      const der = new Uint8Array(new Pkcs10CertificateRequest(csrPem).rawData);
      const stolen = new Uint8Array(
        new Pkcs10CertificateRequest((await createCertificateRequest(provider, cart)).csrPem).rawData,
      );
      const key = new Uint8Array(new Pkcs10CertificateRequest(csrPem).publicKey.rawData);
      // Somebody else's public key in a request of one's own.
      const at = Buffer.from(stolen).indexOf(Buffer.from(key.subarray(0, 26)));
      stolen.set(key, at);
      const request = (bytes: Uint8Array): string => encodePem("CERTIFICATE REQUEST", bytes);
      expect(await ask(csrPem)).toBe("done");
      expect(await ask(request(stolen))).toStartWith("certificate_signature peer");
      expect(await ask(request(der.with(der.length - 1, (der[der.length - 1] ?? 0) ^ 1)))).toStartWith(
        "certificate_signature peer",
      );
      expect(await ask(request(der.subarray(0, 50)))).toStartWith("certificate_malformed peer");
      expect(await ask("")).toStartWith("certificate_malformed peer");
      expect(await ask(csrPem + csrPem)).toStartWith("certificate_malformed peer");
      expect(await ask(csrPem.replace("-----END", "-----ENDE"))).toStartWith("certificate_malformed peer");
      expect(await ask(`${" ".repeat(pkiLimits.maxCsrBytes * 1.5)}${csrPem}`)).toStartWith(
        "certificate_malformed peer",
      );
      const weak = await Pkcs10CertificateRequestGenerator.create(
        {
          keys: await forge.keys("RSA", 1024),
          signingAlgorithm: { name: "RSASSA-PKCS1-v1_5", hash: "SHA-256" } as Algorithm,
        },
        provider.crypto,
      );
      expect(await ask(weak.toString("pem"))).toStartWith("certificate_algorithm peer");
    });

    test("every kind of key a peer may have is signed", async () => {
      const ca = await CertificateAuthority.create(options);
      const trust = new TrustVerifier(options);
      trust.setRoots(ca.rootsPem);
      for (const kind of ["P-256", "P-384", "RSA", "Ed25519"] as const) {
        const keys = await forge.keys(kind);
        const request = await Pkcs10CertificateRequestGenerator.create(
          { keys, signingAlgorithm: { ...keys.privateKey.algorithm, hash: "SHA-256" } as Algorithm },
          provider.crypto,
        );
        const { chainPem } = await ca.sign({ csrPem: request.toString("pem"), id: cart, lifetimeMs: hour });
        const chain = chainPem.flatMap((pem) => decodePemLabel(pem, "CERTIFICATE"));
        expect((await trust.verify(chain, { usage: "serverAuth", identities: [cart] })).id.uri).toBe(
          cart.uri,
        );
      }
    });

    test("given an intermediate in any string type and key format, its SVIDs verify", async () => {
      const root = await forge.ca({ subject: "CN=given root", keys: await forge.keys("P-384") });
      const names = [
        new Name([{ CN: [{ printableString: "printed" }] }]),
        new Name([{ O: [{ utf8String: "μ" }] }, { CN: [{ bmpString: "wide" }] }]),
      ];
      for (const [index, kind] of (["P-256", "P-384", "RSA", "Ed25519"] as const).entries()) {
        const middle = await forge.ca({ subject: "CN=middle", issuer: root });
        const keys = await forge.keys(kind);
        const ca = await forge.ca({
          subject: names[index % 2] ?? "",
          issuer: middle,
          keys,
          basicConstraints: { ca: true, pathLength: 0 },
        });
        const pkcs8 = await keyPem(keys, provider);
        const formats = [pkcs8];
        const nodeKey = createPrivateKey(pkcs8);
        if (kind === "RSA") formats.push(nodeKey.export({ type: "pkcs1", format: "pem" }).toString());
        if (kind.startsWith("P-")) formats.push(nodeKey.export({ type: "sec1", format: "pem" }).toString());
        for (const privateKeyPem of formats) {
          const pem = {
            certificatePem: ca.pem,
            privateKeyPem,
            chainPem: ca.pem + middle.pem + root.pem,
            rootsPem: root.pem,
          };
          const authority = await CertificateAuthority.load({ ...options, pem });
          const chain = await issue(authority);
          expect(chain.map((one) => one.subjectText)).toEqual([
            "(empty name)",
            ca.parsed.subjectText,
            "CN=middle",
          ]);
          const trust = new TrustVerifier(options);
          trust.setRoots(authority.rootsPem);
          const ders = chain.map((one) => one.der);
          expect((await trust.verify(ders, { usage: "clientAuth", identities: [cart] })).id.uri).toBe(
            cart.uri,
          );
          const list = await authority.revocationList(
            [{ serialNumber: chain[0]?.serialNumber ?? "", revokedAtMs: nowMs, reason: "superseded" }],
            200n,
            nowMs + hour,
          );
          expect(await trust.setCrls([{ name: "own", bytes: list }])).toMatchObject([{ state: "in_force" }]);
          expect(await failure(trust.verify(ders, { usage: "clientAuth", identities: null }))).toStartWith(
            "certificate_revoked peer",
          );
        }
      }
    });

    test("a CA that no peer would believe is refused when it is loaded", async () => {
      const root = await forge.ca();
      const ca = await forge.ca({ subject: "CN=ca", issuer: root });
      const good = await pemOf(provider, ca, root);
      const load = (pem: Partial<AuthorityPem>): Promise<string> =>
        failure(CertificateAuthority.load({ ...options, pem: { ...good, ...pem } }));
      const below = await forge.ca({
        subject: "CN=below",
        issuer: await forge.ca({ subject: "CN=gone", issuer: root }),
      });
      const narrow = await forge.ca({ subject: "CN=narrow", basicConstraints: { ca: true, pathLength: 0 } });
      const past = { notBefore: new Date(nowMs - 2 * hour), notAfter: new Date(nowMs - hour) };
      expect(await load({})).toBe("done");
      const cases: [Partial<AuthorityPem>, string][] = [
        [
          { privateKeyPem: await keyPem(await forge.keys(), provider) },
          "its private key is not its certificate's",
        ],
        [
          { privateKeyPem: await keyPem(await forge.keys("P-384"), provider) },
          "its private key is not its certificate's",
        ],
        [{ privateKeyPem: "" }, "the private key is missing"],
        [
          { privateKeyPem: good.privateKeyPem + good.privateKeyPem },
          "the private key is not the only one there",
        ],
        [
          { privateKeyPem: good.privateKeyPem.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY") },
          "cannot be read",
        ],
        [{ privateKeyPem: good.privateKeyPem.slice(0, 90) }, "cannot be read"],
        [{ certificatePem: "" }, "the CA cannot be used: it has no certificate"],
        [{ certificatePem: root.pem + good.certificatePem }, "its private key is not its certificate's"],
        [{ rootsPem: "" }, "bundle of trust roots holds no certificate"],
        [{ rootsPem: (await forge.ca({ subject: "CN=stranger" })).pem }, "is no trust root"],
        [await pemOf(provider, below, root), "is no trust root"],
        [
          await pemOf(provider, await forge.leaf(root, { subject: "CN=leaf" }), root),
          "is no CA but has issued",
        ],
        [
          await pemOf(provider, await forge.ca({ subject: "CN=x", issuer: narrow }), narrow),
          "permits 0 CAs below it",
        ],
        [
          await pemOf(provider, await forge.ca({ subject: "CN=x", issuer: root, ...past }), root),
          "not valid now",
        ],
        [
          await pemOf(
            provider,
            await forge.ca({ subject: "CN=x", issuer: root, keyUsage: KeyUsageFlags.cRLSign }),
            root,
          ),
          "has no key usage keyCertSign",
        ],
      ];
      for (const [pem, message] of cases) {
        const result = await load(pem);
        expect(result).toStartWith("configuration local");
        expect(result).toContain(message);
        expect(result).not.toMatch(/[A-Za-z0-9+/]{60}/);
      }
    });

    test("state: made once, one file of mode 0600, and the same after that", async () => {
      const files = new MemoryFiles();
      const first = await openAuthority(files, "/state", options);
      expect(first.created).toBe(true);
      expect([...files.contents.keys()]).toEqual([`/state/${authorityFile}`]);
      expect(files.modes.get(`/state/${authorityFile}`)).toBe(0o600);
      expect(files.modes.get("/state")).toBe(0o700);
      const second = await openAuthority(files, "/state", options);
      expect(second.created).toBe(false);
      expect(second.authority.exportPem()).toEqual(first.authority.exportPem());
      expect(second.authority.rootsPem).toBe(first.authority.rootsPem);
    });

    test("state that is damaged or half there is a refusal, never a new CA", async () => {
      const files = new MemoryFiles();
      await openAuthority(files, "/state", options);
      const path = `/state/${authorityFile}`;
      const good = await files.readText(path);
      const blocks = good.split(/(?=-----BEGIN)/);
      const foreign = (await CertificateAuthority.create(options)).exportPem();
      for (const damaged of [
        "",
        good.slice(0, good.length - 40),
        good.slice(40),
        blocks[0] ?? "",
        blocks[1] ?? "",
        good.replace(/[A-Za-z]{10}/, "!!!!!!!!!!"),
        good + good,
        good + blocks[0],
        `${good}${(blocks[1] ?? "").replaceAll("CERTIFICATE", "X509 CRL")}`,
        `${foreign.privateKeyPem}${blocks[1]}`,
        "\0".repeat(good.length),
      ]) {
        files.put(path, damaged);
        expect(await failure(openAuthority(files, "/state", options))).toStartWith("configuration local");
        expect(await files.readText(path)).toBe(damaged);
      }
    });

    test("state in Istio's layout is taken as it is; with a file missing it is a refusal", async () => {
      const root = await forge.ca();
      const ca = await forge.ca({ subject: "CN=ca", issuer: root });
      const pem = await pemOf(provider, ca, root);
      const files = new MemoryFiles();
      const all: [string, string][] = [
        [istioFiles.certificate, pem.certificatePem],
        [istioFiles.privateKey, pem.privateKeyPem],
        [istioFiles.root, pem.rootsPem],
        [istioFiles.chain, ca.pem + root.pem],
      ];
      for (const [name, text] of all) files.put(`/cacerts/${name}`, text);
      const { authority, created } = await openAuthority(files, "/cacerts", options);
      expect(created).toBe(false);
      expect((await issue(authority)).map((one) => one.subjectText)).toEqual(["(empty name)", "CN=ca"]);
      for (const [name, text] of all.slice(0, 3)) {
        files.drop(`/cacerts/${name}`);
        expect(await failure(openAuthority(files, "/cacerts", options))).toContain(
          `/cacerts/${name} is missing`,
        );
        files.put(`/cacerts/${name}`, text);
      }
      files.drop(`/cacerts/${istioFiles.chain}`);
      expect(await failure(openAuthority(files, "/cacerts", options))).toBe("done");
      files.put(`/cacerts/${authorityFile}`, "");
      expect(await failure(openAuthority(files, "/cacerts", options))).toContain("which one is meant?");
    });

    test("what a request asks for besides is not granted", async () => {
      const ca = await CertificateAuthority.create(options);
      const keys = await forge.keys();
      const names = [
        { type: "url" as const, value: "spiffe://cluster.local/ns/kube-system/sa/admin" },
        { type: "dns" as const, value: "istiod.istio-system.svc" },
      ];
      const request = await Pkcs10CertificateRequestGenerator.create(
        {
          name: "CN=admin",
          keys,
          signingAlgorithm: { name: "ECDSA", hash: "SHA-256" } as Algorithm,
          extensions: [new SubjectAlternativeNameExtension(names)],
        },
        provider.crypto,
      );
      const { chainPem } = await ca.sign({ csrPem: request.toString("pem"), id: cart, lifetimeMs: hour });
      const leaf = parseCertificate(decodePemLabel(chainPem[0] ?? "", "CERTIFICATE")[0] ?? new Uint8Array());
      expect(leaf.hasSubject).toBe(false);
      expect(leaf.extensions.subjectAltNames).toEqual([{ kind: "uri", value: cart.uri }]);
    });
  });
}
