/** Our leaf against what the library would have written, byte by byte, and against OpenSSL. */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { rejectionOf } from "../../base/testing/rejection.ts";
import { SpiffeId } from "../../mesh/identity.ts";
import { generateSigningKey, importSigningKey } from "../crypto/private_key.ts";
import { runtimeProvider } from "../crypto/provider.ts";
import { buffer, SignatureVerifier } from "../crypto/signature.ts";
import { oid } from "../der/oids.ts";
import { decodePemLabel, encodePem } from "../der/pem.ts";
import { parseCertificate } from "../x509/certificate.ts";
import {
  AuthorityKeyIdentifierExtension,
  BasicConstraintsExtension,
  ExtendedKeyUsageExtension,
  KeyUsageFlags,
  KeyUsagesExtension,
  SubjectAlternativeNameExtension,
  SubjectKeyIdentifierExtension,
  X509Certificate,
  X509CertificateGenerator,
} from "../x509/peculiar.ts";
import { createRootCertificate, createSelfSignedRoot } from "./authority.ts";
import type { Issuer } from "./issuer.ts";
import { librarySigning } from "./signing.ts";
import { issueSvidCertificate, type SvidRequest } from "./svid.ts";

const provider = runtimeProvider();
const nowMs = Date.parse("2026-11-22T12:00:00Z");

/** The library's certificate of the same serial number; its signature is another. */
async function byLibrary(issuer: Issuer, request: SvidRequest, serialNumber: string): Promise<Uint8Array> {
  const { crypto, signingKey, signingAlgorithm } = librarySigning(issuer.key, issuer.provider);
  const publicKey = buffer(request.publicKeyInfo);
  const { subjectKeyId } = issuer.certificate.extensions;
  const written = await X509CertificateGenerator.create(
    {
      serialNumber,
      issuer: new X509Certificate(buffer(issuer.certificate.der)).subjectName,
      notBefore: new Date(request.notBeforeMs),
      notAfter: new Date(request.notAfterMs),
      publicKey,
      signingKey,
      signingAlgorithm,
      extensions: [
        new BasicConstraintsExtension(false, undefined, true),
        new KeyUsagesExtension(KeyUsageFlags.digitalSignature | KeyUsageFlags.keyEncipherment, true),
        new ExtendedKeyUsageExtension([oid.serverAuth, oid.clientAuth]),
        new SubjectAlternativeNameExtension(
          [{ type: "url", value: request.id.uri }, ...(request.serverNames ?? [])],
          true,
        ),
        await SubjectKeyIdentifierExtension.create(publicKey, false, crypto),
        ...(subjectKeyId === null ? [] : [new AuthorityKeyIdentifierExtension(subjectKeyId)]),
      ],
    },
    crypto,
  );
  return new Uint8Array(written.rawData);
}

async function issuers(): Promise<ReadonlyMap<string, Issuer>> {
  const found = new Map<string, Issuer>();
  const { subtle } = provider.crypto;
  const algorithms = {
    "P-256": { name: "ECDSA", namedCurve: "P-256" },
    "P-384": { name: "ECDSA", namedCurve: "P-384" },
    RSA: {
      name: "RSASSA-PKCS1-v1_5",
      modulusLength: 2048,
      publicExponent: Uint8Array.of(1, 0, 1),
      hash: "SHA-256",
    },
    Ed25519: { name: "Ed25519" },
  };
  for (const [name, algorithm] of Object.entries(algorithms)) {
    const keys = (await subtle.generateKey(algorithm, true, ["sign", "verify"])) as CryptoKeyPair;
    const pkcs8 = new Uint8Array(await subtle.exportKey("pkcs8", keys.privateKey));
    const publicKeyInfo = new Uint8Array(await subtle.exportKey("spki", keys.publicKey));
    const key = await importSigningKey(pkcs8, provider);
    const certificate = await createRootCertificate(provider, key, publicKeyInfo, "cluster.local", nowMs);
    found.set(name, { certificate, key, provider });
  }
  return found;
}

function derOf(pem: string): Uint8Array {
  return decodePemLabel(pem, "CERTIFICATE")[0] ?? new Uint8Array();
}

describe("a leaf", () => {
  test("has the bytes that the library writes, whatever signs and whatever is named", async () => {
    const verifier = new SignatureVerifier(provider);
    const names = [
      undefined,
      [],
      [{ type: "dns", value: "control.example" }],
      [
        { type: "ip", value: "10.0.0.7" },
        { type: "ip", value: "2001:db8::7" },
        { type: "dns", value: `${"long-name.".repeat(24)}example` },
      ],
    ] as const;
    // Both sides of the first of January 2050, where UTCTime ends (RFC 5280 §4.1.2.5).
    const ends = [nowMs + 1_000, Date.UTC(2049, 11, 31, 23, 59, 59), Date.UTC(2050, 0, 1)];
    for (const [kind, issuer] of await issuers()) {
      for (const [index, serverNames] of names.entries()) {
        const { publicKeyInfo } = index % 2 === 0 ? await generateSigningKey(provider) : issuer.certificate;
        const request: SvidRequest = {
          id: new SpiffeId("cluster.local", "shop", "a".repeat(1 + index * 60)),
          publicKeyInfo,
          notBeforeMs: nowMs - index * 60_000,
          notAfterMs: ends[index % ends.length] ?? nowMs,
          ...(serverNames === undefined ? {} : { serverNames }),
        };
        const ours = parseCertificate(derOf(await issueSvidCertificate(issuer, request)));
        expect(ours.serialNumber).toHaveLength(32);
        const theirs = parseCertificate(await byLibrary(issuer, request, ours.serialNumber));
        expect([kind, Buffer.from(ours.signed).toString("hex")]).toEqual([
          kind,
          Buffer.from(theirs.signed).toString("hex"),
        ]);
        expect(ours.signatureAlgorithm).toEqual(theirs.signatureAlgorithm);
        expect(await verifier.verify(ours, issuer.certificate)).toBe(true);
      }
    }
  });

  test("ends in whole seconds, in both forms of time", async () => {
    const { certificate, key } = await createSelfSignedRoot(provider, "cluster.local", nowMs);
    const { publicKeyInfo } = certificate;
    const id = new SpiffeId("cluster.local", "shop", "cart");
    for (const notAfterMs of [nowMs + 999, Date.UTC(2051, 0, 1) + 999]) {
      const request = { id, publicKeyInfo, notBeforeMs: nowMs + 1, notAfterMs };
      const leaf = parseCertificate(
        derOf(await issueSvidCertificate({ certificate, key, provider }, request)),
      );
      expect([leaf.notBeforeMs, leaf.notAfterMs]).toEqual([nowMs, notAfterMs - 999]);
    }
  });

  test("never has a number twice", async () => {
    const { certificate, key } = await createSelfSignedRoot(provider, "cluster.local", nowMs);
    const { publicKeyInfo } = certificate;
    const request = { id: new SpiffeId("a", "b", "c"), publicKeyInfo, notBeforeMs: nowMs, notAfterMs: nowMs };
    const pems = await Promise.all(
      Array.from({ length: 64 }, () => issueSvidCertificate({ certificate, key, provider }, request)),
    );
    const numbers = pems.map((pem) => parseCertificate(derOf(pem)).serialNumber);
    expect(new Set(numbers).size).toBe(64);
    expect(numbers.every((number) => /^[4-7]/.test(number) && number.length === 32)).toBe(true);
  });

  test("names nothing that a certificate cannot say", async () => {
    const { certificate, key } = await createSelfSignedRoot(provider, "cluster.local", nowMs);
    const { publicKeyInfo } = certificate;
    const id = new SpiffeId("cluster.local", "shop", "cart");
    const request = { id, publicKeyInfo, notBeforeMs: nowMs, notAfterMs: nowMs };
    for (const name of [
      { type: "dns", value: "bücher.example" },
      { type: "dns", value: "a\u0000.example" },
      { type: "ip", value: "10.0.0" },
    ] as const) {
      const issuing = issueSvidCertificate(
        { certificate, key, provider },
        { ...request, serverNames: [name] },
      );
      expect(await rejectionOf(issuing)).toMatchObject({ code: "configuration", blame: "local" });
    }
  });

  test.skipIf(typeof Bun === "undefined" || !existsSync("/usr/bin/openssl"))(
    "is good for OpenSSL, strictly",
    async () => {
      const { certificate, key } = await createSelfSignedRoot(provider, "cluster.local", Date.now());
      const { publicKeyInfo } = await generateSigningKey(provider);
      const pem = await issueSvidCertificate(
        { certificate, key, provider },
        {
          id: new SpiffeId("cluster.local", "shop", "cart"),
          publicKeyInfo,
          notBeforeMs: Date.now() - 60_000,
          notAfterMs: Date.now() + 60_000,
        },
      );
      const root = encodePem("CERTIFICATE", certificate.der);
      const rootPath = `${process.env.TMPDIR ?? "/tmp"}/fairlead-issue-svid-${process.pid}.pem`;
      await Bun.write(rootPath, root);
      try {
        for (const purpose of ["sslclient", "sslserver"]) {
          const verify = Bun.spawnSync(
            ["/usr/bin/openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", rootPath],
            { stdin: Buffer.from(pem) },
          );
          expect([verify.stdout.toString().trim(), verify.stderr.toString()]).toEqual(["stdin: OK", ""]);
        }
      } finally {
        await Bun.file(rootPath).delete();
      }
    },
  );
});
